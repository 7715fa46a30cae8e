"""``skinrl demo``: the whole method, stage by stage, each in a process of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import typer

from skinrl.cli.common import DataOption, Overrides, RecipeArgument, RunOption, RunsOption, console
from skinrl.errors import RunError


def demo(
    recipe: RecipeArgument = Path("recipes/phantom.yaml"),
    overrides: Overrides = None,
    run: RunOption = "default",
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Run SFT, GRPO, GRPO's rival and the evaluation, and print what each took.

    Example: skinrl demo recipes/phantom.yaml --run first
    """
    from skinrl.cli.common import open_experiment

    experiment = open_experiment(recipe, overrides, run=run, runs=runs, data=data)
    shared = [str(recipe), *(overrides or ()), "--run", run, "--runs", str(runs)]
    shared += ["--data", str(data)] if data is not None else []
    stages = [("sft", ["sft", *shared]), ("grpo", ["grpo", *shared])]
    if experiment.recipe.evaluation.continued_sft:
        stages.append(("rival: SFT continued", ["sft", *shared, "--continued"]))
    stages.append(("evaluation", ["eval", *shared]))
    out, begun = console(), time.monotonic()
    for number, (title, arguments) in enumerate(stages, start=1):
        out.rule(f"{number} of {len(stages)}: {title}")
        start = time.monotonic()
        finished = subprocess.run([sys.executable, "-m", "skinrl.cli", *arguments], env=dict(os.environ), check=False)
        if finished.returncode == 2:
            raise typer.Exit(2)  # the stage has said what is wrong
        if finished.returncode:
            raise RunError(f"stage {title!r} ended with exit code {finished.returncode}; the same command resumes")
        out.print(f"{title}: {time.monotonic() - start:.0f} s")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    out.rule("done")
    out.print(f"{time.monotonic() - begun:.0f} s in all; the largest process took {peak:.1f} GiB")
