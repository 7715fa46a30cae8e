"""One group of rollouts: image and question, completions side by side, each reward and why, the advantage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from skinrl.pages.rollouts_given import Group, Rollout
from skinrl.pages.rollouts_html import Attribute, Html, el, number, plural

_TAG = re.compile(r"(</?[A-Za-z][A-Za-z _-]*>)")
_YES_NO = {"True": "yes", "False": "no"}
_NOT_SHOWN = {"id", "finished"}


def group_card(step: int, group: Group, weights: Mapping[str, float], *, prefix: str = "") -> Html:
    """The card of a group; equal completions with equal rewards stand together as one.

    Args:
        prefix: of the ids of the rollouts' elements, where a page holds several steps.
    """
    together = _alike(group.rollouts)
    most = max((abs(one.advantage) for one in group.rollouts), default=0.0)
    top = max([1.0, *(abs(value) for one in group.rollouts for value in one.rewards.values() if value is not None)])
    columns = [_column(members, weights, most, top, prefix) for members in together]
    distinct = "" if len(together) == len(group.rollouts) else f", {len(together)} different"
    spread = "no spread: teaches nothing" if group.spread == 0 else f"spread {number(group.spread)}"
    facts = f"{plural(len(group.rollouts), 'completion')}{distinct} · mean reward {number(group.mean)} · {spread}"
    title = el(
        "h3", {}, f"Group {group.number + 1}", el("span", {"class": "id"}, f" {group.id}") if group.id else None
    )
    side_by_side: dict[str, Attribute] = {
        "class": "columns",
        "tabindex": 0,  # it scrolls sideways, by the arrow keys too
        "role": "group",
        "aria-label": f"Completions of group {group.number + 1}",
    }
    return el(
        "article",
        {"class": "group", "id": f"group-{prefix}{group.number}"},
        el("header", {}, title, el("p", {"class": "small muted"}, facts)),
        el("div", {"class": "sides"}, _question(step, group), el("div", side_by_side, columns)),
    )


def _alike(rollouts: Sequence[Rollout]) -> list[list[Rollout]]:
    """Rollouts with one text and one set of rewards together; highest total first, then the most common."""
    found: dict[Any, list[Rollout]] = {}
    for one in rollouts:
        found.setdefault((one.text, tuple(one.rewards.items()), one.finished), []).append(one)
    return sorted(found.values(), key=lambda members: (-_total(members[0]), -len(members), members[0].row))


def _total(rollout: Rollout) -> float:
    return float("-inf") if rollout.total is None else rollout.total


# --- the question ------------------------------------------------------------------------------------------------


def _question(step: int, group: Group) -> Html:
    shown = [_image(step, group, place, address) for place, address in enumerate(group.images, 1)]
    facts = [el("div", {}, el("dt", {}, name), el("dd", {}, value)) for name, value in fact_lines(group.facts)]
    texts = [
        el("p", {"class": "prompt"}, el("b", {}, f"{role}: ") if role != "user" else None, text.strip())
        for role, text in group.prompt
        if text.strip()
    ]
    reason = el("p", {"class": "small muted"}, group.reason) if group.reason else None
    return el(
        "div", {"class": "question"}, el("div", {"class": "images"}, shown), reason, texts, el("dl", {}, facts)
    )  # fmt: skip


def _image(step: int, group: Group, place: int, address: str) -> Html | None:
    if not address:
        return None
    words = f"Image {place} of {len(group.images)}, record {group.id}"
    return el(
        "button", {"type": "button", "class": "image", "data-words": f"{words}, step {step}"},
        el("img", {"src": address, "alt": words, "loading": "lazy"}),
    )  # fmt: skip


def fact_lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The plain columns of a dataset row as name and words; what says nothing is left out.

    Names with weights beside them (``gold_nodes``, ``gold_weights``) come together.
    """
    lines = []
    for name, value in facts.items():
        stem = name.rpartition("_")[0]
        if (
            name in _NOT_SHOWN
            or value in (None, "", [], {})
            or (name.endswith("_weights") and f"{stem}_nodes" in facts)
        ):
            continue
        weights = facts.get(f"{stem}_weights") if name.endswith("_nodes") else None
        if weights and len(weights) == len(value) > 1:
            words = ", ".join(f"{one} {weight:.3g}" for one, weight in zip(value, weights, strict=True))
        else:
            words = _words(value)
        lines.append((name.removesuffix("_nodes").replace("_", " ") if weights else name.replace("_", " "), words))
    return lines


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(_words(one) for one in value.values())
    if isinstance(value, list | tuple):
        return ", ".join(_words(one) or "–" for one in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- one completion ----------------------------------------------------------------------------------------------


def _column(members: Sequence[Rollout], weights: Mapping[str, float], most: float, top: float, prefix: str) -> Html:
    one = members[0]
    numbers = ", ".join(f"#{member.row}" for member in members)
    anchors = [el("span", {"class": "anchor", "id": f"row-{prefix}{member.row}"}) for member in members]
    times = el("span", {"class": "times"}, f"× {len(members)}") if len(members) > 1 else None
    total = el(
        "b", {"class": "total", "title": "weighted sum"}, el("span", {"class": "hidden"}, "reward "), number(one.total)
    )
    cut = el("p", {"class": "cut"}, "cut at the length limit") if one.finished is False else None
    return el(
        "section",
        {"class": "rollout", "aria-label": f"Completion {numbers}"},
        anchors,
        el("div", {"class": "head"}, total, times, _advantage(one, most)),
        el("p", {"class": "rows small muted", "title": "rows of the step's table"}, numbers),
        el("ul", {"class": "rewards"}, _rewards(one, weights, top)),
        _others(one),
        cut,
        el("pre", {}, _text(one.text)),
    )


def _advantage(one: Rollout, most: float) -> Html:
    share = abs(one.advantage) / most / 2 if most > 1e-6 else 0.0
    side = "left:50%" if one.advantage >= 0 else "right:50%"
    kind = "more" if one.advantage > 1e-6 else "less" if one.advantage < -1e-6 else "none"
    value = f"{one.advantage:+.2f}".replace("-", "−") if kind != "none" else "0"
    bar = el("span", {"class": "tilt"}, el("i", {"style": f"{side};width:{share:.0%}"}))
    return el("span", {"class": f"advantage {kind}"}, f"advantage {value}", bar)


def _rewards(one: Rollout, weights: Mapping[str, float], top: float) -> list[Html]:
    """Each reward and why; what several rewards say alike (the answer as it was read) stands at the first."""
    said: set[tuple[str, str]] = set()
    items = []
    for name, weight in weights.items():
        new = {column: value for column, value in one.why.get(name, {}).items() if (column, value) not in said}
        said.update(new.items())
        items.append(_reward(name, one.rewards[name], weight, top, new))
    return items


def _reward(name: str, value: float | None, weight: float, top: float, why: Mapping[str, str]) -> Html:
    share = 0.0 if value is None else max(0.0, min(1.0, value / top))
    told = [
        el("div", {}, el("dt", {}, column.replace("_", " ")), el("dd", {}, _YES_NO.get(said, said)))
        for column, said in why.items()
    ]
    short = name.removesuffix("_reward").replace("_", " ")
    return el(
        "li",
        {"class": "unscored" if value is None else None},
        el("span", {"class": "name", "title": f"{name}, weight {weight:g}"}, short),
        el("span", {"class": "value"}, "None" if value is None else number(value)),
        el("span", {"class": "meter"}, el("i", {"style": f"width:{share:.0%}"})),
        el("dl", {}, told) if told else None,
    )


def _others(one: Rollout) -> Html | None:
    """Columns that belong to no reward."""
    told = [el("div", {}, el("dt", {}, name), el("dd", {}, said)) for name, said in one.why.get("", {}).items()]
    return el("dl", {"class": "others"}, told) if told else None


def _text(text: str) -> list[Html | str]:
    """Tags are set apart; all the rest is text."""
    parts = _TAG.split(text.strip())
    return [el("span", {"class": "tag"}, part) if _TAG.fullmatch(part) else part for part in parts if part]
