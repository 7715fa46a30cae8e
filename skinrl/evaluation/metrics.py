"""The metrics of design section 5, each a `Measure` over cases, so that all share one bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinrl.evaluation.bootstrap import FEW_GROUPS, Floats, Measure, intervals, mean_measure, ratio
from skinrl.evaluation.cases import Case
from skinrl.evaluation.scoring import Judged, Target
from skinrl.taxonomy.graph import Taxonomy

UNKNOWN = "unknown"
MOST_VALUES = 40  # a slice with more values than this is an identifier or a raw number, not a slice


@dataclass(frozen=True)
class Scored:
    """A case with a target and its judged answers.

    Args:
        samples: of the answers sampled at temperature 1; empty where none were drawn.
    """

    case: Case
    target: Target
    greedy: Judged
    samples: tuple[Judged, ...] = ()


def measures_of(scored: Sequence[Scored], taxonomy: Taxonomy) -> list[Measure]:
    """All metrics of a set, in the order of the tables. Every answer that is not a hit counts as wrong."""
    if not scored:
        return []
    greedy = [one.greedy for one in scored]
    measures = [mean_measure("accuracy", _column(greedy, lambda j: j.hit))]
    if all(one.samples for one in scored):
        measures.append(_sampled("accuracy_sampled", scored, lambda j: j.hit))
    measures += _level_measures(scored)
    measures += _class_measures(scored, taxonomy)
    measures += _hierarchical_measures(greedy)
    wrong = np.array([not judged.hit for judged in greedy])
    measures.append(mean_measure("mistake_severity", _column(greedy, lambda j: j.severity), wrong, bounded=False))
    measures += _malignancy_measures(scored)
    for outcome in ("invalid", "truncated", "unresolved"):
        measures.append(mean_measure(f"{outcome}_share", _column(greedy, _has_outcome(outcome))))
        if all(one.samples for one in scored):
            measures.append(_sampled(f"{outcome}_share_sampled", scored, _has_outcome(outcome)))
    return measures


def _has_outcome(outcome: str) -> Callable[[Judged], bool]:
    return lambda judged: judged.outcome == outcome


def _column(judged: Sequence[Judged], read: Callable[[Judged], float]) -> Floats:
    return np.array([float(read(one)) for one in judged])


def _sampled(name: str, scored: Sequence[Scored], read: Callable[[Judged], float]) -> Measure:
    """The mean over a case's samples, then over cases."""
    return mean_measure(name, np.array([sum(map(read, one.samples)) / len(one.samples) for one in scored]))


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
    support, called = np.zeros((len(scored), len(classes))), np.zeros((len(scored), len(classes)))
    for row, one in enumerate(scored):
        support[row, number[one.target.node]] = 1
        node = one.greedy.node
        above = taxonomy.ancestors(node) & number.keys() if node is not None else ()
        if one.greedy.hit:
            called[row, number[one.target.node]] = 1
        elif above:
            called[row, number[min(above, key=lambda id: (-taxonomy.level(id), id))]] = 1
    columns = np.concatenate([support, called, support * called], axis=1)
    counted = np.ones(len(scored), dtype=bool)
    return [
        Measure("balanced_accuracy", columns, _balanced_accuracy, counted),
        Measure("macro_f1", columns, _macro_f1, counted),
    ]


def _balanced_accuracy(sums: Floats) -> Floats:
    support, _, right = np.split(sums, 3, axis=-1)
    return _mean_of_present(ratio(right, support), support)


def _macro_f1(sums: Floats) -> Floats:
    support, called, right = np.split(sums, 3, axis=-1)
    return _mean_of_present(ratio(2 * right, support + called), support)


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


def _malignancy_measures(scored: Sequence[Scored]) -> list[Measure]:
    """Sensitivity over golds of the malignant side, specificity over the benign; saying neither is wrong on both."""
    return [
        mean_measure(
            f"malignancy_{name}",
            np.array([float(one.greedy.side == side) for one in scored]),
            np.array([one.target.side == side for one in scored]),
        )
        for name, side in (("sensitivity", "malignant"), ("specificity", "benign"))
    ]


def metrics_of(scored: Sequence[Scored], taxonomy: Taxonomy, *, resamples: int, seed: int) -> dict[str, Any]:
    """Metrics of a set by name, each `{"value", "low", "high", "n"}`."""
    groups = [one.case.group for one in scored]
    found = intervals(measures_of(scored, taxonomy), groups, resamples=resamples, seed=seed)
    return {name: interval.as_dict() for name, interval in found.items()}


def grouped_metrics(
    scored: Sequence[Scored], taxonomy: Taxonomy, *, resamples: int, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """`by_skin_tone`, `by_modality`, `by_source` and `by_slice`; small groups; slices left out.

    Each skin tone scale and each slice splits the whole set, cases without a value standing under `unknown`.
    A part of fewer than `FEW_GROUPS` patients is reported, and listed as small: its numbers say little.
    """
    blocks: dict[str, Any] = {"by_skin_tone": {}, "by_modality": {}, "by_source": {}, "by_slice": {}}
    small: list[dict[str, Any]] = []
    left_out: list[str] = []

    def split(place: tuple[str, ...], read: Callable[[Case], str | None]) -> dict[str, Any]:
        parts: dict[str, list[Scored]] = {}
        for one in scored:
            parts.setdefault(read(one.case) or UNKNOWN, []).append(one)
        for value, part in parts.items():
            patients = len({one.case.group for one in part})
            if patients < FEW_GROUPS:
                small.append({"where": [*place, value], "groups": patients, "cases": len(part)})
        return {value: metrics_of(parts[value], taxonomy, resamples=resamples, seed=seed) for value in sorted(parts)}

    for scale in sorted({one.case.skin_tone[0] for one in scored if one.case.skin_tone}) or [UNKNOWN]:
        blocks["by_skin_tone"][scale] = split(("by_skin_tone", scale), _tone_on(scale))
    blocks["by_modality"] = split(("by_modality",), lambda case: case.modality)
    blocks["by_source"] = split(("by_source",), lambda case: case.source)
    for name in sorted({name for one in scored for name in one.case.slices}):
        if len({one.case.slices.get(name) for one in scored}) > MOST_VALUES:
            left_out.append(name)
        else:
            blocks["by_slice"][name] = split(("by_slice", name), _value_of_slice(name))
    return blocks, small, left_out


def _tone_on(scale: str) -> Callable[[Case], str | None]:
    return lambda case: case.skin_tone[1] if case.skin_tone and case.skin_tone[0] == scale else None


def _value_of_slice(name: str) -> Callable[[Case], str | None]:
    return lambda case: case.slices.get(name)


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics alone, without groups, controls and counts."""
    return {name: value for name, value in metrics.items() if isinstance(value, Mapping) and set(value) == METRIC_KEYS}


METRIC_KEYS = {"value", "low", "high", "n"}
