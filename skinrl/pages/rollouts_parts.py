"""Parts of the pages of rollouts: the bar, the curves, what to look at first, all steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skinrl.pages.rollouts_charts import chart
from skinrl.pages.rollouts_given import Found, Group, Run, Suspect
from skinrl.pages.rollouts_html import Attribute, Html, el, number, plural

ORDERS = {
    "score": "all signs",
    "disagreement": "rewards disagree",
    "repeated": "same text, other images",
    "parting": "one reward rose, one fell",
    "long": "long",
}
_EXCERPT = 240  # characters of a suspect's text
Link = Callable[[int, int | None], str | None]  # step and row -> address, None where it is not in reach


def bar(run: Run, step: int | None, up: str, nav: Any) -> Html:
    """The bar at the top.

    Args:
        up: from this page to the first one; "#" in a file, which has no other pages.
    """
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


def head(run: Run, found: Found) -> Html:
    """What the run is: steps, rewards with their weights, how far it has been searched."""
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


def curves(run: Run) -> Html:
    """All curves of the run."""
    if not run.curves:
        words = "metrics.jsonl of this run holds no curves yet."
        return el("section", {}, el("h2", {}, "Curves"), el("p", {}, words))
    steps = [step for curve in run.curves for step in (curve.points[0][0], curve.points[-1][0])]
    charts = [chart(curve, (min(steps), max(steps))) for curve in run.curves]
    words = "Thin: each step. Thick: running mean. Click: that step."
    return el(
        "section",
        {},
        el("h2", {}, "Curves"),
        el("p", {"class": "small muted"}, words),
        el("div", {"class": "charts"}, charts),
    )


def search(found: Found, by: str, orders: Mapping[str, str], link: Link) -> Html:
    """The rollouts to look at first, each with its signs.

    Args:
        by: the order chosen; ``orders``: order -> address, {} where there is no choice.
    """
    words = (
        "High reward where the rewards disagree, one text for many images, a reward that rises while another falls, "
        "and length. The score sorts what to look at first; it proves nothing. Beside each order: rollouts that reach "
        "half of it."
    )
    chosen = [
        el(
            "a",
            {"href": orders[name], "aria-current": name == by and "true"},
            f"{title} ",
            el("span", {"class": "count"}, f"{found.counts.get(name, 0):,}"),
        )
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
    text = one.text if len(one.text) <= _EXCERPT else "… " + one.text[-_EXCERPT:].lstrip()
    return el(
        "li",
        {"class": "suspect"},
        el("span", {"class": "rank", "aria-hidden": "true"}, place),
        el("img", {"src": one.image, "alt": "", "loading": "lazy"}) if one.image else None,
        el(
            "div",
            {"class": "score"},
            el("span", {"class": "hidden"}, "score "),
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


def all_steps(run: Run, link: Link) -> Html:
    """A cell for each step, stronger in colour with the mean reward."""
    reward = next((dict(curve.points) for curve in run.curves if curve.name == "reward"), {})
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
    words = "The stronger the colour, the higher the mean reward."
    return el(
        "section",
        {},
        el("h2", {}, "Steps"),
        el("details", {"open": len(cells) <= 300}, el("summary", {}, title), el("p", {"class": "small muted"}, words),
           el("div", {"class": "steps"}, cells)),
    )  # fmt: skip


def step_words(groups: Sequence[Group], of: int) -> str:
    """What the groups shown are, in a sentence.

    Args:
        of: groups of the step, shown or not.
    """
    rollouts = sum(len(group.rollouts) for group in groups)
    flat = sum(group.spread == 0 for group in groups)
    totals = [total for group in groups for total in group.totals]
    mean = number(sum(totals) / len(totals)) if totals else "–"
    shown = f"{len(groups)} of {plural(of, 'group')}" if len(groups) < of else plural(of, "group")
    nothing = f"; {plural(flat, 'group')} without a spread: nothing is learnt there" if flat else ""
    return f"{shown}, {plural(rollouts, 'rollout')}, mean reward {mean}{nothing}."


def marker() -> Html:
    """The switch that marks what a completion says and the best one of its group does not."""
    return el("button", {"type": "button", "id": "differ", "aria-pressed": "false"}, "Mark words that the best lacks")


def dialog() -> Html:
    """Where an image is shown in large."""
    shown = el("img", {"alt": "", "id": "large-image"})
    close = el("button", {"type": "button", "id": "close"}, "Close")
    return el("dialog", {"id": "large", "aria-label": "Image"}, shown, el("p", {"id": "large-words"}), close)
