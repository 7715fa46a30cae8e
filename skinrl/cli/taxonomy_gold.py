"""``skinrl taxonomy gold``: how well names and free text are read, on strings that people wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skinrl.cli.common import JsonOption, print_json
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.taxonomy import Taxonomy
    from skinrl.taxonomy.gold import Counts, Row


def gold(
    half: Annotated[
        str, typer.Option("--half", help="dev, test, both of these, dev2 or dev3 (more sets for tuning).")
    ] = "both",
    data: Annotated[Path, typer.Option("--data", help="Folder of the text that the rows point into.")] = Path(
        "../shared/data"
    ),
    folder: Annotated[
        Path, typer.Option("--gold", help="Folder of resolve_dev.tsv, _dev2.tsv, _dev3.tsv and _test.tsv.")
    ] = Path("tests/gold"),
    taxonomy: Annotated[
        str, typer.Option("--taxonomy", help="Name of a shipped taxonomy, or a YAML file.")
    ] = "dermatology",
    misses: Annotated[bool, typer.Option("--misses", help="List what was read wrongly, of dev, dev2, dev3.")] = False,
    json: JsonOption = False,
) -> None:
    """Precision and recall of `resolve` and of free text on the gold set, by kind of string, with 95 % intervals.

    Example: skinrl taxonomy gold --half test
    """
    from skinrl.taxonomy import load_taxonomy
    from skinrl.taxonomy.gold import HALVES, TUNING, measure, read_gold, read_texts

    if half not in (*HALVES, *TUNING, "both"):
        raise InputError(f"--half {half}: expected dev, dev2, dev3, test or both")
    if misses and half not in TUNING:
        raise InputError(
            "--misses shows strings, and those of the test half must stay unseen: add --half dev, dev2 or dev3"
        )
    tree = load_taxonomy(taxonomy)
    rows = [
        row
        for name in (HALVES if half == "both" else (half,))
        for row in read_gold(folder / f"resolve_{name}.tsv", tree)
    ]
    texts = read_texts(rows, data)
    counts = measure(tree, rows, texts)
    if json:
        print_json({"half": half, "counts": {group: found.as_dict() for group, found in counts.items()}})
    else:
        _print_table(counts)
    if misses:
        _print_misses(tree, rows, texts)


def _print_table(counts: Mapping[str, Counts]) -> None:
    from skinrl.taxonomy.gold import wilson

    typer.echo(f"{'':<15}strings  gold  returned  correct  coarser  finer  precision             recall")
    for group, found in counts.items():
        precision = _share(found.precision, wilson(found.correct, found.returned))
        recall = _share(found.recall, wilson(found.correct, found.gold))
        typer.echo(
            f"{group:<15}{found.strings:>7}{found.gold:>6}{found.returned:>10}{found.correct:>9}"
            f"{found.coarser:>9}{found.finer:>7}  {precision:<20}  {recall}"
        )


def _share(share: float | None, interval: tuple[float, float] | None) -> str:
    if share is None or interval is None:
        return "-"
    return f"{share:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def _print_misses(tree: Taxonomy, rows: list[Row], texts: list[str]) -> None:
    from skinrl.taxonomy.gold import answer, most_specific

    for row, text in zip(rows, texts, strict=True):
        wanted, found = most_specific(row.gold, tree), most_specific(answer(tree, row, text), tree)
        if wanted != found:
            typer.echo(
                f"{row.where} [{row.kind}] {text!r}: returned {', '.join(sorted(found)) or 'nothing'}, "
                f"gold {', '.join(sorted(wanted)) or 'nothing'}"
            )
