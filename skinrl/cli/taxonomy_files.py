"""``skinrl taxonomy diff|export|plot``: a taxonomy against another, in other forms, and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skinrl import files
from skinrl.cli.common import JsonOption, print_json
from skinrl.errors import InputError

Name = Annotated[str, typer.Argument(help="Name of a shipped taxonomy, or a YAML file.")]
_MANY = 12  # rows of one kind that a person is shown


def diff(
    old: Annotated[str, typer.Argument(help="The earlier taxonomy: a shipped name or a YAML file.")],
    new: Annotated[str, typer.Argument(help="The later one.")] = "dermatology",
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="A label map to compare; may be repeated. Default: all.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare two versions: which nodes and labels move, and which credits change.

    Example: skinrl taxonomy diff dermatology my_overlay.yaml --dataset scin
    """
    from skinrl.errors import TaxonomyError
    from skinrl.taxonomy import load_label_map, load_taxonomy
    from skinrl.taxonomy.diff import diff as compare
    from skinrl.taxonomy.label_map import shipped_label_maps

    before, after = load_taxonomy(old), load_taxonomy(new)
    maps = {}
    for name in dataset or shipped_label_maps():
        try:
            maps[name] = (load_label_map(name, before), load_label_map(name, after))
        except TaxonomyError as problem:
            if dataset:
                raise
            typer.echo(f"label map {name} does not fit both and is left out: {problem}", err=True)
    found = compare(before, after, maps)
    if json:
        print_json(found)
    else:
        _print_diff(found)


def _print_diff(found: dict[str, Any]) -> None:
    for kind in ("added", "removed"):
        _rows(f"nodes {kind}", list(found[kind]))
    for kind in ("parents", "behaviour", "names"):
        _rows(f"{kind} changed", [f"{key}: {_shown(was)} -> {_shown(now)}" for key, (was, now) in found[kind].items()])
    for dataset, moved in found["labels"].items():
        _rows(
            f"labels of {dataset} that move",
            [f"{raw}: {_way(was)} -> {_way(now)}" for raw, (was, now) in moved.items()],
        )
    for dataset, rows in found["credits"].items():
        shown = [f"{row['answer']} for {row['gold']}: {row['old']:.3f} -> {row['new']:.3f}" for row in rows]
        _rows(f"credits between diagnoses of {dataset} that change", shown)


def _rows(title: str, rows: list[str]) -> None:
    typer.echo(f"{title}: {len(rows)}")
    for row in rows[:_MANY]:
        typer.echo(f"  {row}")
    if len(rows) > _MANY:
        typer.echo(f"  ... and {len(rows) - _MANY} more (--json shows all)")


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "none")


def _way(place: Any) -> str:
    return " and ".join(" > ".join(row["path"]) + f" [{row['behaviour'] or 'mixed'}]" for row in place or ()) or "none"


def export(
    taxonomy: Name = "dermatology",
    form: Annotated[str, typer.Option("--format", help="graphml, obo or json.")] = "json",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
) -> None:
    """Write the taxonomy for other programs: GraphML (Gephi, networkx), OBO (Protégé), JSON.

    Example: skinrl taxonomy export --format obo -o dermatology.obo
    """
    from skinrl.taxonomy import load_taxonomy
    from skinrl.taxonomy.export import FORMATS
    from skinrl.taxonomy.export import export as write

    if form not in FORMATS:
        raise InputError(f"--format {form}: expected one of: {', '.join(FORMATS)}")
    text = write(load_taxonomy(taxonomy), form)
    if output is None:
        typer.echo(text, nl=False)
    else:
        files.write_text(output, text)
        typer.echo(f"{output}: {len(text):,} characters", err=True)


def plot(
    taxonomy: Name = "dermatology",
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML page to write.")] = Path("taxonomy.html"),
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Folder for tree.svg and differential.svg as well.")
    ] = None,
) -> None:
    """Draw the tree (a sunburst) and the graph of differential diagnoses as one page that needs no network.

    Example: skinrl taxonomy plot -o taxonomy.html --svg figures
    """
    from skinrl.pages.taxonomy import differential_svg, sunburst_svg, taxonomy_page
    from skinrl.taxonomy import load_taxonomy

    tree = load_taxonomy(taxonomy)
    files.write_text(output, taxonomy_page(tree))
    typer.echo(str(output))
    if svg is not None:
        svg.mkdir(parents=True, exist_ok=True)
        files.write_text(svg / "tree.svg", sunburst_svg(tree))
        files.write_text(svg / "differential.svg", differential_svg(tree))
        typer.echo(f"{svg / 'tree.svg'}\n{svg / 'differential.svg'}")
