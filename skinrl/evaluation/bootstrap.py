"""Bootstrap over groups, vectorised: every metric, of a whole set and of all its parts, from one draw.

Images of one patient resemble one another, so patients are resampled, never images. Every metric here is a
function of sums over cases (a `Measure`); summed per group once, a resample is a column of weights, and all
metrics of all resamples are one matrix product. Two models on one set share the weights, which pairs them, and so
do the parts of a set (one skin tone and the next), so that what compares parts comes from the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinrl.errors import DataError
from skinrl.evaluation.bounds import FEW_GROUPS, Floats, Interval, difference_interval, interval, wilson

RESAMPLES = 2000
SEED = 20_260

Counts = NDArray[np.uint8]
Indices = NDArray[np.intp]

_CELLS = 8_000_000  # weights held as floating point numbers at a time: 32 MB

__all__ = [
    "FEW_GROUPS",
    "RESAMPLES",
    "SEED",
    "Cells",
    "Floats",
    "Interval",
    "Measure",
    "Measured",
    "Resampler",
    "differences",
    "intervals",
    "mean_measure",
    "paired",
    "ratio",
    "resample_weights",
    "wilson",
]


@dataclass(frozen=True, eq=False)
class Cells:
    """A matrix (cases, width) that is nearly all zero: `values` at (`cases`, `columns`), all three (cells,)."""

    cases: Indices
    columns: Indices
    values: Floats
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric as a function of sums over cases.

    Args:
        name: the metric's name.
        columns: what is summed, (cases, K).
        finish: sums (..., K) to the metric (...), NaN where it is not defined.
        counted: which cases the metric is about, (cases,) of bool.
        bounded: whether the metric is a share, in 0 to 1.
        lower_is_better: whether less is better, for whoever looks for the worst of several.
        kinds: for a metric that holds several kinds of cases against each other (malignant and benign ones), the
            kind of each, from 1, and 0 for cases that do not matter to it, (cases,). None: the counted cases are of
            one kind, and no other one matters.
    """

    name: str
    columns: Floats | Cells
    finish: Callable[[Floats], Floats]
    counted: NDArray[np.bool_]
    bounded: bool = True
    lower_is_better: bool = False
    kinds: NDArray[np.uint8] | None = None


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Elementwise quotient, NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator != 0, numerator / denominator, np.nan))


