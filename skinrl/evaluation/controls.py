"""Controls: what the same questions give to someone who cannot see, or who sees the wrong thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import Measure, differences, intervals, mean_measure
from skinrl.evaluation.cases import Case
from skinrl.evaluation.predictions import Prediction
from skinrl.evaluation.scoring import Judge, Target
from skinrl.taxonomy.graph import Taxonomy

ANSWERED_CONTROLS = ("no_image", "shuffled_options", "wrong_image", "metadata_only")
CONTROL_CASES = 500  # most cases that a control is asked about, unless all are asked for
LABEL_PRIOR = "label_prior"


def control_metrics(
    cases: Sequence[Case],
    greedy: Sequence[Prediction],
    controls: Mapping[str, Sequence[Prediction]],
    control_cases: Mapping[str, Sequence[Case]],
    taxonomy: Taxonomy,
    *,
    resamples: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Accuracy by control, and by answered control what the model does on the very same cases.

    Args:
        cases, greedy: all cases with the model's own answers.
        controls: answers by control.
        control_cases: the cases of a control where they are not all of `cases` as they are: a part of them, in their
            order, or the same with other options.

    Returns:
        `controls`: accuracy by control, `label_prior` over all cases included.
        `controls_paired`: by control `model` (accuracy of the model on the control's cases), `difference` (model minus
        control, paired) and `same_answer` (share of the cases in which both name the same node).
    """
    judge = Judge(taxonomy)
    targets = [(case, judge.target(case)) for case in cases]
    known = [(case, target) for case, target in targets if target is not None]
    prior = label_prior([case for case, _ in known], [target for _, target in known], taxonomy)
    groups = [case.group for case, _ in known]
    accuracy = {LABEL_PRIOR: intervals([prior], groups, resamples=resamples, seed=seed)["accuracy"].as_dict()}
    paired: dict[str, Any] = {}
    own = {(case.source, case.id): (target, one) for (case, target), one in zip(targets, greedy, strict=True)}
    for name, predictions in controls.items():
        rows = []  # patient; control right; model right; both answered the same
        for case, answer in zip(control_cases.get(name, cases), predictions, strict=True):
            asked = judge.target(case)
            target, model = own[case.source, case.id]
            if asked is not None and target is not None:
                right = judge(asked, answer).hit, judge(target, model).hit
                same = answer.answer_node is not None and answer.answer_node == model.answer_node
                rows.append((case.group, *right, same))
        if rows:
            accuracy[name], paired[name] = _beside(rows, resamples, seed)
    return dict(sorted(accuracy.items())), dict(sorted(paired.items()))


def _beside(
    rows: Sequence[tuple[str, bool, bool, bool]], resamples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    groups = [row[0] for row in rows]
    hits = np.array([row[1:] for row in rows], dtype=float)
    control, model = mean_measure("accuracy", hits[:, 0]), mean_measure("accuracy", hits[:, 1])
    same = mean_measure("same_answer", hits[:, 2])
    accuracy = intervals([control], groups, resamples=resamples, seed=seed)["accuracy"]
    found = intervals([model, same], groups, resamples=resamples, seed=seed)
    gap = differences([control], [model], groups, resamples=resamples, seed=seed)["accuracy"]
    beside = {"model": found["accuracy"], "difference": gap, "same_answer": found["same_answer"]}
    return accuracy.as_dict(), {key: interval.as_dict() for key, interval in beside.items()}


def refuse_other_cases(cases: Sequence[Case], asked: Sequence[Case], control: str) -> None:
    """Refuse cases of a control that are not among those of the evaluation, in their order.

    Raises:
        DataError: names the first.
    """
    place = {(case.source, case.id): number for number, case in enumerate(cases)}
    last = -1
    for case in asked:
        number = place.get((case.source, case.id), -1)
        if number <= last:
            raise DataError(
                f"the cases of control {control} are not those of the evaluation in the same order; the first that is "
                f"not: {case.id}"
            )
        last = number


def label_prior(cases: Sequence[Case], targets: Sequence[Target], taxonomy: Taxonomy) -> Measure:
    """Accuracy of the best guess without an image and without a model.

    A question with lettered options is answered by one of two rules, whichever is right more often: the most specific
    option, or the option that is right most often in the questions about other patients (the expected value over
    ties). Any other question is answered by the one diagnosis that is right most often in this very set: no constant
    answer beats it.
    """
    hits = np.zeros(len(cases))
    free = [index for index, case in enumerate(cases) if case.kind != "options"]
    lettered = [index for index, case in enumerate(cases) if case.kind == "options"]
    right = {nodes: _right_answers(nodes, taxonomy) for nodes in {target.nodes for target in targets}}
    answers = [right[target.nodes] for target in targets]
    constant = most_common_answer([answers[index] for index in free])
    hits[free] = [constant in answers[index] for index in free]
    asked, wanted = [cases[index] for index in lettered], [answers[index] for index in lettered]
    rules = [_most_specific(case, taxonomy) for case in asked], _most_often_right(asked, wanted)
    hits[lettered] = max((_expected(guesses, wanted) for guesses in rules), key=sum)
    return mean_measure("accuracy", hits)


def _expected(guesses: Sequence[Sequence[str]], wanted: Sequence[frozenset[str]]) -> list[float]:
    """Chance to be right where one of each question's guesses is drawn."""
    return [
        sum(option in right for option in drawn) / len(drawn) if drawn else 0.0
        for drawn, right in zip(guesses, wanted, strict=True)
    ]


def _most_often_right(cases: Sequence[Case], wanted: Sequence[frozenset[str]]) -> list[list[str]]:
    """Of each case's options those that are right most often among the other patients' cases.

    The own patient is left out: a diagnosis that occurs once would otherwise name itself.
    """
    counts, own = Counter[str](), Counter[tuple[str, str]]()
    for case, right in zip(cases, wanted, strict=True):
        for node in right.intersection(case.option_nodes):
            counts[node] += 1
            own[case.group, node] += 1
    found = []
    for case in cases:
        elsewhere = {node: counts[node] - own[case.group, node] for node in case.option_nodes if node}
        most = max(elsewhere.values(), default=0)
        found.append([node for node, count in elsewhere.items() if count == most])
    return found


def most_common_answer(right: Sequence[frozenset[str]]) -> str | None:
    """The node that is right in most cases; at a tie the first by name; None without cases."""
    counts = Counter(node for nodes in right for node in nodes)
    return min(counts, key=lambda node: (-counts[node], node)) if counts else None


def _right_answers(nodes: tuple[str, ...], taxonomy: Taxonomy) -> frozenset[str]:
    return frozenset(nodes).union(*(taxonomy.descendants(node) for node in nodes))


def _most_specific(case: Case, taxonomy: Taxonomy) -> list[str]:
    offered = [node for node in case.option_nodes if node]
    deepest = max(map(taxonomy.level, offered), default=0)
    return [node for node in offered if taxonomy.level(node) == deepest]
