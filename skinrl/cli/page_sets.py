"""From the files of evaluations on the same cases to one set of the page: columns, tree, examples, differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.cli.page_files import (
    MAIN,
    Evaluated,
    image_paths,
    reward_parts,
    rewards_of,
    suite_of,
    taxonomy_of,
)

if TYPE_CHECKING:
    from skinrl.evaluation.overview import AnswerColumns, CaseColumns
    from skinrl.taxonomy import Taxonomy

WORST, RIGHT = 48, 24  # cases of each model that are shown as cards
_TEXT_BYTES = 4 << 20  # predictions of this size go onto the page with every report, larger ones with the shown cases'


def by_cases(evaluated: Sequence[Evaluated]) -> list[list[Evaluated]]:
    """Evaluations of one suite on the very same cases stand side by side; the main questions come first."""
    groups: list[list[Evaluated]] = []
    for one in sorted(evaluated, key=lambda one: one.suite != MAIN):
        for group in groups:
            if group[0].suite == one.suite and one.same_cases(group[0]):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def read_set(group: Sequence[Evaluated], *, several: bool) -> dict[str, Any]:
    """What the page shows of one set of cases, in the shape that `skinrl.pages.report.report_page` takes.

    Beside it `paths`: the image of each case by its id.

    Args:
        several: runs stand side by side, so that models carry the name of their run.

    Raises:
        DataError: files that do not belong together; InputError: runs that name different taxonomies.
    """
    from skinrl.evaluation.overview import read_cases, tree_sizes

    first = group[0]
    taxonomy, notes = taxonomy_of(group)
    cases = read_cases(first.folder, taxonomy)
    sizes = tree_sizes(cases, taxonomy)
    bytes_of_text = sum((one.folder / "predictions.jsonl").stat().st_size for one in group)
    whole = bytes_of_text <= _TEXT_BYTES
    models, answers = [], []
    for one in group:
        model, columns = _model(one, cases, sizes, taxonomy, whole=whole, several=several)
        models.append(model)
        answers.append(columns)
    suite = suite_of(first)
    title = suite.get("title") or ("Main questions" if first.suite == MAIN else first.suite)
    notes += [f"{count:,} cases left out: {reason}." for reason, count in suite.get("left_out", {}).items()]
    return {
        "name": first.suite,
        "taxonomy": taxonomy,
        "notes": notes,
        "title": title if len({one.run for one in group}) > 1 or not several else f"{title} ({first.label})",
        "cases": {
            "id": cases.ids,
            "gold": [target.node if target else None for target in cases.targets],
            "tone": cases.tones,
            "source": cases.sources,
            "modality": cases.modalities,
        },
        "sizes": sizes,
        "models": models,
        "difference": _differences(group, cases, answers, models, several),
        "baselines": _of_comparison(first, "baselines"),
        "few_texts": not whole,
        "images": {},
        "paths": image_paths(first.folder),
    }


def _model(
    one: Evaluated,
    cases: CaseColumns,
    sizes: dict[str, tuple[int, int]],
    taxonomy: Taxonomy,
    *,
    whole: bool,
    several: bool,
) -> tuple[dict[str, Any], AnswerColumns]:
    from skinrl.evaluation.overview import read_answers, right_sample, rows_at, tree_accuracy, worst_mistakes
    from skinrl.evaluation.tables import model_title

    answers = read_answers(one.folder, cases, taxonomy)
    worst, right = worst_mistakes(cases, answers, WORST), right_sample(cases, answers, RIGHT)
    shown = [*worst, *right]
    wanted = range(len(cases.ids)) if whole else shown
    written = rows_at(one.folder / "predictions.jsonl", answers.places, wanted)
    asked = rows_at(one.folder / "cases.jsonl", cases.places, shown)
    rewards = rewards_of(one.run, taxonomy)
    model = {
        "name": f"{one.label}: {one.model}" if several else one.model,
        "title": f"{model_title(one.model)}, {one.label}" if several else model_title(one.model),
        "metrics": files.read_json(one.folder / "metrics.json"),
        "answers": {
            "node": answers.nodes,
            "verdict": answers.verdicts,
            "severity": answers.severities,
            "credit": answers.credits,
            "missed": answers.missed,
        },
        "tree": tree_accuracy(cases, answers, sizes, taxonomy),
        "worst": worst,
        "right": right,
        "texts": {number: row["completion"] for number, row in written.items()},
        "rewards": reward_parts(rewards, {number: written[number] for number in sorted(set(shown))}, asked),
    }
    return model, answers


def _of_comparison(one: Evaluated, key: str) -> dict[str, Any]:
    """A block of the run's `comparison.json` for this suite; empty where there is none."""
    file = one.run / "comparison.json"
    if not file.is_file():
        return {}
    comparison = files.read_json(file)
    block = comparison if one.suite == MAIN else comparison.get("suites", {}).get(one.suite, {})
    found: dict[str, Any] = block.get(key) or {}
    return found


def _differences(
    group: Sequence[Evaluated],
    cases: CaseColumns,
    answers: Sequence[AnswerColumns],
    models: Sequence[dict[str, Any]],
    several: bool,
) -> dict[str, Any]:
    """Paired differences: those that each run measured, and of one model in two runs the accuracy's."""
    from skinrl.evaluation.overview import paired_accuracy

    if not several:
        return _of_comparison(group[0], "difference")
    found: dict[str, Any] = {}
    for first in {one.run: one for one in group}.values():
        measured = _of_comparison(first, "difference")
        found |= {f"{first.label}: {pair}": metrics for pair, metrics in measured.items()}
    for number, one in enumerate(group):
        for other in range(number):
            if group[other].model == one.model and group[other].run != one.run:
                pair = f"{models[number]['title']} − {models[other]['title']}"
                found[pair] = {"accuracy": paired_accuracy(cases, answers[other], answers[number])}
    return found