def _mean_of_sums(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def mean_measure(
    name: str,
    values: Floats,
    counted: NDArray[np.bool_] | None = None,
    *,
    bounded: bool = True,
    lower_is_better: bool = False,
) -> Measure:
    """The mean of `values` (cases,) over the counted cases, all by default."""
    counted = np.ones(len(values), dtype=bool) if counted is None else counted
    columns = np.stack([np.where(counted, values, 0.0), counted.astype(float)], axis=1)
    return Measure(name, columns, _mean_of_sums, counted, bounded, lower_is_better)


@dataclass(frozen=True, eq=False)
class Measured:
    """Measures of one part of a set.

    Args:
        measures: M of them.
        values: (M,), NaN where no case counts.
        replicates: (M, resamples), NaN where a resample does not define the metric.
        cases, units: cases and groups that count for each, (M,).
    """

    measures: tuple[Measure, ...]
    values: Floats
    replicates: Floats
    cases: Indices
    units: Indices

    def first(self, count: int) -> Measured:
        """The first measures alone, without the columns that they were summed from: these are large."""
        empty = np.empty((0, 0))
        return Measured(
            tuple(replace(measure, columns=empty) for measure in self.measures[:count]),
            self.values[:count],
            self.replicates[:count],
            self.cases[:count],
            self.units[:count],
        )

    def intervals(self) -> dict[str, Interval]:
        """Every measure with its 95 % interval, by name."""
        rows = zip(self.measures, self.values, self.replicates, self.units, self.cases, strict=True)
        return {
            measure.name: interval(float(value), row, int(units), int(n), bounded=measure.bounded)
            for measure, value, row, units, n in rows
        }


class Resampler:
    """One draw of groups for a set of cases, from which every metric of every part takes its interval.

    Args:
        groups: the group (patient) of each case, (cases,).
    """

    def __init__(self, groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self.codes: Indices = codes.astype(np.intp)
        self.groups = len(names)
        self.resamples, self.seed = resamples, seed
        self.weights = resample_weights(self.groups, resamples, seed)

    def measure(self, measures: Sequence[Measure] | Columns, parts: Sequence[Indices] | None = None) -> list[Measured]:
        """Measures of each part.

        Args:
            measures: or their columns, where they are measured more than once.
            parts: numbers of the cases of each part; by default one part, the whole set.

        Raises:
            DataError: measures of another number of cases.
        """
        columns = measures if isinstance(measures, Columns) else Columns(measures, len(self.codes))
        whole = np.arange(len(self.codes))
        found = []
        for part in [whole] if parts is None else parts:
            drawn, units = np.unique(self.codes[part], return_inverse=True)
            weights = self.weights if len(drawn) == self.groups else self.weights[drawn]
            found.append(columns.measured(part, units.astype(np.intp), len(drawn), weights))
        return found


class Columns:
    """What measures sum, each column once: many are the mean over the same cases."""

    def __init__(self, measures: Sequence[Measure], cases: int) -> None:
        lengths = {len(measure.columns) for measure in measures}
        if lengths - {cases}:
            raise DataError(f"{cases} groups for {sorted(lengths)} cases")
        self.measures = tuple(measures)
        places: dict[bytes, int] = {}
        unique: list[Floats] = []

        def place(column: NDArray[Any]) -> int:
            key = np.ascontiguousarray(column, dtype=np.float64)
            number = places.setdefault(key.tobytes(), len(unique))
            if number == len(unique):
                unique.append(key)
            return number

        self._dense = [
            [] if isinstance(measure.columns, Cells) else [place(column) for column in measure.columns.T]
            for measure in measures
        ]
        self._counted = [place(measure.counted) for measure in measures]
        self._kinds = [place(one.counted if one.kinds is None else one.kinds) for one in measures]
        self._unique = unique
        self._cells = {id(m.columns): m.columns for m in measures if isinstance(m.columns, Cells)}

    def kinds(self, index: int) -> Floats:
        """The kind of each case for a measure, 0 for those that do not matter to it, (cases,)."""
        return self._unique[self._kinds[index]]

    def alike(self, index: int) -> list[int]:
        """The measures to which the same kinds of the same cases matter as to this one."""
        return [number for number, place in enumerate(self._kinds) if place == self._kinds[index]]

    def only(self, numbers: Sequence[int]) -> Columns:
        """Some of the measures; nothing is laid out anew."""
        chosen = copy(self)
        places = sorted({place for number in numbers for place in (*self._dense[number], self._counted[number])})
        new = {place: number for number, place in enumerate(places)}
        chosen.measures = tuple(self.measures[number] for number in numbers)
        chosen._unique = [self._unique[place] for place in places]
        chosen._dense = [[new[place] for place in self._dense[number]] for number in numbers]
        chosen._counted = chosen._kinds = [new[self._counted[number]] for number in numbers]
        chosen._cells = {id(one.columns): one.columns for one in chosen.measures if isinstance(one.columns, Cells)}
        return chosen

    def sums(self, part: Indices, units: Indices, count: int) -> UnitSums:
        """Sums of a part's cases (their numbers, `part`) over the units that they belong to, 0 to `count` - 1."""
        from scipy.sparse import csr_array

        dense: Floats = np.stack(
            [np.bincount(units, weights=column[part], minlength=count).astype(np.float64) for column in self._unique]
        )
        sparse: dict[int, Any] = {}
        for key, cells in self._cells.items():
            unit_of = np.full(len(cells), -1, dtype=np.intp)
            unit_of[part] = units
            unit = unit_of[cells.cases]
            inside = unit >= 0
            places = (cells.columns[inside], unit[inside])
            sparse[key] = csr_array((cells.values[inside], places), shape=(cells.shape[1], count))
        return UnitSums(self, dense, sparse)

    def measured(self, part: Indices, units: Indices, count: int, weights: Counts) -> Measured:
        """Values, and replicates by the weights (count, resamples) of the units."""
        sums = self.sums(part, units, count)
        counted = sums.dense[self._counted]
        return Measured(
            self.measures,
            sums.values(),
            sums.weighted(weights),
            counted.sum(axis=1).astype(np.intp),
            (counted > 0).sum(axis=1),
        )

    def finish(self, dense: Floats, sparse: dict[int, Floats]) -> Floats:
        """Metrics (M, rows) from sums (K, rows)."""
        rows = [
            measure.finish(sparse[id(measure.columns)].T if isinstance(measure.columns, Cells) else dense[places].T)
            for measure, places in zip(self.measures, self._dense, strict=True)
        ]
        return np.stack(rows)


@dataclass(frozen=True, eq=False)
class UnitSums:
    """Sums over the cases of each unit: `dense` (K, units), and a sparse matrix (width, units) per `Cells`."""

    columns: Columns
    dense: Floats
    sparse: dict[int, Any]

    def values(self) -> Floats:
        """Metrics (M,) of the part as it is."""
        sparse = {key: np.asarray(matrix.sum(axis=1))[:, None] for key, matrix in self.sparse.items()}
        return self.columns.finish(self.dense.sum(axis=1, keepdims=True), sparse)[:, 0]

    def weighted(self, weights: Counts) -> Floats:
        """Metrics (M, rows) where unit u counts `weights[u, row]` times.

        Single precision sums counts below 2^24 exactly, and is twice as fast.
        """
        units, rows = weights.shape
        widest = max([units, len(self.dense), *(matrix.shape[0] for matrix in self.sparse.values())])
        step = max(1, _CELLS // widest)
        dense = self.dense.astype(np.float32)
        single = {key: matrix.astype(np.float32) for key, matrix in self.sparse.items()}
        found = []
        for start in range(0, rows, step):
            block = weights[:, start : start + step].astype(np.float32)
            sparse = {key: (matrix @ block).astype(np.float64) for key, matrix in single.items()}
            found.append(self.columns.finish((dense @ block).astype(np.float64), sparse))
        return np.concatenate(found, axis=1)


def resample_weights(groups: int, resamples: int, seed: int) -> Counts:
    """How often each group is drawn in each resample, (groups, resamples); the same for the same seed.

    A byte is enough: of as many draws as there are groups, more than 255 of one do not happen.
    """
    rng = np.random.default_rng([seed, groups])
    weights = np.empty((groups, resamples), dtype=np.uint8)
    step = max(1, _CELLS // 8 // max(groups, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(groups, size=(rows, groups)) + np.arange(rows)[:, None] * groups
        counts = np.bincount(drawn.ravel(), minlength=rows * groups).astype(np.uint8)
        weights[:, start : start + rows] = counts.reshape(rows, groups).T
    return weights


def intervals(
    measures: Sequence[Measure], groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Interval]:
    """Every measure of a set with its 95 % interval (`skinrl.evaluation.bounds.interval`).

    Args:
        groups: the group (patient) of each case, (cases,).

    Raises:
        DataError: lengths that differ.
    """
    if not measures:
        return {}
    return Resampler(groups, resamples=resamples, seed=seed).measure(measures)[0].intervals()


def differences(
    first: Sequence[Measure],
    second: Sequence[Measure],
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Interval]:
    """`second` minus `first`, of two models on the same cases, each resample drawn for both.

    `n` counts the cases that count for both.

    Raises:
        DataError: lengths or metrics that differ.
    """
    if [measure.name for measure in first] != [measure.name for measure in second]:
        raise DataError("two models can be compared on the same metrics only")
    if not first:
        return {}
    resampler = Resampler(groups, resamples=resamples, seed=seed)
    one, two = (resampler.measure(measures)[0] for measures in (first, second))
    return paired(one, two, resampler.codes)


def paired(first: Measured, second: Measured, codes: Indices) -> dict[str, Interval]:
    """`second` minus `first` for the metrics that both have, both measured on one draw of the same cases.

    Args:
        codes: number of the group of each case.
    """
    place = {measure.name: index for index, measure in enumerate(second.measures)}
    result = {}
    for index, one in enumerate(first.measures):
        other = place.get(one.name)
        if other is None:
            continue
        two = second.measures[other]
        result[one.name] = difference_interval(
            float(second.values[other] - first.values[index]),
            second.replicates[other] - first.replicates[index],
            len(np.unique(codes[one.counted | two.counted])),
            int((one.counted & two.counted).sum()),
            bounded=one.bounded,
        )
    return result
