"""What every command shares: its arguments, its console, and an opened experiment."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skinrl.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from skinrl.recipe import Recipe
    from skinrl.taxonomy import Taxonomy

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe: one YAML file, one experiment.", metavar="RECIPE")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings to replace, such as grpo.learning_rate=1e-6.", metavar="[KEY=VALUE]..."),
]
RunOption = Annotated[str, typer.Option("--run", help="Name of the run; the same name resumes it.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder that replaces the path of every data entry.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder of all run directories.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def console() -> Console:
    """The console for people: standard error, so that standard output stays for results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, quiet=not is_main_process())


def is_main_process() -> bool:
    """Whether this process speaks for the whole launch."""
    return int(os.environ.get("RANK", "0")) == 0


def print_json(value: Any) -> None:
    """Write ``value`` as JSON to standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def base_and_adapter(checkpoint: str) -> tuple[str, str | None]:
    """A LoRA checkpoint is a base model and an adapter; any other is a model alone."""
    config = Path(checkpoint) / "adapter_config.json"
    if not config.is_file():
        return checkpoint, None
    from skinrl import files

    return files.read_json(config)["base_model_name_or_path"], checkpoint


def use_local_files_only() -> None:
    """Keep the hub out of a run whose model is a local folder: compute nodes have no internet."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


@dataclass(frozen=True)
class Experiment:
    """A recipe with its taxonomy and the place of its run."""

    recipe: Recipe
    file: Path
    run: str
    runs: Path
    taxonomy: Taxonomy

    @property
    def folder(self) -> Path:
        """``runs/<recipe>/<run>``: the parent of the stage folders."""
        return self.runs / self.recipe.name / self.run


def open_experiment(
    file: Path,
    overrides: list[str] | None,
    *,
    run: str = "default",
    runs: Path = Path("runs"),
    data: Path | None = None,
) -> Experiment:
    """Read the recipe and its taxonomy: all that can be wrong here is wrong before anything heavy loads."""
    from skinrl.recipe import load_recipe
    from skinrl.taxonomy import load_taxonomy

    if data is not None and not data.exists():
        raise InputError(f"--data {data}: no such folder")
    recipe = load_recipe(file, overrides or (), data_path=data)
    return Experiment(recipe, file, run, runs.resolve(), load_taxonomy(recipe.taxonomy))
