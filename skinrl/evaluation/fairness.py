"""How much a metric differs between the parts of a set, and how much of that chance alone would give.

The gap between the best and the worst of several groups is above zero even where nothing differs, the more so the
smaller the groups. So each gap stands beside its permutation null: the gap of groups of the same sizes to which the
patients who count for the metric are dealt at random. And it stands beside the mean and the best group, because a
model that is worse for everyone has a smaller gap.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinrl.evaluation.bootstrap import Columns, Floats, Indices, Measure, Measured, Resampler
from skinrl.evaluation.bounds import FEW_GROUPS, difference_interval, interval
from skinrl.evaluation.groups import UNKNOWN, Split

PERMUTATIONS = 1000
FEWEST_PERMUTATIONS = 200
_DEALS = 5_000_000  # most patients dealt for a metric, but for the fewest permutations: a large set needs fewer
_CELLS = 1_000_000  # of them at a time: what is computed with stays in the cache
FEWEST_POSITIVES = 20  # malignant cases of a group, for an equal opportunity difference
SENSITIVITY = "malignancy_sensitivity"
_TIE = 1e-6  # resamples are summed in single precision


@dataclass(frozen=True, eq=False)
class Group:
    """One value of a split: its cases, and all metrics of them."""

    value: str
    part: Indices
    measured: Measured


def fairness_of(
    split: Split,
    measured: Sequence[Measured],
    columns: Columns,
    resampler: Resampler,
    *,
    permutations: int = PERMUTATIONS,
) -> dict[str, Any] | None:
    """What `fairness` of `metrics.json` holds for a split, or None where it has no two known values.

    Args:
        measured: of each part of the split, in its order, from `resampler`.
        columns: of the same metrics over the whole set.
    """
    groups = [Group(value, part, one) for (value, part), one in zip(split.parts.items(), measured, strict=True)]
    known = [group for group in groups if group.value != UNKNOWN]
    if len(known) < 2:
        return None
    patients = {group.value: len(np.unique(resampler.codes[group.part])) for group in known}
    large = [group for group in known if patients[group.value] >= FEW_GROUPS]
    unknown = next((len(group.part) for group in groups if group.value == UNKNOWN), 0)
    block: dict[str, Any] = {
        "where": list(split.where),
        "values": [group.value for group in large],
        "left_out": [
            {"value": group.value, "groups": patients[group.value], "cases": len(group.part)}
            for group in known
            if group not in large
        ],
        "unknown": unknown,
        "metrics": {},
        "equal_opportunity": None,
    }
    if len(large) < 2:
        return block
    chance = _Chance(large, columns, resampler, permutations)
    for index, measure in enumerate(columns.measures):
        found = _compared(index, measure, large, chance)
        if found is not None:
            block["metrics"][measure.name] = found
    block["equal_opportunity"] = _equal_opportunity(large, columns.measures, chance)
    return block


class _Chance:
    """Metrics of groups of the same sizes to which patients are dealt at random.

    For each metric those are dealt who count for it: the sensitivity of two groups of which one has many malignant
    cases and the other few is compared among groups that have as many and as few. Where a metric holds two kinds of
    cases against each other, each kind is dealt by itself.

    What is dealt is a patient with all cases of one group: a patient seen in two groups (two modalities) is dealt
    as two, which makes the null a little wider than need be.
    """

    def __init__(self, groups: Sequence[Group], columns: Columns, resampler: Resampler, permutations: int) -> None:
        self._groups, self._columns, self._resampler = groups, columns, resampler
        self._permutations = permutations
        self._known: dict[tuple[int, ...], Floats] = {}

    def gaps(self, index: int, chosen: Sequence[int]) -> Floats:
        """Gaps (permutations,) of a metric between some of the groups."""
        alike = self._columns.alike(index)
        key = (alike[0], *chosen)
        if key not in self._known:
            self._known[key] = self._dealt([self._groups[number] for number in chosen], alike)
        return _gap(self._known[key][:, alike.index(index)])

    def _dealt(self, groups: Sequence[Group], alike: Sequence[int]) -> Floats:
        """Metrics (groups, metrics, permutations) that share their kinds of cases."""
        kinds = self._columns.kinds(alike[0])
        parts = [group.part[kinds[group.part] > 0] for group in groups]
        cases = np.concatenate(parts)
        label = np.repeat(np.arange(len(groups)), [len(part) for part in parts])
        units, unit_of = np.unique(self._resampler.codes[cases] * len(groups) + label, return_inverse=True)
        kind = np.zeros(len(units))  # of a patient who has several: the largest
        np.maximum.at(kind, unit_of, kinds[cases])
        sums = self._columns.only(alike).sums(cases, unit_of.astype(np.intp), len(units))
        count = min(self._permutations, max(FEWEST_PERMUTATIONS, _DEALS // len(units)))
        rng = np.random.default_rng([self._resampler.seed, len(units)])
        labels = (units % len(groups)).astype(np.uint8)
        dealt = np.empty((len(units), count), dtype=np.uint8)
        for one in np.unique(kind):
            rows = np.flatnonzero(kind == one)
            dealt[rows] = rng.permuted(np.tile(labels[rows], (count, 1)), axis=1).T
        step = max(1, _CELLS // len(units))
        blocks = [dealt[:, start : start + step] for start in range(0, count, step)]
        return np.stack(
            [
                np.concatenate([sums.weighted((block == number).view(np.uint8)) for block in blocks], axis=1)
                for number in range(len(groups))
            ]
        )


def _compared(index: int, measure: Measure, groups: Sequence[Group], chance: _Chance) -> dict[str, Any] | None:
    """One metric over the groups that have enough patients for it, or None where fewer than two have."""
    chosen = [number for number, group in enumerate(groups) if _enough(group, index)]
    if len(chosen) < 2:
        return None
    values = np.array([groups[number].measured.values[index] for number in chosen])
    rows = np.stack([groups[number].measured.replicates[index] for number in chosen])
    units = min(int(groups[number].measured.units[index]) for number in chosen)
    n = int(sum(groups[number].measured.cases[index] for number in chosen))
    order = np.argsort(values if measure.lower_is_better else -values, kind="stable")
    best, worst = chosen[order[0]], chosen[order[-1]]
    bounded = measure.bounded

    def shown(number: int) -> dict[str, Any]:
        one = groups[number].measured
        found = interval(
            float(one.values[index]),
            one.replicates[index],
            int(one.units[index]),
            int(one.cases[index]),
            bounded=bounded,
        )
        return {"group": groups[number].value, **found.as_dict()}

    mean = interval(float(values.mean()), _quietly(np.mean, rows), units, n, bounded=bounded)
    gap = float(np.ptp(values))
    spread = difference_interval(gap, _gap(rows), units, n, bounded=bounded)
    return {
        "lower_is_better": measure.lower_is_better,
        "mean": mean.as_dict(),
        "best": shown(best),
        "worst": shown(worst),
        "gap": {**spread.as_dict(), "low": None if spread.low is None else max(0.0, spread.low)},
        "null": _null(gap, chance.gaps(index, chosen)),
        "score": _score(values, rows, units, n) if bounded and not measure.lower_is_better else None,
        "left_out": [group.value for number, group in enumerate(groups) if number not in chosen],
    }


def _enough(group: Group, index: int) -> bool:
    return bool(group.measured.units[index] >= FEW_GROUPS and np.isfinite(group.measured.values[index]))


def _gap(rows: Floats) -> Floats:
    """Largest minus smallest over the groups (first axis) that a resample defines."""
    return np.asarray(_quietly(np.nanmax, rows) - _quietly(np.nanmin, rows))


def _quietly(reduce: Any, rows: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)  # a resample may define the metric in no group
        return np.asarray(reduce(rows, axis=0))


def _null(gap: float, dealt: Floats) -> dict[str, Any]:
    """The gap that chance gives, and the share of deals with at least the gap that was found (Phipson, Smyth 2010)."""
    finite = dealt[np.isfinite(dealt)]
    if not finite.size:
        return {"mean": None, "high": None, "p": None, "permutations": 0}
    return {
        "mean": float(finite.mean()),
        "high": float(np.quantile(finite, 0.95)),
        "p": float((1 + (finite >= gap - _TIE).sum()) / (1 + finite.size)),
        "permutations": int(finite.size),
    }


def _score(values: Floats, rows: Floats, units: int, n: int) -> dict[str, Any] | None:
    """DermoGPT's fairness score, 1 - (max - min) / max; None where the best group has 0."""
    top = float(values.max())
    if top <= 0:
        return None
    high, low = _quietly(np.nanmax, rows), _quietly(np.nanmin, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.where(high > 0, low / high, np.nan)
    return interval(float(values.min()) / top, resampled, units, n, bounded=True).as_dict()


def _equal_opportunity(groups: Sequence[Group], measures: Sequence[Measure], chance: _Chance) -> dict[str, Any] | None:
    """Largest minus smallest sensitivity for malignancy over the groups with at least `FEWEST_POSITIVES` positives.

    Equal opportunity as in Hardt, Price and Srebro 2016; the difference is fairlearn's.
    """
    index = next((number for number, measure in enumerate(measures) if measure.name == SENSITIVITY), None)
    if index is None:
        return None
    positives = {group.value: int(group.measured.cases[index]) for group in groups}
    chosen = [n for n, group in enumerate(groups) if positives[group.value] >= FEWEST_POSITIVES]
    if len(chosen) < 2:
        return None
    from fairlearn.metrics import equal_opportunity_difference

    sensitivity = measures[index]
    parts = [groups[number].part[sensitivity.counted[groups[number].part]] for number in chosen]
    called = np.concatenate([np.asarray(sensitivity.columns)[part, 0] for part in parts])
    of_group = np.concatenate([[groups[n].value] * len(part) for n, part in zip(chosen, parts, strict=True)])
    difference = float(equal_opportunity_difference(np.ones_like(called), called, sensitive_features=of_group))
    replicates = np.stack([groups[number].measured.replicates[index] for number in chosen])
    units = min(int(groups[number].measured.units[index]) for number in chosen)
    spread = difference_interval(difference, _gap(replicates), units, len(called), bounded=True)
    return {
        "difference": {**spread.as_dict(), "low": None if spread.low is None else max(0.0, spread.low)},
        "null": _null(difference, chance.gaps(index, chosen)),
        "groups": {
            groups[number].value: {
                "positives": positives[groups[number].value],
                "patients": int(groups[number].measured.units[index]),
                "sensitivity": groups[number].measured.intervals()[SENSITIVITY].as_dict(),
            }
            for number in chosen
        },
        "left_out": {value: count for value, count in positives.items() if count < FEWEST_POSITIVES},
    }
