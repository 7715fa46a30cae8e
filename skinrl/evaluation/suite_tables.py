"""Suites, formats, judge and what was measured beside them, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from skinrl.evaluation.tables import metric_title, model_title, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_CONTROLS = {
    "label_prior": "best guess",
    "no_image": "no image",
    "shuffled_options": "shuffled",
    "wrong_image": "wrong image",
    "metadata_only": "metadata only",
}
_FORMATS = {
    "strict": "strict",
    "own_format": "own words",
    "constrained": "forced",
    "option_likelihood": "likeliest",
}


def suite_table(comparison: Mapping[str, Any]) -> Table | None:
    """A block of rows for each suite: its headline metrics, then its controls. None without suites."""
    suites = comparison.get("suites") or {}
    if not suites:
        return None
    models = list(comparison["models"])
    table = _table("Suites, % with 95 % interval", models)
    for name, suite in suites.items():
        one = next(iter(suite["models"].values()))
        table.add_row(suite.get("title") or name, f"{one['cases']} cases", style="bold")
        for label, cells in _suite_rows(suite, models):
            table.add_row(f"  {label}", *cells)
    return table


def _suite_rows(suite: Mapping[str, Any], models: list[str]) -> Iterator[tuple[str, list[str]]]:
    listed = list(dict.fromkeys([*suite["headline"], "accuracy_sampled", "invalid_share"]))
    for metric in listed:
        found = [suite["models"].get(name, {}).get(metric) for name in models]
        if any(one is not None and one["value"] is not None for one in found):
            yield metric_title(metric), [shown(metric, one) for one in found]
    for control, title in _CONTROLS.items():
        found = [suite["models"].get(name, {}).get("controls", {}).get(control) for name in models]
        if any(one is not None for one in found):
            yield title, [shown("accuracy", one) for one in found]
    judged = [suite["models"].get(name, {}).get("judge") for name in models]
    if any(judged):
        told = [block and (block["accuracy"] or block["accuracy_judged"]) for block in judged]
        yield "right to the judge", [shown("accuracy", one) for one in told]
        missing = [block["missing"] for block in judged if block and block["missing"]]
        if missing:
            yield f"judge incomplete: {missing[0][:60]}", []


def format_table(comparison: Mapping[str, Any]) -> Table | None:
    """Accuracy of models in other formats, main questions and suites; None where nothing was measured."""
    parts = {"Main questions": comparison, **(comparison.get("suites") or {})}
    rows = {part.get("title") or name: list(_format_rows(part)) for name, part in parts.items()}
    if not any(rows.values()):
        return None
    models = list(comparison["models"])
    table = _table("Accuracy without the burden of the format, % with 95 % interval", models)
    for title, listed in rows.items():
        if listed:
            table.add_row(title, style="bold")
        for label, found in listed:
            table.add_row(f"  {label}", *[shown("accuracy", found.get(name)) for name in models])
    table.caption = (
        "strict: as in the main number, on the same cases; own words: no form asked for, read leniently; forced: an "
        "answer that cannot be malformed; likeliest: of the options offered. None of them is the main number"
    )
    table.caption_justify = "left"
    return table


def _format_rows(part: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    measured = {name: metrics.get("formats") or {} for name, metrics in part["models"].items()}
    strict = {name: next(iter(blocks.values()))["strict"] for name, blocks in measured.items() if blocks}
    if strict:
        yield _FORMATS["strict"], strict
    for key in ("own_format", "constrained", "option_likelihood"):
        found = {name: blocks[key]["accuracy"] for name, blocks in measured.items() if key in blocks}
        if found:
            yield _FORMATS[key], found


def _table(title: str, models: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for name in models:
        table.add_column(model_title(name), no_wrap=True)
    return table


def print_suites(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the tables of suites and formats, where there are any."""
    from rich.console import Console

    console = console or Console()
    for table in (suite_table(comparison), format_table(comparison)):
        if table is not None:
            console.print(table)
