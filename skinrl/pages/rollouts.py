"""The rollouts of a run to look at: the run, one step of it, or chosen steps in one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinrl.pages.base import NOBODY, NOT_A_DEVICE, document
from skinrl.pages.rollouts_given import Found, Group, Run
from skinrl.pages.rollouts_group import group_card
from skinrl.pages.rollouts_html import Html, el, plural, together
from skinrl.pages.rollouts_parts import ORDERS, all_steps, bar, curves, dialog, head, marker, search, step_words

SORTS = {"drawn": "as drawn", "spread": "largest spread", "high": "highest reward", "low": "lowest reward"}
_PRIVATE = (
    "These pages show photographs of patients (unless --no-images), record ids, and what was written about them. They "
    "stay on this computer: nothing is sent anywhere, and no browser keeps them in its cache. "
)
_PRIVATE_FILE = (
    "This file holds record ids{images} and what was written about patients: keep it where the run may be kept. "
    "It loads nothing from anywhere. "
)


def overview_page(run: Run, found: Found, by: str, state: str) -> str:
    """The live page of a run: curves, what to look at first, all steps.

    Args:
        by: the order of the suspects, a key of `ORDERS`.
        state: what ``state.json`` says now; the page follows the run when it says something else.
    """
    at_work = not run.state.startswith("complete") or found.steps < found.all_steps

    def link(step: int, row: int | None) -> str:
        return f"step/{step}" if row is None else f"step/{step}?row={row}#row-{row}"

    orders = {name: f"?by={name}#search" for name in ORDERS}
    body = together(
        [
            bar(run, None, "", ""),
            el(
                "main",
                {"id": "main"},
                head(run, found),
                el("p", {"class": "private"}, _PRIVATE, NOT_A_DEVICE),
                el("div", {"id": "live"}, curves(run), search(found, by, orders, link), all_steps(run, link)),
            ),
        ]
    )
    return _whole(f"Rollouts of {run.name}", body, {"state": state if at_work else None}, "'self'")


def step_page(
    run: Run, step: int, groups: Sequence[Group], *, of: int, page: int, pages: int, sort: str, spread_only: bool
) -> str:
    """The live page of one step.

    Args:
        groups: those of this page, in the order to show.
        of: groups of the step, shown or not.
        page: from 0; of ``pages``.
        spread_only: groups without a spread are left out.
    """
    before = max((one for one in run.steps if one < step), default=None)
    after = min((one for one in run.steps if one > step), default=None)
    kept = f"sort={sort}" + ("&spread=1" if spread_only else "")
    nav = [
        el("a", {"class": "button", "href": f"{before}?{kept}", "rel": "prev"}, f"← step {before}")
        if before
        else None,
        el("a", {"class": "button", "href": f"{after}?{kept}", "rel": "next"}, f"step {after} →") if after else None,
    ]
    sorts = [
        el(
            "a",
            {"href": f"{step}?sort={key}{'&spread=1' * spread_only}", "aria-current": key == sort and "true"},
            words,
        )
        for key, words in SORTS.items()
    ]
    toggle = el(
        "a",
        {"href": f"{step}?sort={sort}{'' if spread_only else '&spread=1'}", "aria-current": spread_only and "true"},
        "only groups with a spread",
    )
    pager = [
        el("a", {"href": f"{step}?{kept}&page={one}", "aria-current": one == page and "true"}, one + 1)
        for one in range(pages)
    ]
    body = together(
        [
            bar(run, step, "../", nav),
            el(
                "main",
                {"id": "main"},
                el("h1", {}, f"Step {step}"),
                el("p", {"class": "muted"}, step_words(groups, of)),
                el("nav", {"class": "choices", "aria-label": "Order of the groups"}, sorts, toggle, marker()),
                [group_card(step, group, run.weights) for group in groups],
                el("p", {}, "No group of this step is to be shown so.") if not groups else None,
                el("nav", {"class": "choices", "aria-label": "Pages"}, "Page ", pager) if pages > 1 else None,
                el("p", {"class": "private"}, _PRIVATE, NOT_A_DEVICE),
                dialog(),
            ),
        ]
    )
    return _whole(f"Step {step} of {run.name}", body, {}, "'self'")


def offline_page(run: Run, found: Found, steps: Mapping[int, Sequence[Group]], *, images: int, left_out: int) -> str:
    """One file with the curves, the search and the groups of some steps.

    Args:
        images: how many the file holds; ``left_out``: how many it does not.
    """

    def link(step: int, row: int | None) -> str | None:
        return None if step not in steps else f"#step-{step}" if row is None else f"#row-{step}-{row}"

    sections = [
        el(
            "section",
            {"class": "step", "id": f"step-{step}"},
            el("h2", {}, f"Step {step}"),
            el("p", {"class": "muted"}, step_words(groups, len(groups))),
            [group_card(step, group, run.weights, prefix=f"{step}-") for group in groups],
        )
        for step, groups in steps.items()
    ]
    note = f"{plural(images, 'image')} in this file" + (f", {left_out:,} left out" if left_out else "") + ". "
    private = _PRIVATE_FILE.format(images=", photographs" if images else "")
    jumps = [el("a", {"href": f"#step-{step}"}, step) for step in steps]
    body = together(
        [
            bar(run, None, "#", ""),
            el(
                "main",
                {"id": "main"},
                head(run, found),
                el("p", {"class": "private"}, private, note, NOT_A_DEVICE),
                curves(run),
                search(found, "score", {}, link),
                el("nav", {"class": "choices", "aria-label": "Steps in this file"}, "Steps here ", jumps, marker()),
                sections,
                dialog(),
            ),
        ]
    )
    return _whole(f"Rollouts of {run.name}", body, {}, NOBODY)


def message_page(title: str, words: str) -> str:
    """A page that says why there is nothing to see."""
    body = el("main", {"id": "main"}, el("h1", {}, title), el("p", {}, words))
    return _whole(title, body, {}, "'self'")


def _whole(title: str, body: Html, data: Mapping[str, Any], connect: str) -> str:
    skip = el("a", {"class": "skip", "href": "#main"}, "To the content")
    return document(title, skip + body, styles=("rollouts.css",), scripts=("rollouts.js",), data=data, connect=connect)
