"""Task metrics during training: a few fixed validation cases, answered by the policy as it is, every n steps.

Joins what knows no task (`skinrl.task_metrics`: when to measure, what follows) with what knows no trainer
(`skinrl.evaluation`: what the numbers are).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from skinrl.cli.build import records_checksum, stage_data
from skinrl.cli.common import Experiment
from skinrl.errors import DataError, RecipeError

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.evaluation.cases import Case
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.evaluation.predictions import Written
    from skinrl.recipe import TaskMetricsSection
    from skinrl.task_metrics import TaskMetrics
    from skinrl.taxonomy import Taxonomy

_RESAMPLES = 1  # of the intervals, which are not logged


@dataclass(frozen=True)
class Watch:
    """What is measured during a stage.

    Args:
        settings: the recipe's.
        larger_is_better: of the metric that is watched.
        cases, rows: the fixed cases and their prompts and images, in one order.
        max_tokens: longest answer, where the stage does not settle it.
        checksum: of the records behind the cases.
    """

    settings: TaskMetricsSection
    larger_is_better: bool
    cases: tuple[Case, ...]
    rows: Any
    taxonomy: Taxonomy
    max_tokens: int
    checksum: str

    def follow(self, trainer: Any) -> TaskMetrics:
        """Add the callback to a trainer, and return it."""
        from skinrl.engine.base import Request
        from skinrl.engine.trainer_engine import TrainerEngine
        from skinrl.task_metrics import Plan, TaskMetrics

        settings = self.settings
        names = list(dict.fromkeys([*settings.metrics, settings.metric]))
        engine = TrainerEngine(trainer)
        longest = getattr(trainer.args, "max_completion_length", None) or self.max_tokens

        def request(number: int) -> Request:
            row = self.rows[number]
            return Request(row["prompt"], tuple(row["images"]))

        def measure(step: int) -> Mapping[str, float | None]:
            replies = engine.greedy(len(self.cases), request, longest)
            return numbers(self.cases, replies, self.taxonomy, names) if trainer.is_world_process_zero() else {}

        plan = Plan(
            every=settings.every,
            metric=settings.metric,
            larger_is_better=self.larger_is_better,
            patience=settings.patience,
            min_delta=settings.min_delta,
            min_steps=settings.min_steps,
            keep_best=settings.best != "log",
        )
        callback = TaskMetrics(trainer, measure, plan)
        trainer.add_callback(callback)
        return callback


def watch_of(experiment: Experiment, stage: Literal["sft", "grpo"], data: LoadedData) -> Watch | None:
    """The cases that a stage is watched by; None where its recipe asks for none.

    They come from the entries with `use: validation`, or, where there are none, from the validation split of the
    stage's own data: never from a test split, and never from a patient who is trained on.

    Args:
        data: of the stage.

    Raises:
        DataError: no validation case with a label; a patient on both sides.
        RecipeError: a metric that is not measured here, or that no case counts for.
    """
    settings = experiment.recipe.task_metrics(stage)
    if settings is None:
        return None
    from skinrl.data.dataset import eval_rows
    from skinrl.data.mixture import take_fraction
    from skinrl.data.questions import Pool, ask, random_for
    from skinrl.evaluation.cases import case_of

    _refuse_two_bests(experiment, stage, settings)
    source = _validation_data(experiment, stage, data)
    labelled = [record for record in source.records if record.split == "validation" and record.nodes]
    if not labelled:
        raise DataError(
            f"{experiment.file}: {stage}.task_metrics needs labelled cases of the validation split, and the data of "
            f"{stage} has none; add a data entry with `use: validation`, or leave task_metrics out"
        )
    recipe, taxonomy = experiment.recipe, experiment.taxonomy
    records = take_fraction(labelled, min(1.0, settings.cases / len(labelled)), recipe.seed)
    rows = eval_rows(records, taxonomy, recipe.questions, seed=recipe.seed, pools=source.pools)
    cases = []
    for record in records:
        pool = source.pools.get(record.source, Pool((), ()))
        cases.append(case_of(record, ask(record, taxonomy, recipe.questions, random_for(record, recipe.seed), pool)))
    return Watch(
        settings=settings,
        larger_is_better=_direction(experiment, stage, settings, cases),
        cases=tuple(cases),
        rows=rows,
        taxonomy=taxonomy,
        max_tokens=recipe.evaluation.max_completion_length,
        checksum=records_checksum(records, source.pixels),
    )


def _validation_data(experiment: Experiment, stage: str, data: LoadedData) -> LoadedData:
    entries = experiment.recipe.data_for("validation")
    if not entries:
        return data
    from skinrl.data.splits import refuse_shared_groups

    if any(entry.split not in (None, "validation", "val", "valid", "dev") for entry in entries):
        raise RecipeError(
            f"{experiment.file}: a data entry with `use: validation` names another split; task metrics are measured "
            "on the validation split alone: leave `split` out, or set it to validation"
        )
    found = stage_data(experiment, "validation")
    chosen = [record for record in found.records if record.split == "validation"]
    learnt = [record for record in data.records if record.split == "train"]
    known = {(record.source, record.id) for record in learnt}
    twice = [record.id for record in chosen if (record.source, record.id) in known]
    if twice:
        raise DataError(f"{experiment.file}: {len(twice)} validation cases are training cases of {stage}: {twice[:5]}")
    refuse_shared_groups([*learnt, *chosen])
    return found


def numbers(
    cases: Sequence[Case], replies: Sequence[Written], taxonomy: Taxonomy, names: Sequence[str]
) -> dict[str, float | None]:
    """The metrics of those names, each with the number of cases behind it as `<name>_n`."""
    from skinrl.evaluation.evaluate import evaluate

    return _named(_values(evaluate(cases, taxonomy, greedy=replies)), names)


def _named(values: Mapping[str, tuple[float | None, int]], names: Sequence[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in names:
        found[name], found[f"{name}_n"] = values[name]
    return found


def _values(evaluation: Evaluation) -> dict[str, tuple[float | None, int]]:
    """Metric -> value and number of cases."""
    from skinrl.evaluation.bootstrap import intervals

    found = intervals(*evaluation.measures(), resamples=_RESAMPLES)
    return {name: (one.value, one.n) for name, one in found.items()}


def _direction(experiment: Experiment, stage: str, settings: TaskMetricsSection, cases: Sequence[Case]) -> bool:
    """Whether more of the metric is better: as `mode` says, else as the metric itself does.

    Raises:
        RecipeError: a name that no evaluation of these cases gives, before a model is loaded.
    """
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.evaluation.predictions import Prediction
    from skinrl.recipe_reading import nearest

    place = f"{experiment.file}: {stage}.task_metrics"
    behind: Counter[str] = Counter()  # cases behind each metric, were all answers right and were none
    lower: dict[str, bool] = {}
    for right in (True, False):
        nodes = [case.gold[0][0] if right else None for case in cases]
        outcome = "ok" if right else "invalid"
        greedy = [
            Prediction(case.id, case.gold, "", outcome, node, None, "")
            for case, node in zip(cases, nodes, strict=True)
        ]
        for measure in Evaluation(experiment.taxonomy, tuple(cases), tuple(greedy)).measures()[0]:
            behind[measure.name] += int(measure.counted.sum())
            lower[measure.name] = measure.lower_is_better
    unknown = [name for name in (*settings.metrics, settings.metric) if name not in lower]
    if unknown:
        raise RecipeError(f"{place}: no metric {unknown[0]!r} of greedy answers{nearest(unknown[0], sorted(lower))}")
    if not behind[settings.metric]:
        raise RecipeError(
            f"{place}: none of the {len(cases)} validation cases counts for {settings.metric}, so nothing can be "
            "chosen by it; take another metric, or more cases"
        )
    return not lower[settings.metric] if settings.mode is None else settings.mode == "max"


def _refuse_two_bests(experiment: Experiment, stage: str, settings: TaskMetricsSection) -> None:
    if settings.best == "hand_on" and getattr(experiment.recipe, stage).get("load_best_model_at_end"):
        raise RecipeError(
            f"{experiment.file}: {stage}.task_metrics.best: hand_on and {stage}.load_best_model_at_end both settle "
            "which model is handed on; keep one"
        )
