"""A recipe becomes objects: base checkpoint, records, trajectories, rewards. The composition root of every stage."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.cli.common import Experiment, console, is_main_process
from skinrl.errors import InputError, RunError
from skinrl.plugins import call_factory, check_reward_signature, resolve
from skinrl.runs import RunDirectory

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record
    from skinrl.textbook.trajectory import Trajectory

_BUILD_TIMEOUT = 3600  # seconds that other processes wait for the main one to build a base checkpoint


def run_directory(experiment: Experiment, stage: str) -> RunDirectory:
    """The folder of one stage of this experiment."""
    return RunDirectory(experiment.runs, experiment.recipe.name, experiment.run, stage)


def resolved(experiment: Experiment, *sections: str) -> dict[str, Any]:
    """The recipe as plain values; with ``sections``, those and what every stage depends on.

    A stage is only the same stage while what *it* depends on is unchanged: another ``evaluation`` must not make
    a finished training look like a different one.
    """
    values = experiment.recipe.model_dump(mode="json")
    shared = ("name", "seed", "model", "taxonomy", "data", "questions", "privacy")
    return {key: value for key, value in values.items() if not sections or key in (*shared, *sections)}


def reward_functions(experiment: Experiment) -> tuple[list[Callable[..., list[float | None]]], list[float]]:
    """The recipe's rewards and their weights; ``taxonomy`` is given to factories that name it.

    Raises:
        PluginError: an import path that leads nowhere, a wrong argument, a wrong signature.
    """
    rewards, weights = [], []
    for entry in experiment.recipe.rewards:
        name = entry.fn or entry.factory or ""
        reward = resolve(name, base=experiment.file.parent)
        if entry.factory is not None:
            reward = call_factory(reward, name, entry.kwargs, {"taxonomy": experiment.taxonomy})
        rewards.append(check_reward_signature(reward, name))
        weights.append(entry.weight)
    return rewards, weights


def stage_data(experiment: Experiment, stage: str) -> LoadedData:
    """The recipe's data for one stage (``sft``, ``grpo``, ``evaluation``), all splits, images checked.

    Raises:
        DataError: as the data room finds it; InputError where no entry is for this stage.
    """
    from skinrl.data.loading import load_records

    sections = experiment.recipe.data_for(stage)  # type: ignore[arg-type]
    if not sections:
        raise InputError(f"{experiment.file}: no data entry is for {stage}; add `use: [{stage}]` to one")
    loaded = load_records(
        sections,
        experiment.taxonomy,
        seed=experiment.recipe.seed,
        cache=experiment.runs / "cache" / "images.sqlite",
        base=experiment.file.parent,
    )
    for line in loaded.lines():
        console().print(f"  {line}")
    return loaded


def trajectories(experiment: Experiment, data: LoadedData, split: str) -> list[Trajectory]:
    """Template trajectories for the records of a split; a record without a node gives none."""
    from skinrl.data.questions import Pool, ask, random_for
    from skinrl.textbook.templates import make_trajectory

    recipe, taxonomy = experiment.recipe, experiment.taxonomy
    made = []
    for record in data.split(split):
        pool = data.pools.get(record.source, Pool((), ()))
        question = ask(record, taxonomy, recipe.questions, random_for(record, recipe.seed), pool)
        trajectory = make_trajectory(record, question, taxonomy)
        if trajectory is not None:
            made.append(trajectory)
    return made


def base_checkpoint(experiment: Experiment, texts: Callable[[], list[str]] = list) -> str:
    """Path or id of the model that everything starts from; a factory's model is built once per run.

    Args:
        texts: wording that a built tokenizer should know; called only where a factory wants it.
    """
    model = experiment.recipe.model
    if model.path is not None:
        return model.path
    assert model.factory is not None  # the recipe has exactly one of the two
    final = experiment.folder / "base"
    if is_main_process():
        if not (final / "complete.json").is_file():
            _build(experiment, model.factory, final, texts)
    else:
        _wait_for(final / "complete.json")
    return str(final)


def _build(experiment: Experiment, name: str, final: Path, texts: Callable[[], list[str]]) -> None:
    factory = resolve(name, base=experiment.file.parent)
    partial = final.with_name("base.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    start = time.monotonic()
    provided = {
        "output_dir": partial,
        "taxonomy": experiment.taxonomy,
        "seed": experiment.recipe.seed,
    }
    if "extra_texts" in inspect.signature(factory).parameters:
        provided["extra_texts"] = texts()
    call_factory(factory, name, experiment.recipe.model.kwargs, provided)
    facts = {"factory": name, "seconds": round(time.monotonic() - start, 1)}
    (partial / "complete.json").write_text(json.dumps(facts))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + _BUILD_TIMEOUT
    while not file.is_file():
        if time.monotonic() > deadline:
            raise RunError(f"{file}: the main process built no base checkpoint within {_BUILD_TIMEOUT} s")
        time.sleep(1.0)


def records_checksum(records: Sequence[Record]) -> str:
    """A checksum over what the records say: ids, labels, splits and image paths' names."""
    digest = hashlib.sha256()
    for record in sorted(records, key=lambda r: (r.source, r.id)):
        values = record.to_dict() | {"images": [Path(path).name for path in record.images]}
        digest.update(json.dumps(values, sort_keys=True, default=str).encode())
    return f"sha256:{digest.hexdigest()}"


def checkpoint_of(experiment: Experiment, stage: str) -> Path:
    """The model that ``stage`` of this run handed on.

    Raises:
        InputError: the stage has not been completed.
    """
    run = run_directory(experiment, stage)
    if not run.is_complete:
        raise InputError(
            f"{run.path}: the {stage} stage of run {experiment.run!r} is not complete; "
            f"run `skinrl {stage.split('_')[0]} {experiment.file}` first, or set grpo.init"
        )
    return run.final
