"""``skinrl eval``: every model of a run on the same held-out cases, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from skinrl.cli.common import (
    DataOption,
    Experiment,
    JsonOption,
    Overrides,
    RecipeArgument,
    RunOption,
    RunsOption,
    base_and_adapter,
    console,
    print_json,
)
from skinrl.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record
    from skinrl.engine.base import Generator
    from skinrl.evaluation.cases import Case
    from skinrl.evaluation.evaluate import Evaluation

MODELS = ("base", "sft", "sft_continued", "grpo")


def evaluate(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run: RunOption = "default",
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help=f"Models to evaluate, of {', '.join(MODELS)}; default: all that the run has."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare base, SFT and SFT + GRPO on held-out cases, with controls and intervals.

    Example: skinrl eval recipes/phantom.yaml --run try1 --model sft --model grpo
    """
    from skinrl.cli.common import open_experiment
    from skinrl.evaluation.tables import print_comparison

    experiment = open_experiment(recipe, overrides, run=run, runs=runs, data=data)
    comparison = run_evaluation(experiment, model)
    if json:
        print_json(comparison)
    else:
        print_comparison(comparison)


def run_evaluation(experiment: Experiment, wanted: list[str] | None = None) -> dict[str, Any]:
    """Evaluate the models, write their files and ``comparison.json``; returns what the latter holds."""
    from skinrl.cli.build import run_directory, stage_data
    from skinrl.evaluation.compare import compare, write_comparison

    models = _checkpoints(experiment, wanted)
    data = stage_data(experiment, "evaluation")
    _refuse_seen(experiment, data)
    evaluations, seconds = _evaluate_all(experiment, data, models)
    for stage in ("sft", "grpo", "sft_continued"):
        directory = run_directory(experiment, stage)
        if directory.is_complete:
            seconds[stage] = directory.seconds
    comparison = compare(evaluations, seconds=seconds, resamples=experiment.recipe.evaluation.bootstrap)
    write_comparison(experiment.folder, comparison)
    console().print(f"eval: -> {experiment.folder / 'comparison.json'}")
    return comparison


def _checkpoints(experiment: Experiment, wanted: list[str] | None) -> dict[str, str]:
    """Model name -> checkpoint, for what the run has and the user wants."""
    from skinrl.cli.build import base_checkpoint, inputs_of, run_directory

    for name in wanted or ():
        if name not in MODELS:
            raise InputError(f"--model {name}: expected one of {', '.join(MODELS)}")
    found: dict[str, str] = {}
    for name in wanted or MODELS:
        if name == "base":
            found[name] = base_checkpoint(experiment)
        elif run_directory(experiment, name).is_complete:
            run_directory(experiment, name).settle_inputs(inputs_of(experiment, name))
            found[name] = str(run_directory(experiment, name).final)
        elif wanted:
            raise InputError(f"--model {name}: stage {name} of run {experiment.run!r} is not complete")
    return found


