"""Curves of a run as SVG: one small chart each, the run's steps to the right."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

from skinrl.pages.rollouts_given import Curve
from skinrl.pages.rollouts_html import Html, el, number

WIDTH, HEIGHT = 320, 120
LEFT, RIGHT, TOP, BOTTOM = 40, 6, 8, 18  # room for the numbers of the axes
MOST_POINTS = 300  # a longer curve is drawn by the means of as many stretches

Point = tuple[int, float]  # step, value


def chart(curve: Curve, steps: tuple[int, int]) -> Html:
    """One curve with its running mean and its axes.

    Args:
        steps: first and last step of the run, the same for all charts.
    """
    points = _thinned(curve.points)
    low, high = _range(points, curve.form)
    x, y = _scale(steps, (LEFT, WIDTH - RIGHT)), _scale((low, high), (HEIGHT - BOTTOM, TOP))
    last = curve.points[-1][1]
    marks: list[Html] = [_grid(y, low, high, curve.form), _steps_axis(x, steps)]
    marks += [
        el("path", {"class": "raw", "d": _line([(x(step), y(value)) for step, value in points])}),
        el("path", {"class": "mean", "d": _line(_running(points, x, y))}),
        el("line", {"class": "cursor", "y1": TOP, "y2": HEIGHT - BOTTOM, "hidden": True}),
    ]
    said = f"{curve.what}: {_written(curve.points[0][1], curve.form)} at step {curve.points[0][0]}, "
    said += f"{_written(last, curve.form)} at step {curve.points[-1][0]}"
    drawn = el(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "role": "img",
            "aria-label": said,
            "data-points": json.dumps([[step, float(f"{value:.4g}")] for step, value in points]),
            "data-range": json.dumps([*steps, LEFT, WIDTH - RIGHT, WIDTH]),
            "data-form": curve.form,
        },
        marks,
    )
    title = el("span", {"class": "what"}, curve.what)
    now = el("output", {"data-last": _written(last, curve.form)}, _written(last, curve.form))
    return el("figure", {"class": "chart"}, el("figcaption", {}, title, now), drawn)


def _scale(of: tuple[float, float], to: tuple[float, float]) -> Callable[[float], float]:
    (low, high), (start, end) = of, to
    width = (high - low) or 1
    return lambda value: round(start + (value - low) / width * (end - start), 1)


def _thinned(points: Sequence[Point]) -> list[Point]:
    size = math.ceil(len(points) / MOST_POINTS) or 1
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [(part[len(part) // 2][0], sum(value for _, value in part) / len(part)) for part in parts]


def _range(points: Sequence[Point], form: str) -> tuple[float, float]:
    values = [value for _, value in points if math.isfinite(value)] or [0.0]
    low, high = min(values), max(values)
    if form == "share":
        return 0.0, max(high, 0.05)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _written(value: float, form: str) -> str:
    return f"{value:.1%}" if form == "share" else number(value)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points if math.isfinite(y))


def _running(
    points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]
) -> list[tuple[float, float]]:
    """The mean over the last twentieth of the curve, at least five points."""
    width = max(5, len(points) // 20)
    means = []
    for index, (step, _) in enumerate(points):
        near = [value for _, value in points[max(0, index + 1 - width) : index + 1]]
        means.append((x(step), y(sum(near) / len(near))))
    return means


def _grid(y: Callable[[float], float], low: float, high: float, form: str) -> Html:
    ticks = _ticks(low, high)
    lines = [el("line", {"class": "grid", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": y(at), "y2": y(at)}) for at in ticks]
    names = [el("text", {"x": LEFT - 5, "y": y(at) + 3.5, "class": "y"}, _tick(at, form)) for at in ticks]
    return el("g", {"aria-hidden": "true"}, lines, names)


def _tick(value: float, form: str) -> str:
    return f"{value * 100:.3g}%" if form == "share" else number(value)


def _ticks(low: float, high: float) -> list[float]:
    """Two to six round numbers between ``low`` and ``high``."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(count * step, 12) for count in range(first, math.floor(high / step) + 1)]


def _steps_axis(x: Callable[[float], float], steps: tuple[int, int]) -> Html:
    first, last = (
        el("text", {"x": x(at), "y": HEIGHT - 4, "class": c}, at) for at, c in zip(steps, "xX", strict=True)
    )
    return el("g", {"aria-hidden": "true"}, first, last if steps[1] > steps[0] else None)
