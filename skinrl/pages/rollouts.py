"""The rollouts of a run to look at: the run, one step of it, or chosen steps in one file that opens offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skinrl.pages.base import NOBODY, NOT_A_DEVICE, document
from skinrl.pages.rollouts_charts import chart
from skinrl.pages.rollouts_given import Found, Group, Run, Suspect
from skinrl.pages.rollouts_group import group_card
from skinrl.pages.rollouts_html import Attribute, Html, el, number, plural, together

SORTS = {"drawn": "as drawn", "spread": "largest spread", "high": "highest reward", "low": "lowest reward"}
ORDERS = {
    "score": "all signs",
    "disagreement": "rewards disagree",
    "repeated": "same text, other images",
    "parting": "one reward rose, one fell",
    "long": "long",
}
_EXCERPT = 280  # characters of a suspect's text
_PRIVATE = (
    "This page shows photographs and record ids of patients. It stays on this computer: nothing is sent anywhere, and "
    "the pages are kept in no browser's cache. "
)
_PRIVATE_FILE = (
    "This file holds record ids{images} and what was written about patients: keep it where the run may be kept. "
    "It loads nothing from anywhere. "
)
Link = Callable[[int, int | None], str | None]  # step and row -> address, None where it is not in reach


def overview_page(run: Run, found: Found, by: str) -> str:
    """The live page of a run: curves, what to look at first, all steps.

    Args:
        by: the order of the suspects, a key of `ORDERS`.
    """

    def link(step: int, row: int | None) -> str:
        return f"step/{step}" if row is None else f"step/{step}?row={row}#row-{row}"

    orders = {name: f"?by={name}#search" for name in ORDERS}
    body = together(
        [
            _bar(run, None, "", ""),
            el(
                "main",
                {"id": "main"},
                _head(run, found),
                el("p", {"class": "private"}, _PRIVATE, NOT_A_DEVICE),
                el("div", {"id": "live"}, _curves(run), _search(run, found, by, orders, link), _steps(run, link)),
            ),
        ]
    )
    return _whole(f"Rollouts of {run.name}", body, {"live": not run.state.startswith("complete")}, "'self'")


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
            _bar(run, step, "../", nav),
            el(
                "main",
                {"id": "main"},
                el("h1", {}, f"Step {step}"),
                el("p", {"class": "muted"}, _step_words(groups, of, run)),
                el("nav", {"class": "choices", "aria-label": "Order of the groups"}, sorts, toggle, _marker()),
                [group_card(step, group, run.weights) for group in groups],
                el("p", {}, "No group of this step is to be shown so.") if not groups else None,
                el("nav", {"class": "choices", "aria-label": "Pages"}, "Page ", pager) if pages > 1 else None,
                el("p", {"class": "private"}, _PRIVATE, NOT_A_DEVICE),
                _dialog(),
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
            el("p", {"class": "muted"}, _step_words(groups, len(groups), run)),
            [group_card(step, group, run.weights, prefix=f"{step}-") for group in groups],
        )
        for step, groups in steps.items()
    ]
    note = f"{plural(images, 'image')} in this file" + (f", {left_out:,} left out" if left_out else "") + ". "
    private = _PRIVATE_FILE.format(images=", photographs" if images else "")
    jumps = [el("a", {"href": f"#step-{step}"}, step) for step in steps]
    body = together(
        [
            _bar(run, None, "#", ""),
            el(
                "main",
                {"id": "main"},
                _head(run, found),
                el("p", {"class": "private"}, private, note, NOT_A_DEVICE),
                _curves(run),
                _search(run, found, "score", {}, link),
                el("nav", {"class": "choices", "aria-label": "Steps in this file"}, "Steps here ", jumps, _marker()),
                sections,
                _dialog(),
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


# --- parts ---------------------------------------------------------------------------------------------------------


def _bar(run: Run, step: int | None, up: str, nav: Any) -> Html:
    home = el("a", {"href": up or "."}, run.name) if step is not None else el("b", {}, run.name)
    here = [el("span", {"aria-hidden": "true"}, " / "), el("b", {}, f"step {step}")] if step is not None else None
    jump = None
    if up != "#" and run.steps:
        span = f"{run.steps[0]} to {run.steps[-1]}"
        field: dict[str, Attribute] = {
            "id": "jump",
            "type": "number",
            "min": run.steps[0],
            "max": run.steps[-1],
            "placeholder": span,
        }
        jump = el("label", {"class": "jump"}, "Go to step", el("input", {**field, "data-base": f"{up}step/"}))
    return el("header", {"class": "bar"}, el("div", {"class": "where"}, home, here), el("nav", {}, nav, jump))


def _head(run: Run, found: Found) -> Html:
    span = f"steps {run.steps[0]} to {run.steps[-1]}" if run.steps else "no step has been logged yet"
    weights = ", ".join(f"{name} × {weight:g}" for name, weight in run.weights.items())
    unknown = "" if run.weights_known or not run.weights else " (no recipe here says the weights: 1 each)"
    lines = [f"{plural(len(run.steps), 'step')} with completions, {span}; {run.state}."]
    if weights:
        lines.append(f"Rewards and weights: {weights}{unknown}.")
    searched = f"{plural(found.rollouts, 'rollout')} of {plural(found.steps, 'step')} searched"
    if found.steps < found.all_steps:
        searched += f", {found.all_steps - found.steps:,} to go"
    lines.append(f"{searched}.")
    return el("div", {"id": "head"}, el("h1", {}, "Rollouts"), [el("p", {"class": "muted"}, line) for line in lines])


def _curves(run: Run) -> Html:
    if not run.curves:
        words = "metrics.jsonl of this run holds no curves yet."
        return el("section", {}, el("h2", {}, "Curves"), el("p", {}, words))
    steps = [step for curve in run.curves for step in (curve.points[0][0], curve.points[-1][0])]
    charts = [chart(curve, (min(steps), max(steps))) for curve in run.curves]
    words = "Thin: each step. Thick: running mean. Band: one standard deviation of the rollouts of a step."
    return el(
        "section",
        {},
        el("h2", {}, "Curves"),
        el("p", {"class": "small muted"}, words),
        el("div", {"class": "charts"}, charts),
    )


def _search(run: Run, found: Found, by: str, orders: Mapping[str, str], link: Link) -> Html:
    words = (
        "High reward where the rewards disagree, one text for many images, a reward that rises while another falls, "
        "and length. The score sorts what to look at first; it proves nothing."
    )
    chosen = [
        el("a", {"href": orders[name], "aria-current": name == by and "true"}, title)
        for name, title in ORDERS.items()
        if orders
    ]
    rows = [_suspect(place, one, link) for place, one in enumerate(found.suspects, 1)]
    nothing = "No rollout shows any of these signs." if found.rollouts else "Nothing has been searched yet."
    listed: Html = el("ol", {"class": "suspects"}, rows) if rows else el("p", {}, nothing)
    return el(
        "section",
        {"id": "search"},
        el("h2", {}, "Look here first"),
        el("p", {"class": "small muted"}, words),
        el("ul", {"class": "partings"}, [el("li", {}, one) for one in found.partings]) if found.partings else None,
        el("nav", {"class": "choices", "aria-label": "Order of the search"}, chosen) if chosen else None,
        listed,
    )


def _suspect(place: int, one: Suspect, link: Link) -> Html:
    address = link(one.step, one.row)
    where = f"step {one.step}, {one.id or f'row {one.row}'}"
    head = el("a", {"href": address}, where) if address else el("span", {}, where)
    signs = [
        el("li", {"title": ORDERS[name]}, f"{ORDERS[name]} ", el("b", {}, f"{value:.2f}"))
        for name, value in one.signs.items()
        if value >= 0.005
    ]
    text = one.text if len(one.text) <= _EXCERPT else "… " + one.text[-_EXCERPT:]
    return el(
        "li",
        {"class": "suspect"},
        el("div", {"class": "rank", "aria-hidden": "true"}, place),
        el(
            "div",
            {"class": "score"},
            el("b", {}, f"{one.score:.2f}"),
            el("span", {"class": "meter"}, el("i", {"style": f"width:{one.score:.0%}"})),
        ),
        el(
            "div",
            {"class": "about"},
            el(
                "p",
                {},
                head,
                f" · reward {number(one.total)}",
                f" · {one.alike:,} rollouts with this text around" if one.alike > 1 else None,
            ),
            el("p", {"class": "small"}, "; ".join(one.because)),
            el("ul", {"class": "signs"}, signs),
        ),
        el("pre", {}, text),
    )


def _steps(run: Run, link: Link) -> Html:
    reward = dict(run.curves[0].points) if run.curves else {}
    low, high = min(reward.values(), default=0.0), max(reward.values(), default=0.0)
    width = (high - low) or 1.0
    cells = [
        el(
            "a",
            {
                "href": link(step, None),
                "title": f"step {step}: reward {number(reward.get(step))}",
                "style": f"--level:{(reward[step] - low) / width:.2f}" if step in reward else None,
            },
            step,
        )
        for step in run.steps
    ]
    title = f"All {plural(len(cells), 'step')}"
    words = "The darker, the higher the mean reward."
    return el(
        "section",
        {},
        el("h2", {}, "Steps"),
        el("details", {"open": len(cells) <= 300}, el("summary", {}, title), el("p", {"class": "small muted"}, words),
           el("div", {"class": "steps"}, cells)),
    )  # fmt: skip


def _step_words(groups: Sequence[Group], of: int, run: Run) -> str:
    rollouts = sum(len(group.rollouts) for group in groups)
    flat = sum(group.spread == 0 for group in groups)
    totals = [total for group in groups for total in group.totals]
    mean = number(sum(totals) / len(totals)) if totals else "–"
    shown = f"{len(groups)} of {plural(of, 'group')}" if len(groups) < of else plural(of, "group")
    return f"{shown}, {plural(rollouts, 'rollout')}, mean reward {mean}; {flat} without a spread teach nothing."


def _marker() -> Html:
    return el("button", {"type": "button", "id": "differ", "aria-pressed": "false"}, "Mark words that the best lacks")


def _dialog() -> Html:
    shown = el("img", {"alt": "", "id": "large-image"})
    close = el("button", {"type": "button", "id": "close"}, "Close")
    return el("dialog", {"id": "large", "aria-label": "Image"}, shown, el("p", {"id": "large-words"}), close)
