"""The metrics of a set, each a `Measure` over cases, so that all share one bootstrap.

`docs/evaluation.md` gives formula, source and reading of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinrl.evaluation.bootstrap import Cells, Floats, Measure, intervals, mean_measure, ratio
from skinrl.evaluation.calibration import confident, summary_measures
from skinrl.evaluation.cases import Case
from skinrl.evaluation.sampled import sample_measures
from skinrl.evaluation.scoring import Judged, Target
from skinrl.taxonomy.graph import Taxonomy

TOP = (3, 5)


@dataclass(frozen=True, slots=True)
class Scored:
    """A case with a target and its judged answers.

    Args:
        samples: of the answers sampled at temperature 1; empty where none were drawn.
        confidence: in the greedy answer, by source (`skinrl.evaluation.calibration`).
        rank: place of the first right one among the greedy diagnosis and the rest of its differential; None where
            none is right.
        listed: whether the greedy report has a differential.
    """

    case: Case
    target: Target
    greedy: Judged
    samples: tuple[Judged, ...] = ()
    confidence: Mapping[str, float] = field(default_factory=dict)
    rank: int | None = None
    listed: bool = False


def measures_of(scored: Sequence[Scored], taxonomy: Taxonomy, *, prevalence: float | None = None) -> list[Measure]:
    """All metrics of a set, in the order of the tables. Every answer that is not a hit counts as wrong.

    Args:
        prevalence: share of malignant cases for which the positive predictive value is stated; by default the set's.
    """
    if not scored:
        return []
    greedy = [one.greedy for one in scored]
    hits = _column(greedy, lambda j: j.hit)
    sampled = all(one.samples for one in scored)
    measures = [mean_measure("accuracy", hits)]
    if sampled:
        measures += sample_measures([one.samples for one in scored])
    if any(one.listed for one in scored):
        ranks = np.array([one.rank or np.inf for one in scored])
        measures += [mean_measure(f"accuracy_top_{k}", (ranks <= k).astype(float)) for k in TOP]
    measures += _level_measures(scored)
    measures += _class_measures(scored, taxonomy)
    measures += _hierarchical_measures(greedy)
    wrong = np.array([not judged.hit for judged in greedy])
    severity = _column(greedy, lambda j: j.severity)
    measures.append(mean_measure("mistake_severity", severity, wrong, bounded=False, lower_is_better=True))
    measures += _malignancy_measures(scored, prevalence)
    for outcome in ("invalid", "truncated", "unresolved"):
        shown = _column(greedy, _has_outcome(outcome))
        measures.append(mean_measure(f"{outcome}_share", shown, lower_is_better=True))
        if sampled:
            of_samples = np.array([sum(map(_has_outcome(outcome), one.samples)) / len(one.samples) for one in scored])
            measures.append(mean_measure(f"{outcome}_share_sampled", of_samples, lower_is_better=True))
    measures.append(mean_measure("abstained_share", _column(greedy, lambda j: j.abstained), lower_is_better=True))
    measures.append(mean_measure("accuracy_answered", hits, np.array([j.node is not None for j in greedy])))
    for one in confident([one.confidence for one in scored], hits):
        measures += summary_measures(one)
    return measures


def _has_outcome(outcome: str) -> Callable[[Judged], bool]:
    return lambda judged: judged.outcome == outcome


def _column(judged: Sequence[Judged], read: Callable[[Judged], float]) -> Floats:
    return np.array([float(read(one)) for one in judged])


def _level_measures(scored: Sequence[Scored]) -> list[Measure]:
    """Accuracy at level k, over the cases whose gold lies at least that deep."""
    levels = np.array([one.target.level for one in scored])
    return [
        mean_measure(
            f"accuracy_level_{level}",
            np.array([float(level in one.greedy.right_levels) for one in scored]),
            levels >= level,
        )
        for level in range(1, int(levels.max()) + 1)
    ]


def _class_measures(scored: Sequence[Scored], taxonomy: Taxonomy) -> list[Measure]:
    """Balanced accuracy (mean recall) and macro F1 over the classes that occur as gold.

    A hit is an answer of the gold class; another answer belongs to the deepest gold class at or above it,
    and to none where there is none: such an answer costs recall, and precision of no class.
    """
    classes = sorted({one.target.node for one in scored})
    number = {node: index for index, node in enumerate(classes)}
    count = len(classes)
    called: dict[str | None, int] = {None: count}  # answers of no class
    cases, columns = [], []
    for row, one in enumerate(scored):
        gold, answer = number[one.target.node], one.greedy.node
        if answer not in called:
            called[answer] = _class_of(answer, number, taxonomy)
        given = gold if one.greedy.hit else called[answer]
        here = [gold] + ([count + given] if given < count else []) + ([2 * count + gold] if given == gold else [])
        cases += [row] * len(here)
        columns += here
    cells = Cells(
        np.array(cases, dtype=np.intp),
        np.array(columns, dtype=np.intp),
        np.ones(len(cases)),
        (len(scored), 3 * count),
    )
    counted = np.ones(len(scored), dtype=bool)
    return [
        Measure("balanced_accuracy", cells, _balanced_accuracy, counted),
        Measure("macro_f1", cells, _macro_f1, counted),
    ]


def _class_of(answer: str | None, number: Mapping[str, int], taxonomy: Taxonomy) -> int:
    above = taxonomy.ancestors(answer) & number.keys() if answer is not None else frozenset()
    if not above:
        return len(number)
    return number[min(above, key=lambda id: (-taxonomy.level(id), id))]


def _balanced_accuracy(sums: Floats) -> Floats:
    support, _, right = _of_present(sums)
    return _mean_of_present(ratio(right, support), support)


def _macro_f1(sums: Floats) -> Floats:
    support, called, right = _of_present(sums)
    return _mean_of_present(ratio(2 * right, support + called), support)


def _of_present(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Cases, answers and right answers of each class that occurs: a part of a set has few of its classes."""
    support, called, right = np.split(sums, 3, axis=-1)
    present = support.any(axis=tuple(range(support.ndim - 1)))
    return support[..., present], called[..., present], right[..., present]


