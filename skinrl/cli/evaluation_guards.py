"""What an evaluation refuses before it generates anything: cases that were trained on, changed data, other cases."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skinrl import files
from skinrl.cli.common import Experiment, console
from skinrl.errors import DataError, RunError

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record
    from skinrl.evaluation.question_sets import Questions

_PATIENCE = 600.0  # seconds that the other processes wait for the main one to begin


def refuse_seen(experiment: Experiment, data: LoadedData) -> frozenset[str]:
    """Refuse test cases of which a training stage learns: splits are dealt by stage, and stages may load other data.

    Where an entry names another split than the test split for evaluation, cases that a stage validates on are said
    aloud and taken: they were named on purpose.

    Returns:
        The sources that a stage learns from, as far as their data is here.

    Raises:
        DataError: a record or a patient stands in the test split here and in another split there; or a stage was
            trained on other data than is there now, so that nobody can say.
    """
    from skinrl.cli.build import stage_data

    recipe = experiment.recipe
    own = recipe.data_for("evaluation")
    on_purpose = any(entry.split not in (None, "test") for entry in own)
    sources: set[str] = set()
    stages: tuple[Literal["sft", "grpo"], ...] = ("sft", "grpo")
    for stage in stages:
        entries = recipe.data_for(stage)
        if not entries:
            continue
        if not all(entry.path and Path(entry.path).is_dir() for entry in entries):
            console().print(f"eval: the data of {stage} is not here, so nobody can say whether it holds a test case")
            sources.update(entry.source for entry in entries)
            continue
        same = entries == own
        loaded = data if same else stage_data(experiment, stage)
        refuse_changed(experiment, stage, loaded)
        sources.update(record.source for record in loaded.records if record.split == "train")
        if not same:  # one load: its splits were checked there
            _refuse_shared(experiment, stage, data.split("test"), loaded.records, on_purpose=on_purpose)
    entries = recipe.data_for("validation")
    if entries and all(entry.path and Path(entry.path).is_dir() for entry in entries):
        chosen_on = [one for one in stage_data(experiment, "validation").records if one.split == "validation"]
        _refuse_shared(experiment, "task_metrics", data.split("test"), chosen_on, on_purpose=on_purpose)
    return frozenset(sources)


def _refuse_shared(
    experiment: Experiment, stage: str, test: Sequence[Record], loaded: Sequence[Record], *, on_purpose: bool
) -> None:
    from skinrl.data.images import some
    from skinrl.data.splits import refuse_shared_groups

    def seen(of: Sequence[Record]) -> list[str]:
        known = {(record.source, _own_id(record)) for record in of}
        return [record.id for record in test if (record.source, _own_id(record)) in known]

    learnt = [record for record in loaded if record.split != "test"]
    if on_purpose:
        validated = seen([record for record in learnt if record.split == "validation"])
        if validated:
            console().print(
                f"[bold yellow]eval: {len(validated)} cases are validation cases of {stage}: what was chosen on them "
                "looks better on them[/]"
            )
        learnt = [record for record in learnt if record.split == "train"]
    found = seen(learnt)
    if found:
        kind = "validation" if stage == "task_metrics" else "training"
        raise DataError(
            f"{experiment.file}: {len(found)} test cases are {kind} cases of {stage}: {some(found)}. Let the "
            "entries of all stages name their splits, or load the same data"
        )
    refuse_shared_groups([*learnt, *test])


def refuse_unscorable(sets: Sequence[Questions]) -> None:
    """Refuse questions of which none could be scored, before anything is generated.

    Raises:
        DataError: no case of a set has a label with a node.
    """
    for questions in sets:
        if not any(node != questions.taxonomy.root for case in questions.cases for node, _ in case.gold):
            raise DataError(
                f"{questions.suite or 'the evaluation'}: none of {len(questions.cases)} cases has a label with a node "
                "of the taxonomy, so nothing could be scored; give a label map (data[].labels)"
            )


def refuse_changed(experiment: Experiment, stage: str, loaded: LoadedData) -> None:
    """Refuse an evaluation beside a model that was trained on other data than this: the splits were other ones."""
    from skinrl.cli.build import records_checksum, run_directory

    directory = run_directory(experiment, stage)
    if not directory.is_complete or not directory.environment_file.is_file():
        return
    trained_on = files.read_json(directory.environment_file)["checksums"]["data"].get("records")
    if trained_on != records_checksum(loaded.train, loaded.pixels):
        raise DataError(
            f"{directory.path}: was trained on other data than is there now, so that its training cases may stand "
            "among the test cases. Give the data back as it was, or train again (RUN=name)"
        )


def _own_id(record: Record) -> str:
    return record.id.removeprefix(f"{record.source}/")  # a stage that loads several sources may have put it in front


def earlier_evaluations(experiment: Experiment, evaluated: Sequence[str], questions: Questions) -> dict[str, Path]:
    """Models of this run that are not evaluated now but were before: name -> folder of their evaluation.

    A stage that was trained anew since is left out, and that is said.

    Raises:
        DataError: one was evaluated on other cases, so that a comparison of all could not be made.
    """
    from skinrl.cli.build import run_directory

    found: dict[str, Path] = {}
    for folder in sorted(experiment.folder.glob("eval_*")):
        name = folder.name.removeprefix("eval_")
        directory = run_directory(experiment, folder.name)
        if name in evaluated or not directory.is_complete:
            continue
        made_of = files.read_json(folder / "complete.json").get("stamp")
        if made_of is not None and made_of != run_directory(experiment, name).stamp:
            console().print(f"eval: {name} was trained anew since it was evaluated, and is left out (--model {name})")
            continue
        if not _same_cases(directory.final, questions):
            raise DataError(
                f"{folder}: holds an evaluation of other cases than these {len(questions.cases)}, and the comparison "
                "of a run is of one set of cases. Evaluate with the recipe as it was, remove that folder, or give "
                "this one a run of its own (RUN=name)"
            )
        found[name] = directory.final
    return found


def _same_cases(folder: Path, questions: Questions) -> bool:
    from skinrl.evaluation.cases import cases_checksum

    metrics = folder / "metrics.json"
    known = files.read_json(metrics).get("cases_checksum") if metrics.is_file() else None
    if known is not None:
        return known == cases_checksum(questions.cases)
    rows = files.read_jsonl(folder / "cases.jsonl") if (folder / "cases.jsonl").is_file() else []
    now = [(case.id, list(case.options)) for case in questions.cases]
    return [(row.get("id"), row.get("options")) for row in rows] == now


def settle_weights(folder: Path, checkpoint: str, *, main: bool, patience: float = _PATIENCE) -> None:
    """Remove saved completions that another model wrote, and their results: a stage may have been trained anew since.

    The main process removes them and notes the weights; the others wait for that note, so that nothing of theirs is
    removed.

    Raises:
        RunError: the main process did not begin.
    """
    weights = sorted(Path(checkpoint).glob("*.safetensors"))
    now: dict[str, Any] = {"checkpoint": checkpoint, "weights": [files.checksum(file) for file in weights]}
    note = folder / "checkpoint.json"
    if main:
        if note.is_file() and files.read_json(note) != now:
            for stale in folder.rglob("completions_*.jsonl"):
                stale.unlink()
            if (folder / "final").is_dir():
                shutil.rmtree(folder / "final")
        files.write_json(note, now)
        return
    deadline = time.monotonic() + patience
    while not note.is_file() or files.read_json(note) != now:
        if time.monotonic() > deadline:
            raise RunError(f"{note}: the main process did not begin within {patience:.0f} s")
        time.sleep(0.2)
