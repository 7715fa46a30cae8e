"""``skinrl doctor``: what would fail or silently corrupt a run, before it costs GPU hours."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from skinrl.cli.common import DataOption, JsonOption, Overrides, RunsOption, console, print_json

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]", "skipped": "[dim]skipped[/]"}


def doctor(
    recipe: Annotated[
        Path | None, typer.Argument(help="The recipe to examine; without one, the machine alone.", metavar="[RECIPE]")
    ] = None,
    overrides: Overrides = None,
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes that the launch will start.")] = 1,
    json: JsonOption = False,
) -> None:
    """Find what would fail or silently corrupt a run, before it costs GPU hours.

    Example: skinrl doctor recipes/phantom.yaml
    """
    from rich.console import Console
    from rich.table import Table

    from skinrl.doctor.examine import examine
    from skinrl.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or (), data_path=data) if recipe is not None else None
    with console().status("looking"):
        findings = examine(loaded, recipe, processes=processes, runs=runs)
    counts = Counter(finding.status for finding in findings)
    if json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("", "check", "found"):
            table.add_column(title, overflow="fold")
        for finding in findings:
            advice = "" if finding.status in ("ok", "skipped") else f"\n[dim]{finding.why}; mend: {finding.mend}[/]"
            table.add_row(_MARKS[finding.status], finding.check, finding.what + advice)
        Console(highlight=False).print(table)
        typer.echo(", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts["fail"]:
        raise typer.Exit(2)
