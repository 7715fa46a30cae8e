"""A recipe becomes objects: base checkpoint, records, trajectories, rewards. The composition root of every stage."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.cli.common import Experiment, console, is_main_process
from skinrl.errors import InputError, RecipeError, RunError
from skinrl.plugins import call_factory, check_reward_signature, resolve
from skinrl.runs import RunDirectory

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record
    from skinrl.textbook.trajectory import Trajectory

# Fields of a record that runs trained before them do not know; left out of checksums while they are empty
_LATER_FIELDS = ("further_tones", "options", "option_nodes")
_TOLD: set[tuple[str, ...]] = set()  # what this process has said of loaded data
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
    if not sections:
        return values
    own = [entry for entry in values["data"] if set(entry.pop("use")) & set(sections)]
    return {key: value for key, value in (values | {"data": own}).items() if key in (*shared, *sections)}


def reward_functions(
    experiment: Experiment, gold_counts: Mapping[str, float] | None = None
) -> tuple[list[Callable[..., list[float | None]]], list[float]]:
    """The recipe's rewards and their weights; ``taxonomy`` is given to factories that name it.

    Args:
        gold_counts: node to its weight in the training data, given to factories that name it, unless the recipe does.

    Raises:
        PluginError: an import path that leads nowhere, a wrong argument, a wrong signature.
    """
    rewards, weights = [], []
    for entry in experiment.recipe.rewards:
        name = entry.fn or entry.factory or ""
        reward = resolve(name, base=experiment.file.parent)
        if entry.factory is not None:
            provided: dict[str, Any] = {"taxonomy": experiment.taxonomy}
            if gold_counts is not None and "gold_counts" not in entry.kwargs:
                provided["gold_counts"] = gold_counts
            reward = call_factory(reward, name, entry.kwargs, provided)
        rewards.append(check_reward_signature(reward, name))
        weights.append(entry.weight)
    return rewards, weights


def stage_data(experiment: Experiment, stage: str) -> LoadedData:
    """The recipe's data for one stage (``sft``, ``grpo``, ``evaluation``), all splits, images checked.

    Raises:
        DataError: as the data room finds it; InputError where no entry is for this stage.
    """
    from skinrl.cli.evaluation_data import evaluation_entries
    from skinrl.data.loading import load_records

    sections = experiment.recipe.data_for(stage)  # type: ignore[arg-type]
    if not sections:
        raise InputError(f"{experiment.file}: no data entry is for {stage}; add `use: [{stage}]` to one")
    if stage == "evaluation":
        sections = evaluation_entries(sections)
    with _one_at_a_time(experiment.runs / "cache" / "loading.lock"):
        loaded = load_records(
            sections,
            experiment.taxonomy,
            seed=experiment.recipe.seed,
            cache=experiment.runs / "cache" / "images.sqlite",
            base=experiment.file.parent,
        )
    told = (str(experiment.file), *loaded.lines())
    if told not in _TOLD:  # an evaluation loads the data of training several times
        _TOLD.add(told)
        for line in loaded.lines():
            console().print(f"  {line}")
    return loaded


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process of a launch load data at a time: the first draws or checks the images, the others find it done.

    Where the file system knows no locks, all go at once.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as problem:
            console().print(f"  {lock}: cannot be locked ({problem}); processes load the data side by side")
        yield  # closing the file gives the lock back


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


def base_checkpoint(experiment: Experiment, texts: Callable[[], list[str]] | None = None) -> str:
    """Path or id of the model that everything starts from; a factory's model is built once per run.

    Args:
        texts: wording that a built tokenizer should know, called only where a factory wants it; default: the
            reports that SFT learns, so that it is the same model whichever stage needs it first.

    Raises:
        RecipeError: the run has a model that was built with other settings.
    """
    model = experiment.recipe.model
    if model.path is not None:
        return model.path
    assert model.factory is not None  # the recipe has exactly one of the two
    final = experiment.folder / "base"
    if not is_main_process():
        _wait_for(final / "complete.json")
    elif not (final / "complete.json").is_file():
        _build(experiment, model.factory, final, texts or (lambda: _sft_texts(experiment)))
    built, asked = files.read_json(final / "complete.json"), _origin(experiment)
    changed = {key: built[key] for key in asked if key in built and built[key] != asked[key]}
    if changed:
        now = {key: asked[key] for key in changed}
        raise RecipeError(
            f"{final} was built with {changed}, asked for now: {now}. Give this one a run of its own (RUN=name), or "
            "remove the folder of the run"
        )
    return str(final)


def _origin(experiment: Experiment) -> dict[str, Any]:
    """What a built model depends on."""
    model = experiment.recipe.model
    origin = {"factory": model.factory, "kwargs": model.kwargs, "seed": experiment.recipe.seed}
    return files.plain(origin | {"taxonomy": experiment.taxonomy.checksum})


def _sft_texts(experiment: Experiment) -> list[str]:
    if not experiment.recipe.data_for("sft"):
        return []
    data = stage_data(experiment, "sft")
    return [item.report.render() for item in trajectories(experiment, data, "train")]


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
    finished = datetime.now(UTC).isoformat(timespec="milliseconds")
    facts = {**_origin(experiment), "seconds": round(time.monotonic() - start, 1), "finished": finished}
    (partial / "complete.json").write_text(json.dumps(facts))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def inputs_of(experiment: Experiment, stage: str) -> dict[str, str]:
    """The earlier stages that a training stage builds on, as far as they are done -> when each was."""
    names = {"sft": ["base"], "grpo": [experiment.recipe.grpo_init]}
    names["sft_continued"] = [*names["grpo"], "grpo"]
    found = {name: _stamp(experiment, name) for name in names[stage] if name in ("base", "sft", "grpo")}
    return {name: stamp for name, stamp in found.items() if stamp is not None}


def _stamp(experiment: Experiment, name: str) -> str | None:
    if name != "base":
        return run_directory(experiment, name).stamp
    facts = experiment.folder / "base" / "complete.json"
    return str(files.read_json(facts).get("finished")) if facts.is_file() else None


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + _BUILD_TIMEOUT
    while not file.is_file():
        if time.monotonic() > deadline:
            raise RunError(f"{file}: the main process built no base checkpoint within {_BUILD_TIMEOUT} s")
        time.sleep(1.0)


def records_checksum(records: Sequence[Record], pixels: Mapping[str, str]) -> str:
    """A checksum over what the records say and show: ids, labels, splits, names and pixels of their images.

    Args:
        pixels: path -> checksum of an image's pixels (`LoadedData.pixels`).
    """
    digest = hashlib.sha256()
    for record in sorted(records, key=lambda r: (r.source, r.id)):
        images = [[Path(path).name, pixels.get(path, "")] for path in record.images]
        said = record.to_dict() | {"images": images}
        for name in _LATER_FIELDS:
            if not said[name]:
                del said[name]
        digest.update(json.dumps(said, sort_keys=True, default=str).encode())
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
