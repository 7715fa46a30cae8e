"""``skinrl sft`` and ``skinrl grpo``: a recipe, a run directory, a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skinrl.cli.common import DataOption, Overrides, RecipeArgument, RunOption, RunsOption


def sft(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run: RunOption = "default",
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
    continued: Annotated[
        bool, typer.Option("--continued", help="The rival of GRPO: SFT goes on, for GRPO's seconds, on GRPO's images.")
    ] = False,
) -> None:
    """Teach the report by supervised fine-tuning on trajectories.

    Example: skinrl sft recipes/phantom.yaml sft.learning_rate=5e-4 --run try1
    """
    from skinrl.cli.common import open_experiment
    from skinrl.cli.stages import run_continued_sft, run_sft

    experiment = open_experiment(recipe, overrides, run=run, runs=runs, data=data)
    (run_continued_sft if continued else run_sft)(experiment)


def grpo(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run: RunOption = "default",
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Improve the policy by GRPO with rewards on the disease hierarchy.

    Example: skinrl grpo recipes/phantom.yaml grpo.max_steps=50 --run try1
    """
    from skinrl.cli.common import open_experiment
    from skinrl.cli.stages import run_grpo

    run_grpo(open_experiment(recipe, overrides, run=run, runs=runs, data=data))