def _mean_of_present(values: Floats, support: Floats) -> Floats:
    """Mean over the classes that occur, which in a resample may be fewer."""
    present = support > 0
    return ratio(np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1).astype(float))


def _hierarchical_measures(greedy: Sequence[Judged]) -> list[Measure]:
    """Set-based precision, recall and F1 over ancestors without the root (Kiritchenko et al. 2006), summed over cases.

    Precision is over the cases whose answer names a node; recall and F1 are over all.
    """
    shared, answered, wanted = (_column(greedy, read) for read in (_shared, _answered, _wanted))
    named = np.array([judged.node is not None for judged in greedy])
    everything = np.ones(len(greedy), dtype=bool)
    return [
        Measure("hierarchical_precision", np.stack([shared, answered], axis=1), _first_by_second, named),
        Measure("hierarchical_recall", np.stack([shared, wanted], axis=1), _first_by_second, everything),
        Measure("hierarchical_f1", np.stack([2 * shared, answered + wanted], axis=1), _first_by_second, everything),
    ]


def _shared(judged: Judged) -> int:
    return judged.shared


def _answered(judged: Judged) -> int:
    return judged.answered


def _wanted(judged: Judged) -> int:
    return judged.wanted


def _first_by_second(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def _malignancy_measures(scored: Sequence[Scored], prevalence: float | None) -> list[Measure]:
    """Sensitivity over golds of the malignant side, specificity over the benign, and the value of a malignant call.

    Saying neither is wrong on both sides, but it is no false alarm.
    """
    malignant, benign = (np.array([one.target.side == side for one in scored]) for side in ("malignant", "benign"))
    called = np.array([one.greedy.side == "malignant" for one in scored])
    spared = np.array([one.greedy.side == "benign" for one in scored])
    return [
        mean_measure("malignancy_sensitivity", called.astype(float), malignant),
        mean_measure("malignancy_specificity", spared.astype(float), benign),
        _predictive_value(malignant, benign, called, stated_prevalence(scored, prevalence)),
    ]


def _predictive_value(
    malignant: NDArray[np.bool_], benign: NDArray[np.bool_], called: NDArray[np.bool_], prevalence: float
) -> Measure:
    """P(malignant | called malignant) at a prevalence: Bayes' rule on sensitivity and the share of false alarms."""
    columns = np.stack([malignant & called, malignant, benign & called, benign], axis=1).astype(float)

    def finish(sums: Floats) -> Floats:
        found, alarms = ratio(sums[..., 0], sums[..., 1]), ratio(sums[..., 2], sums[..., 3])
        return ratio(prevalence * found, prevalence * found + (1 - prevalence) * alarms)

    kinds = (malignant + 2 * benign).astype(np.uint8)
    return Measure("malignancy_ppv", columns, finish, called & (malignant | benign), kinds=kinds)


def stated_prevalence(scored: Sequence[Scored], prevalence: float | None) -> float:
    """The given prevalence, else the share of malignant cases among those whose gold is on a side; NaN without any."""
    if prevalence is not None:
        return prevalence
    sides = [one.target.side for one in scored if one.target.side is not None]
    return sides.count("malignant") / len(sides) if sides else math.nan


def metrics_of(
    scored: Sequence[Scored], taxonomy: Taxonomy, *, resamples: int, seed: int, prevalence: float | None = None
) -> dict[str, Any]:
    """Metrics of a set by name, each `{"value", "low", "high", "n"}`."""
    groups = [one.case.group for one in scored]
    measures = measures_of(scored, taxonomy, prevalence=prevalence)
    found = intervals(measures, groups, resamples=resamples, seed=seed)
    return {name: interval.as_dict() for name, interval in found.items()}


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics alone, without groups, controls and counts."""
    return {name: value for name, value in metrics.items() if isinstance(value, Mapping) and set(value) == METRIC_KEYS}


METRIC_KEYS = {"value", "low", "high", "n"}
