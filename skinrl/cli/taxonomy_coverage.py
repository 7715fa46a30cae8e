"""``skinrl taxonomy coverage``: which labels of a dataset lead to nodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skinrl.cli.common import JsonOption, print_json
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.taxonomy.coverage import Coverage

_HEAD = ("dataset", "labels", "resolved", "no disease", "unresolved", "cases", "resolved", "list made from")


def coverage(
    dataset: Annotated[
        str | None,
        typer.Argument(help="A shipped label map or a YAML file; default: all shipped.", metavar="DATASET"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The dataset's table or folder; default: the map's own list.")
    ] = None,
    taxonomy: Annotated[
        str, typer.Option("--taxonomy", help="Name of a shipped taxonomy, or a YAML file.")
    ] = "dermatology",
    json: JsonOption = False,
) -> None:
    """Count the labels of a dataset that lead to nodes, that name no disease, and that are unresolved.

    Exits with 2 where labels are unresolved.

    Example: skinrl taxonomy coverage scin --data scin_labels.csv
    """
    from skinrl.taxonomy import load_label_map, load_taxonomy
    from skinrl.taxonomy.coverage import coverage as cover
    from skinrl.taxonomy.label_map import shipped_label_maps

    if dataset is None and data is not None:
        raise InputError("--data needs a DATASET: which label map are these labels of?")
    tree = load_taxonomy(taxonomy)
    names = (dataset,) if dataset is not None else shipped_label_maps()
    maps = [load_label_map(name, tree) for name in names]
    found = [cover(labels, data) for labels in maps]
    if json:
        rows = [_row(row) for row in found]
        print_json(rows[0] if dataset is not None else rows)
    else:
        _print_table(found)
        for labels, row in zip(maps, found, strict=True):
            if dataset is not None:
                for raw, reason in sorted(labels.reasons.items()):
                    typer.echo(f"  no disease: {raw}" + (f" ({reason})" if reason else ""))
            for raw in row.unresolved:
                near = ", ".join(match.node for match in tree.nearest(raw)) or "nothing"
                typer.echo(f"  unresolved: {row.dataset}: {raw}; nearest: {near}")
    if any(row.unresolved for row in found):
        raise typer.Exit(2)


def _row(row: Coverage) -> dict[str, Any]:
    return dataclasses.asdict(row) | {"unresolved": len(row.unresolved), "unresolved_labels": list(row.unresolved)}


def _print_table(found: list[Coverage]) -> None:
    rows: list[tuple[str, ...]] = [_HEAD]
    for row in found:
        share = "?" if row.cases_resolved_share is None else f"{row.cases_resolved_share:.2%}"
        total = str(row.labels) + (f" of {row.published}" if row.published not in (None, row.labels) else "")
        cells = (total, str(row.labels_resolved), str(row.not_a_disease), str(len(row.unresolved)))
        rows.append((row.dataset, *cells, "?" if row.cases is None else str(row.cases), share, row.made_from))
    widths = [max(len(line[column]) for line in rows) for column in range(len(_HEAD))]
    for first, *numbers, last in rows:
        right = [f"{cell:>{width}}" for cell, width in zip(numbers, widths[1:-1], strict=True)]
        typer.echo("  ".join([f"{first:<{widths[0]}}", *right, last]))
