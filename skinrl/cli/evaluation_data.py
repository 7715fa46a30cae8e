"""The cases of an evaluation: the recipe's own questions, and those of its suites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from skinrl.cli.common import Experiment, console
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.data.entries import DataSpec
    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record
    from skinrl.evaluation.question_sets import Questions
    from skinrl.evaluation.suites import Suite
    from skinrl.recipe import DataSection, SuiteSection

EVERYTHING = "all"  # a data entry's split: the whole dataset is the test set


def evaluation_entries(entries: Sequence[DataSection]) -> list[Any]:
    """Entries for evaluation, those that name another split than the test split turned into test sets, and said."""
    return [_entry(entry) for entry in entries]


def _entry(entry: DataSection) -> DataSpec | DataSection:
    from skinrl.data.entries import as_spec
    from skinrl.data.splits import is_split_name, split_name

    if entry.split is None or (is_split_name(entry.split) and split_name(entry.split) == "test"):
        return entry
    whole = entry.split == EVERYTHING
    which = "the whole dataset" if whole else f"its {entry.split} split"
    console().print(
        f"[bold yellow]eval: {entry.source}: {which} is evaluated, not its test split. Whatever was trained, tuned or "
        "chosen on these cases looks better on them than it is[/]"
    )
    return replace(as_spec(entry.model_copy(update={"split": None} if whole else {})), as_test=True)


def main_questions(experiment: Experiment, data: LoadedData) -> tuple[Questions, list[Record]]:
    """The recipe's own questions about the test split, and its records in the same order."""
    records = limited(data.split("test"), experiment.recipe.evaluation.limit, experiment.recipe.seed)
    return questions_about(experiment, data, records), records


def questions_about(experiment: Experiment, data: LoadedData, records: Sequence[Record]) -> Questions:
    """The recipe's own questions about these records."""
    from skinrl.evaluation.question_sets import own_questions

    recipe = experiment.recipe
    return own_questions(records, experiment.taxonomy, recipe.questions, seed=recipe.seed, pools=data.pools)


def chosen_suites(experiment: Experiment) -> list[tuple[SuiteSection, Suite]]:
    """The suites that the recipe names, known before any data is loaded.

    Raises:
        InputError: an unknown suite, or one named twice; PluginError: an import path that leads nowhere.
    """
    from skinrl.evaluation.suites import find_suite

    entries = experiment.recipe.evaluation.suites
    chosen = [(entry, find_suite(entry.name, experiment.file.parent)) for entry in entries]
    names = [suite.name for _, suite in chosen]
    if len(set(names)) < len(names):
        raise InputError(f"{experiment.file}: evaluation.suites names a suite twice: {', '.join(names)}")
    return chosen


def suite_sets(
    experiment: Experiment, data: LoadedData, learnt: frozenset[str], chosen: list[tuple[SuiteSection, Suite]]
) -> list[tuple[Questions, int]]:
    """Questions and samples a case of every suite of the recipe.

    Args:
        learnt: sources that a training stage learns from.
        chosen: from `chosen_suites`.

    Raises:
        DataError: a suite without cases.
    """
    from skinrl.evaluation.question_sets import suite_questions
    from skinrl.evaluation.suites import Asking, cases_for, neighbours_of

    recipe = experiment.recipe
    if not chosen:
        return []
    taxonomy = experiment.taxonomy
    asking = Asking(taxonomy, recipe.questions, recipe.seed, data.pools, neighbours_of(taxonomy))
    made = []
    for entry, suite in chosen:
        records = cases_for(suite, data.split("test"), trained=learnt, sources=entry.sources)
        limit = entry.limit or recipe.evaluation.limit
        questions = suite_questions(suite, limited(records, limit, recipe.seed), asking)
        told = "; ".join(f"{reason}: {count}" for reason, count in (questions.left_out or {}).items())
        console().print(f"  suite {suite.name}: {len(questions.cases)} cases{f' (left out: {told})' if told else ''}")
        made.append((questions, entry.samples))
    return made


def limited(records: Sequence[Record], limit: int | None, seed: int) -> list[Record]:
    """At most ``limit`` records, drawn by the seed (the first ones may all be of one class); their order is kept."""
    from skinrl.data.mixture import take_fraction

    if limit is None or not records:
        return list(records)
    return take_fraction(records, min(1.0, limit / len(records)), seed)
