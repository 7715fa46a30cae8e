"""``skinrl taxonomy``: check a file, show the tree, resolve names."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skinrl.cli import taxonomy_coverage, taxonomy_files, taxonomy_gold
from skinrl.cli.common import JsonOption, print_json
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.taxonomy import Taxonomy

app = typer.Typer(help="Taxonomy: check, show, resolve, compare, export, draw.", no_args_is_help=True)
for command in (
    taxonomy_coverage.coverage,
    taxonomy_files.diff,
    taxonomy_files.export,
    taxonomy_files.plot,
    taxonomy_gold.gold,
):
    app.command()(command)

Name = Annotated[str, typer.Argument(help="Name of a shipped taxonomy, or a YAML file.")]
From = Annotated[str, typer.Option("--taxonomy", help="Name of a shipped taxonomy, or a YAML file.")]


@app.command()
def check(taxonomy: Name = "dermatology", json: JsonOption = False) -> None:
    """Load a taxonomy, count what it holds, and name what a person should look at.

    Example: skinrl taxonomy check my_overlay.yaml
    """
    from skinrl.taxonomy.check import check as check_taxonomy
    from skinrl.taxonomy.loader import load_with_places

    found = check_taxonomy(*load_with_places(taxonomy))
    if json:
        print_json(found)
    else:
        faults = found.pop("faults")
        for key, value in found.items():
            typer.echo(f"{key.replace('_', ' '):<28}{value}")
        typer.echo(f"{'faults':<28}{len(faults)}")
        for fault in faults:
            typer.echo(f"  {fault}")
        found["faults"] = faults
    if found["faults"]:
        raise typer.Exit(2)


@app.command()
def show(
    node: Annotated[str | None, typer.Argument(help="A node or its name; default: the whole tree.")] = None,
    depth: Annotated[int | None, typer.Option("--depth", min=0, help="Levels below the node; default: all.")] = None,
    taxonomy: From = "dermatology",
    json: JsonOption = False,
) -> None:
    """Print the tree below a node; for a leaf, everything that is known of it with its sources.

    Example: skinrl taxonomy show melanoma
    """
    from skinrl.taxonomy import load_taxonomy
    from skinrl.taxonomy.check import describe
    from skinrl.taxonomy.check import show as show_tree

    tree = load_taxonomy(taxonomy)
    start = _node(tree, node) if node is not None else tree.root
    if json:
        print_json(_facts(tree, start))
        return
    if node is not None:
        typer.echo(describe(tree, start))
    if tree.children(start):
        typer.echo(show_tree(tree, start, depth))


@app.command()
def resolve(
    names: Annotated[list[str] | None, typer.Argument(help="Names as people write them.", metavar="NAME...")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A file with one name a line.")] = None,
    mentions: Annotated[
        bool,
        typer.Option("--mentions", help="Free text: every disease that it says or suspects, none that it denies."),
    ] = False,
    taxonomy: From = "dermatology",
    json: JsonOption = False,
) -> None:
    """Say which node a name means, or that it means none, with the nearest ones.

    Example: skinrl taxonomy resolve "Bowen's disease" "sebborheic keratosis"
    """
    from skinrl.taxonomy import load_taxonomy

    texts = [*(names or ()), *(_lines(file) if file is not None else ())]
    if not texts:
        raise InputError("nothing to resolve: give names, or --file with one name a line")
    tree = load_taxonomy(taxonomy)
    for row in _named(tree, texts) if mentions else _resolved(tree, texts):
        if json:
            typer.echo(json_module.dumps(row, ensure_ascii=False))
        elif mentions:
            denied = f"; denied: {', '.join(row['denied'])}" if row["denied"] else ""
            typer.echo(f"{row['text']} -> {', '.join(row['nodes']) or 'no disease'}{denied}")
        elif row["node"] is not None:
            typer.echo(f"{row['text']} -> {row['node']} (by {row['how']})")
        else:
            near = ", ".join(found.node for found in tree.nearest(row["text"])) or "nothing"
            typer.echo(f"{row['text']} -> no node; nearest: {near}")


def _resolved(tree: Taxonomy, texts: list[str]) -> Iterator[dict[str, Any]]:
    for text, match in zip(texts, tree.resolve_many(texts), strict=True):
        row: dict[str, Any] = {"text": text, "node": None, "how": None, "score": 0.0}
        if match is not None:
            row |= {"node": match.node, "how": match.how, "score": round(match.score, 4)}
        yield row


def _named(tree: Taxonomy, texts: list[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        nodes = tree.asserted(text)
        denied = [node for node in tree.mentions(text) if node not in nodes]
        yield {"text": text, "nodes": list(nodes), "denied": denied}


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"--file {file}: cannot be read ({problem}); expected text in UTF-8") from problem


def _node(tree: Taxonomy, text: str) -> str:
    if text in tree:
        return text
    match = tree.resolve(text)
    if match is None:
        near = ", ".join(found.node for found in tree.nearest(text)) or "nothing"
        raise InputError(f"{text!r} names no node of {tree.name}; nearest: {near}")
    if not match.listed:  # a node of an overlay that was left out of the call would else look like another one
        typer.echo(f"{text!r} is no name in {tree.name}; read as {match.node} (by {match.how})", err=True)
    return match.node


def _facts(tree: Taxonomy, start: str) -> dict[str, Any]:
    node = tree.node(start)
    return {
        "node": start,
        "name": node.name,
        "path": list(tree.path(start)),
        "parents": list(node.parents),
        "children": list(tree.children(start)),
        "behaviour": tree.behaviour(start),
        "synonyms": list(node.synonyms),
        "codes": dict(node.codes),
        "morphology": {key: list(values) for key, values in node.morphology.items()},
        "differential": [{"node": edge.node, "why": edge.why, "source": edge.source} for edge in node.differential],
    }
