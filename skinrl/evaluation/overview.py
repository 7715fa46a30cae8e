"""What a page shows of an evaluation that lies in files: every case's answer, accuracy over the tree, whom to look at.

Files are read line by line and kept as columns, so that 100,000 cases of several models fit into little memory.
Completions are not kept: `rows_at` reads those of chosen cases afterwards, from the places found on the way.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import differences, mean_measure
from skinrl.evaluation.bounds import wilson
from skinrl.evaluation.cases import Case
from skinrl.evaluation.predictions import Prediction
from skinrl.evaluation.scoring import Judged, Target, judge, target_of
from skinrl.taxonomy.graph import Taxonomy

VERDICTS = ("right", "wrong", "undetermined", "invalid", "truncated", "unresolved", "not scored")
_RIGHT, _WRONG, _UNDETERMINED, _NOT_SCORED = 0, 1, 2, 6
_OF_OUTCOME = {"invalid": 3, "truncated": 4, "unresolved": 5}
_PER_PATIENT = 2  # worst mistakes shown of one patient: the next patient teaches more than the third image
_SEED = 20_260


@dataclass
class CaseColumns:
    """The cases of an evaluated folder, in the order of its `cases.jsonl`.

    Args:
        targets: what is right; None where the label has no node, and the case is not scored.
        groups: numbers that stand for patients (lesions, images), from 0.
        group_kinds: what the groups of the scored cases are -> cases.
        tones: `scale value`, or empty.
        places: where the line of each case begins in `cases.jsonl`, in bytes.
    """

    ids: list[str] = field(default_factory=list)
    targets: list[Target | None] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    group_kinds: Counter[str] = field(default_factory=Counter)
    tones: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    modalities: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


@dataclass
class AnswerColumns:
    """One model's greedy answers to these cases.

    Args:
        nodes: what was answered; None where no node was named.
        verdicts: index into `VERDICTS`.
        severities: edges from the target up to what also covers the answer; 0 where right.
        credits: on the hierarchy, 0 to 1; None where the gold has no node.
        missed: a malignant gold was called benign.
        places: where the line of each case begins in `predictions.jsonl`, in bytes.
    """

    nodes: list[str | None] = field(default_factory=list)
    verdicts: list[int] = field(default_factory=list)
    severities: list[int] = field(default_factory=list)
    credits: list[float | None] = field(default_factory=list)
    missed: list[bool] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


def lines_of(path: Path) -> Iterator[tuple[int, Any]]:
    """Where each line begins, and what it says.

    Raises:
        DataError: the file is missing, or a line is not JSON.
    """
    place = 0
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    try:
                        yield place, json.loads(line)
                    except ValueError as problem:
                        raise DataError(f"{path}:{number}: is not a line of JSON ({problem})") from problem
                place += len(line)
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem}); expected a file of an evaluation") from problem


def read_cases(folder: Path, taxonomy: Taxonomy) -> CaseColumns:
    """The cases of an evaluated folder.

    Raises:
        DataError: a missing or broken file, a gold that the taxonomy does not have.
    """
    columns, codes = CaseColumns(), dict[str, int]()
    targets: dict[Any, Target | None] = {}
    for place, row in lines_of(folder / "cases.jsonl"):
        case = Case.from_dict(row)
        key = (case.gold, case.option_nodes)
        if key not in targets:
            targets[key] = target_of(case, taxonomy)
        target = targets[key]
        columns.ids.append(case.id)
        columns.targets.append(target)
        columns.groups.append(codes.setdefault(case.group, len(codes)))
        columns.tones.append(" ".join(case.skin_tone) if case.skin_tone else "")
        columns.sources.append(case.source)
        columns.modalities.append(case.modality)
        columns.places.append(place)
        if target is not None:
            columns.group_kinds[case.group_kind] += 1
    return columns


def read_answers(folder: Path, cases: CaseColumns, taxonomy: Taxonomy) -> AnswerColumns:
    """The greedy answers of one model, judged.

    Raises:
        DataError: a missing or broken file, predictions of other cases.
    """
    columns, known = AnswerColumns(), dict[Any, tuple[int, int, bool]]()
    path = folder / "predictions.jsonl"
    for number, (place, row) in enumerate(lines_of(path)):
        id = cases.ids[number] if number < len(cases.ids) else None
        if row.get("id") != id:
            raise DataError(
                f"{path}: prediction {number + 1} is of case {row.get('id')!r}, expected {id!r} as in cases.jsonl"
            )
        target = cases.targets[number]
        key = (target, row.get("answer_node"), row.get("malignancy"), row.get("outcome"))
        if key not in known:
            _refuse_unknown(path, row, taxonomy)
            known[key] = _judged(target, Prediction.from_dict(row), taxonomy)
        verdict, severity, missed = known[key]
        columns.nodes.append(row["answer_node"])
        columns.verdicts.append(verdict)
        columns.severities.append(severity)
        columns.credits.append(row["credit"])
        columns.missed.append(missed)
        columns.places.append(place)
    if len(columns.nodes) != len(cases.ids):
        raise DataError(f"{path}: {len(columns.nodes)} predictions for {len(cases.ids)} cases")
    return columns


def _refuse_unknown(path: Path, row: dict[str, Any], taxonomy: Taxonomy) -> None:
    node = row.get("answer_node")
    if node is not None and node not in taxonomy:
        raise DataError(f"{path}: case {row['id']}: the taxonomy has no node {node}; it has changed since")


def _judged(target: Target | None, prediction: Prediction, taxonomy: Taxonomy) -> tuple[int, int, bool]:
    """Verdict, severity, and whether a malignant gold was called benign."""
    if target is None:
        return _NOT_SCORED, 0, False
    found: Judged = judge(target, prediction, taxonomy)
    if found.hit:
        return _RIGHT, 0, target.side == "malignant" and found.side == "benign"
    verdict = _OF_OUTCOME.get(prediction.outcome, _WRONG if prediction.answer_node is not None else _UNDETERMINED)
    return verdict, found.severity, target.side == "malignant" and found.side == "benign"


# --- over the tree -------------------------------------------------------------------------------------------------


def drawn_path(taxonomy: Taxonomy, node: str) -> tuple[str, ...]:
    """The root and the one path on which pictures draw a node; a node of several parents stands under the nearest."""
    return (taxonomy.root, *taxonomy.path(node))


def tree_sizes(cases: CaseColumns, taxonomy: Taxonomy) -> dict[str, tuple[int, int]]:
    """Node -> scored cases whose target lies at or below it, and their patients."""
    counts: Counter[str] = Counter()
    patients: dict[str, set[int]] = {}
    for target, group in zip(cases.targets, cases.groups, strict=True):
        for node in drawn_path(taxonomy, target.node) if target is not None else ():
            counts[node] += 1
            patients.setdefault(node, set()).add(group)
    return {node: (counts[node], len(patients[node])) for node in counts}


def tree_accuracy(
    cases: CaseColumns, answers: AnswerColumns, sizes: dict[str, tuple[int, int]], taxonomy: Taxonomy
) -> dict[str, dict[str, Any]]:
    """Node -> accuracy of the cases at or below it, and how many of them were at least answered within it.

    `accuracy` has the keys of a metric. Its interval is Wilson's with patients as units: wider than a bootstrap over
    patients wherever images of one patient differ, and cheap for hundreds of nodes.
    """
    right: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for target, node, verdict in zip(cases.targets, answers.nodes, answers.verdicts, strict=True):
        if target is None:
            continue
        within = taxonomy.ancestors(node) if node is not None else frozenset()
        for above in drawn_path(taxonomy, target.node):
            right[above] += verdict == _RIGHT
            inside[above] += verdict == _RIGHT or above in within or (above == taxonomy.root and node is not None)
    found = {}
    for node, (n, patients) in sizes.items():
        low, high = wilson(right[node] / n, patients)
        found[node] = {
            "accuracy": {"value": right[node] / n, "low": low, "high": high, "n": n},
            "inside": inside[node] / n,
        }
    return found


def paired_accuracy(cases: CaseColumns, first: AnswerColumns, second: AnswerColumns) -> dict[str, Any]:
    """Accuracy of `second` minus that of `first` on the same cases, as a metric; see `bootstrap.differences`."""
    scored = [index for index, target in enumerate(cases.targets) if target is not None]
    one, two = (
        mean_measure("accuracy", np.array([float(columns.verdicts[index] == _RIGHT) for index in scored]))
        for columns in (first, second)
    )
    return differences([one], [two], [str(cases.groups[index]) for index in scored])["accuracy"].as_dict()


# --- whom to look at -----------------------------------------------------------------------------------------------


def worst_mistakes(cases: CaseColumns, answers: AnswerColumns, limit: int) -> list[int]:
    """Cases by how bad the mistake is: malignant called benign first, then by severity and credit; few per patient."""
    wrong = [index for index, verdict in enumerate(answers.verdicts) if verdict not in (_RIGHT, _NOT_SCORED)]
    wrong.sort(
        key=lambda index: (
            not answers.missed[index],
            -answers.severities[index],
            answers.credits[index] or 0.0,
            index,
        )
    )
    return _few_per_patient(wrong, cases.groups, limit)


def right_sample(cases: CaseColumns, answers: AnswerColumns, limit: int) -> list[int]:
    """Right answers drawn by chance, the same ones every time; one per patient as far as they reach."""
    right = [index for index, verdict in enumerate(answers.verdicts) if verdict == _RIGHT]
    random.Random(_SEED).shuffle(right)
    return _few_per_patient(right, cases.groups, limit, most=1)


def _few_per_patient(order: Sequence[int], groups: Sequence[int], limit: int, most: int = _PER_PATIENT) -> list[int]:
    taken: Counter[int] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for index in order:
        (first if taken[groups[index]] < most else rest).append(index)
        taken[groups[index]] += 1
        if len(first) == limit:
            break
    return (first + rest)[:limit]


def rows_at(path: Path, places: Sequence[int], chosen: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The whole rows of chosen cases, by the number of the case; `places` is where each row begins in the file."""
    with path.open("rb") as stream:

        def row(index: int) -> dict[str, Any]:
            stream.seek(places[index])
            found: dict[str, Any] = json.loads(stream.readline())
            return found

        return {index: row(index) for index in sorted(set(chosen))}