class _Engine:
    """One engine for all models: opened at first need, then given each model's weights."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._open: Generator | None = None
        self._holds = ""

    def on(self, checkpoint: str) -> Generator:
        base, adapter = base_and_adapter(checkpoint)
        if self._open is None:
            self._open = self._start(base, adapter)
        elif self._holds != checkpoint:
            self._open.load(base, adapter=adapter)
        self._holds = checkpoint
        return self._open

    def _start(self, base: str, adapter: str | None) -> Generator:
        from skinrl.engine.base import open_generator

        recipe = self._experiment.recipe
        settings = recipe.evaluation
        return open_generator(
            base,
            backend=settings.backend,
            dtype=recipe.model.dtype,
            min_pixels=recipe.model.image.min_pixels,
            max_pixels=recipe.model.image.max_pixels,
            max_model_len=settings.max_model_length,
            adapter=adapter,
            max_batch=settings.batch_size,
        )

    def close(self) -> None:
        if self._open is not None:
            self._open.close()


def _evaluate_all(
    experiment: Experiment, data: LoadedData, models: dict[str, str]
) -> tuple[dict[str, Evaluation], dict[str, float]]:
    from skinrl.cli.build import records_checksum, resolved, run_directory

    cases, rows = _cases(experiment, data)
    checksum = {"records": records_checksum(data.split("test"), data.pixels)}
    engine = _Engine(experiment)
    evaluations, seconds = {}, {}
    try:
        for name, checkpoint in models.items():
            directory = run_directory(experiment, f"eval_{name}")
            directory.prepare(resolved(experiment, "evaluation"))
            _forget_other_weights(directory.path, checkpoint)
            directory.write_environment(taxonomy=experiment.taxonomy.checksum, data=checksum)
            with directory.session():
                evaluations[name] = _evaluate_one(experiment, name, checkpoint, cases, rows, engine, directory.path)
            evaluations[name].write(directory.final, resamples=experiment.recipe.evaluation.bootstrap)
            directory.mark_complete(checkpoint=checkpoint)
            seconds[f"eval_{name}"] = directory.seconds
    finally:
        engine.close()
    return evaluations, seconds


def _forget_other_weights(folder: Path, checkpoint: str) -> None:
    """Remove saved completions that another model wrote: a stage may have been trained anew since."""
    from skinrl import files

    weights = sorted(Path(checkpoint).glob("*.safetensors"))
    now = {"checkpoint": checkpoint, "weights": [files.checksum(file) for file in weights]}
    note = folder / "checkpoint.json"
    if note.is_file() and files.read_json(note) != now:
        for stale in folder.glob("completions_*.jsonl"):
            stale.unlink()
    files.write_json(note, now)


def _cases(experiment: Experiment, data: LoadedData) -> tuple[list[Case], Any]:
    """The cases of the test split and their rows (prompts and images), in the same order."""
    limit = experiment.recipe.evaluation.limit
    return _cases_of(experiment, data, _limited(data.split("test"), limit, experiment.recipe.seed))


def _cases_of(experiment: Experiment, data: LoadedData, records: Sequence[Record]) -> tuple[list[Case], Any]:
    from skinrl.data.dataset import eval_rows
    from skinrl.data.questions import Pool, ask, random_for
    from skinrl.evaluation.cases import case_of

    recipe, taxonomy = experiment.recipe, experiment.taxonomy
    rows = eval_rows(records, taxonomy, recipe.questions, seed=recipe.seed, pools=data.pools)
    cases = []
    for record in records:
        pool = data.pools.get(record.source, Pool((), ()))
        cases.append(case_of(record, ask(record, taxonomy, recipe.questions, random_for(record, recipe.seed), pool)))
    return cases, rows


def _limited(records: Sequence[Record], limit: int | None, seed: int) -> list[Record]:
    """At most ``limit`` records, drawn by the seed (the first ones may all be of one class); their order is kept."""
    from skinrl.data.mixture import take_fraction

    return list(records) if limit is None else take_fraction(records, min(1.0, limit / len(records)), seed)


def _refuse_seen(experiment: Experiment, data: LoadedData) -> None:
    """Refuse test cases of which a training stage learns: splits are dealt by stage, and stages may load other data.

    Raises:
        DataError: a record or a patient stands in the test split here and in another split there; or a stage was
            trained on other data than is there now, so that nobody can say.
    """
    from skinrl.cli.build import stage_data
    from skinrl.data.images import some
    from skinrl.data.splits import refuse_shared_groups

    recipe = experiment.recipe
    stages: tuple[Literal["sft", "grpo"], ...] = ("sft", "grpo")
    for stage in stages:
        entries = recipe.data_for(stage)
        if not entries:
            continue
        if not all(entry.path and Path(entry.path).is_dir() for entry in entries):
            console().print(f"eval: the data of {stage} is not here, so nobody can say whether it holds a test case")
            continue
        same = entries == recipe.data_for("evaluation")
        loaded = data if same else stage_data(experiment, stage)
        _refuse_changed(experiment, stage, loaded)
        if same:
            continue  # one load: its splits were checked there
        learnt = [record for record in loaded.records if record.split != "test"]
        known = {(record.source, _own_id(record)) for record in learnt}
        seen = [record.id for record in data.split("test") if (record.source, _own_id(record)) in known]
        if seen:
            raise DataError(
                f"{experiment.file}: {len(seen)} test cases are training cases of {stage}: {some(seen)}. Let the "
                "entries of all stages name their splits, or load the same data"
            )
        refuse_shared_groups([*learnt, *data.split("test")])


def _refuse_changed(experiment: Experiment, stage: str, loaded: LoadedData) -> None:
    """Refuse an evaluation beside a model that was trained on other data than this: the splits were other ones."""
    from skinrl import files
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


def _evaluate_one(
    experiment: Experiment, name: str, checkpoint: str, cases: list[Case], rows: Any, engine: _Engine, folder: Path
) -> Evaluation:
    from skinrl.cli.completions import write_completions
    from skinrl.engine.base import Request, Sampling
    from skinrl.evaluation.evaluate import evaluate as evaluate_completions

    settings = experiment.recipe.evaluation
    ids = [case.id for case in cases]

    def request(number: int, images: bool = True) -> Request:
        row = rows[number]
        return Request(row["prompt"], tuple(row["images"]) if images else ())

    def complete(condition: str, sampling: Sampling, images: bool = True) -> list[list[Any]]:
        return write_completions(
            folder / f"completions_{condition}.jsonl",
            f"eval {name}, {condition}",
            ids,
            lambda number: request(number, images),
            lambda: engine.on(checkpoint),
            sampling,
            chunk=max(1, settings.batch_size // sampling.n),
        )

    length = settings.max_completion_length
    greedy = complete("greedy", Sampling(length, temperature=0.0))
    sampled: list[list[Any]] = []
    if settings.samples:
        seed = experiment.recipe.seed
        sampled = complete("sampled", Sampling(length, temperature=1.0, n=settings.samples, seed=seed))
    controls: dict[str, list[Any]] = {
        control: [one for (one,) in complete(control, Sampling(length, temperature=0.0), images=False)]
        for control in settings.controls
    }
    return evaluate_completions(
        cases, experiment.taxonomy, greedy=[one for (one,) in greedy], sampled=sampled, controls=controls
    )
