"""``skinrl data``: look at a folder before training on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skinrl.cli.common import JsonOption, console, print_json
from skinrl.cli.overlap import overlap
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.data.inspect import Inspection

app = typer.Typer(help="Data: look at a folder before training on it.", no_args_is_help=True)

_SHOWN = 10  # names listed of each kind of trouble


app.command("overlap")(overlap)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Folder of a dataset: images and a table, or a sub-folder per class.")],
    source: Annotated[
        str | None,
        typer.Option("--source", help="Name of a published dataset (docs/datasets.md); default: recognised."),
    ] = None,
    table: Annotated[str | None, typer.Option("--table", help="The table, where the folder has several.")] = None,
    taxonomy: Annotated[str, typer.Option("--taxonomy", help="Name or file of the taxonomy.")] = "dermatology",
    label_map: Annotated[
        Path | None, typer.Option("--label-map", help="Write a label map here: known labels filled in, others as '?'.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Count cases, sizes, broken, missing and duplicate images, patients and labels; write a label-map skeleton.

    Examples: skinrl data inspect ../data/clinic --label-map clinic_labels.yaml; skinrl data inspect ../data/scin
    --source scin
    """
    from skinrl import files
    from skinrl.data.inspect import inspect_data
    from skinrl.taxonomy import load_taxonomy

    if label_map is not None and label_map.exists():
        raise InputError(f"--label-map {label_map}: exists already; name a new file")
    with console().status(f"reading {path}"):
        found = inspect_data(path, load_taxonomy(taxonomy), source=source, table=table)
    if json:
        print_json(found.to_dict())
    else:
        typer.echo("\n".join(_lines(found)))
    if label_map is not None:
        files.write_text(label_map, found.label_map)
        console().print(f"label map -> {label_map} ({len(found.unknown_labels)} labels to decide)")


def _lines(found: Inspection) -> list[str]:
    columns = ", ".join(f"{what} from {column}" for what, column in found.columns.items())
    lines = [
        f"{found.path}: read as source `{found.source}` ({columns})",
        f"rows      {found.rows}",
        f"images    {found.images} present, {len(found.missing)} missing, {len(found.broken)} broken, "
        f"{found.unused} not named by the table",
        f"patients  {found.patients or 'not known'}",
    ]
    if found.sizes:
        width, height = found.sizes["width"], found.sizes["height"]
        lines.append(
            f"pixels    {width['min']}x{height['min']} to {width['max']}x{height['max']}, "
            f"median {width['median']:.0f}x{height['median']:.0f}"
        )
    if found.layout:
        lines.append(f"layout    {found.layout}")
    lines += [f"warning   {warning}" for warning in found.warnings]
    if found.splits:
        lines.append("splits    " + ", ".join(f"{name} {count}" for name, count in found.splits.items()))
    lines.append("labels    " + ", ".join(f"{name} {count}" for name, count in found.labels.items()))
    troubles = {
        "missing": found.missing,
        "broken": [f"{path} ({why})" for path, why in found.broken],
        "identical": [" = ".join(same) for same in found.duplicates],
        "identical images with different labels": [" = ".join(same) for same in found.label_conflicts],
        "labels that name no node": found.unknown_labels,
    }
    for title, names in troubles.items():
        if names:
            rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"{title}: " + "; ".join(list(names)[:_SHOWN]) + rest)
    return lines
