"""A comparison as one self-contained SVG: bars with their intervals, no script, no font to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from skinrl.evaluation.tables import model_title

_SERIES = (  # metric, words, colour (told apart in grey and by colour-blind eyes)
    ("accuracy_sampled", "sampled at temperature 1", "#1b4f72"),
    ("accuracy", "greedy", "#5dade2"),
    ("no_image", "greedy, without image", "#b2babb"),
)
_LEFT, _TOP, _HEIGHT, _BAR, _GAP = 56, 60, 260, 34, 46


def comparison_svg(comparison: Mapping[str, Any]) -> str:
    """Accuracy of every model, sampled, greedy and without image, with 95 % intervals and the best blind guess."""
    models = comparison["models"]
    group = _BAR * len(_SERIES) + _GAP
    width, height = _LEFT + group * len(models) + _GAP, _TOP + _HEIGHT + 84
    width = max(width, 520)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(_title(comparison))}</title>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" font-weight="bold">{escape(_title(comparison))}</text>',
        *_axis(width),
        *_prior(comparison, width),
    ]
    for number, (name, metrics) in enumerate(models.items()):
        left = _LEFT + _GAP / 2 + number * group
        middle = left + _BAR * len(_SERIES) / 2
        for place, (metric, _, colour) in enumerate(_SERIES):
            found = metrics["controls"].get(metric) if metric == "no_image" else metrics.get(metric)
            if found is not None and found["value"] is not None:
                parts += _bar(left + place * _BAR, found, colour)
        label_y = _TOP + _HEIGHT + 20
        parts.append(f'<text x="{middle:.0f}" y="{label_y}" text-anchor="middle">{escape(model_title(name))}</text>')
    parts += _legend(_TOP + _HEIGHT + 46)
    return "\n".join([*parts, "</svg>", ""])


def _title(comparison: Mapping[str, Any]) -> str:
    one = next(iter(comparison["models"].values()))
    return f"Accuracy on {one['cases']} cases, with 95 % intervals"


def _y(share: float) -> float:
    return _TOP + _HEIGHT * (1 - share)


def _axis(width: int) -> list[str]:
    lines = []
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        lines.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{width - 12}" y2="{y:.1f}" stroke="#e5e7e9"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#566573">{percent} %</text>')
    return lines


def _bar(left: float, metric: Mapping[str, Any], colour: str) -> list[str]:
    value, low, high = metric["value"], metric["low"], metric["high"]
    middle, top = left + _BAR / 2, _y(value)
    parts = [
        f'<rect x="{left + 2:.1f}" y="{top:.1f}" width="{_BAR - 4}" height="{_HEIGHT * value:.1f}" fill="{colour}"/>'
    ]
    if low is not None and high is not None:
        parts.append(
            f'<path d="M{middle:.1f} {_y(low):.1f}V{_y(high):.1f}M{middle - 4:.1f} {_y(low):.1f}h8'
            f'M{middle - 4:.1f} {_y(high):.1f}h8" stroke="#17202a" stroke-width="1.3" fill="none"/>'
        )
    over = _y(high if high is not None else value) - 5
    parts.append(
        f'<text x="{middle:.1f}" y="{over:.1f}" text-anchor="middle" stroke="white" stroke-width="3" '
        f'paint-order="stroke">{value * 100:.1f}</text>'
    )
    return parts


def _prior(comparison: Mapping[str, Any], width: int) -> list[str]:
    prior = comparison["controls"].get("label_prior")
    if prior is None or prior["value"] is None:
        return []
    y, key = _y(prior["value"]), _TOP + _HEIGHT + 64
    words = f"best guess without an image or a model: {prior['value'] * 100:.1f}"
    return [
        f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{width - 12}" y2="{y:.1f}" stroke="#c0392b" stroke-dasharray="5 4"/>',
        f'<line x1="{_LEFT}" y1="{key}" x2="{_LEFT + 26}" y2="{key}" stroke="#c0392b" stroke-dasharray="5 4"/>',
        f'<text x="{_LEFT + 34}" y="{key + 4}">{words}</text>',
    ]


def _legend(y: float) -> list[str]:
    parts, x = [], float(_LEFT)
    for _, words, colour in _SERIES:
        parts.append(f'<rect x="{x:.0f}" y="{y - 10:.0f}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16:.0f}" y="{y:.0f}">{escape(words)}</text>')
        x += 34 + 6.6 * len(words)
    return parts
