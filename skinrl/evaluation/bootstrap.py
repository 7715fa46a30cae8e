"""Intervals for metrics by bootstrap over groups, vectorised.

Images of one patient resemble one another, so patients are resampled, never images. Every metric here is a
function of sums over cases (a `Measure`); summed per group once, a resample is a row of weights, and all
metrics of all resamples are one matrix product. Two models on one set share the weights, which pairs them.

The interval is the percentile interval with its tails widened for few groups (the plain one covers too
little below some fifty groups): Hesterberg 2015, "What teachers should know about the bootstrap", section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinrl.errors import DataError

RESAMPLES = 2000
SEED = 20_260
CONFIDENCE = 0.95
FEW_GROUPS = 5  # with fewer, resampling says nothing about the spread

Floats = NDArray[np.float64]

_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_CELLS = 8_000_000  # weights held at a time: 64 MB


@dataclass(frozen=True)
class Interval:
    """A measured metric: value, bounds of the 95 % interval, and the number of cases behind it.

    `value` is None where no case counts, the bounds are None where no honest ones can be given.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True)
class Measure:
    """A metric as a function of sums over cases.

    Args:
        name: the metric's name.
        columns: what is summed, (cases, K).
        finish: sums (..., K) to the metric (...), NaN where it is not defined.
        counted: which cases the metric is about, (cases,) of bool.
        bounded: whether the metric lies in 0 to 1.
    """

    name: str
    columns: Floats
    finish: Callable[[Floats], Floats]
    counted: NDArray[np.bool_]
    bounded: bool = True


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Elementwise quotient, NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator != 0, numerator / denominator, np.nan))


def _mean_of_sums(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def mean_measure(
    name: str, values: Floats, counted: NDArray[np.bool_] | None = None, *, bounded: bool = True
) -> Measure:
    """The mean of `values` (cases,) over the counted cases, all by default."""
    counted = np.ones(len(values), dtype=bool) if counted is None else counted
    columns = np.stack([np.where(counted, values, 0.0), counted.astype(float)], axis=1)
    return Measure(name, columns, _mean_of_sums, counted, bounded)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share observed among `n` (> 0) independent units."""
    scale = 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def intervals(
    measures: Sequence[Measure], groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Interval]:
    """Every measure with its 95 % interval.

    At exactly 0 or 1, where all resamples agree, and below `FEW_GROUPS` groups, a metric in 0 to 1 gets
    Wilson's interval with groups as its units; any other metric of so few groups gets no bounds.

    Args:
        groups: the group (patient) of each case, (cases,).

    Raises:
        DataError: lengths that differ.
    """
    if not measures:
        return {}
    sums, bounds, codes = _sums_per_group([measure.columns for measure in measures], groups)
    values = _finish(measures, bounds, sums.sum(axis=0, keepdims=True))[:, 0]
    replicates = _replicates(measures, bounds, sums, resamples, seed)
    result = {}
    for measure, value, row in zip(measures, values, replicates, strict=True):
        n, units = int(measure.counted.sum()), len(np.unique(codes[measure.counted]))
        low, high = _bounds(float(value), row, units, bounded=measure.bounded)
        result[measure.name] = Interval(_known(value), low, high, n)
    return result


def differences(
    first: Sequence[Measure],
    second: Sequence[Measure],
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Interval]:
    """`second` minus `first`, of two models on the same cases, each resample drawn for both.

    `n` counts the cases that count for both. Below `FEW_GROUPS` groups there are no bounds. Where every
    resample gives the same difference (two models that answer alike), the bounds allow for as many
    discordant groups as Wilson's interval allows for when none was seen.

    Raises:
        DataError: lengths or metrics that differ.
    """
    if [measure.name for measure in first] != [measure.name for measure in second]:
        raise DataError("two models can be compared on the same metrics only")
    if not first:
        return {}
    measures = [*first, *second]
    sums, bounds, codes = _sums_per_group([measure.columns for measure in measures], groups)
    values = _finish(measures, bounds, sums.sum(axis=0, keepdims=True))[:, 0]
    replicates = _replicates(measures, bounds, sums, resamples, seed)
    half, result = len(first), {}
    for index, (one, two) in enumerate(zip(first, second, strict=True)):
        value = float(values[half + index] - values[index])
        row = replicates[half + index] - replicates[index]
        both = one.counted & two.counted
        units = len(np.unique(codes[one.counted | two.counted]))
        result[one.name] = Interval(
            _known(value), *_difference_bounds(value, row, units, bounded=one.bounded), int(both.sum())
        )
    return result


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _bounds(value: float, row: Floats, units: int, *, bounded: bool) -> tuple[float | None, float | None]:
    if not math.isfinite(value) or units == 0:
        return None, None
    if bounded and (units < FEW_GROUPS or value <= 0 or value >= 1):
        return wilson(min(max(value, 0.0), 1.0), units)
    if units < FEW_GROUPS:
        return None, None
    return _percentiles(value, row, units)


def _difference_bounds(value: float, row: Floats, units: int, *, bounded: bool) -> tuple[float | None, float | None]:
    if not math.isfinite(value) or units < FEW_GROUPS:
        return None, None
    low, high = _percentiles(value, row, units)
    if bounded and high - low < 1e-12:
        unseen = wilson(0.0, units)[1]
        return max(-1.0, value - unseen), min(1.0, value + unseen)
    return low, high


def _percentiles(value: float, row: Floats, units: int) -> tuple[float, float]:
    """Expanded percentile interval; it always holds the value itself."""
    from scipy.special import ndtr, stdtrit  # imported here: scipy takes a third of a second

    known = row[np.isfinite(row)]
    tail = float(ndtr(math.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 - CONFIDENCE) / 2)))
    low, high = np.quantile(known, [tail, 1 - tail])
    return min(float(low), value), max(float(high), value)


def _sums_per_group(
    columns: Sequence[Floats], groups: Sequence[str]
) -> tuple[Floats, list[tuple[int, int]], NDArray[np.intp]]:
    """Sums (groups, all K), the columns of each measure in them, and the group number of each case."""
    if any(len(block) != len(groups) for block in columns):
        raise DataError(f"{len(groups)} groups for {sorted({len(block) for block in columns})} cases")
    blocks = list({id(block): block for block in columns}.values())  # two measures may be of the same sums
    ends = np.cumsum([block.shape[1] for block in blocks]).tolist()
    place = {id(block): (end - block.shape[1], end) for block, end in zip(blocks, ends, strict=True)}
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), ends[-1]))
    np.add.at(sums, codes, np.concatenate(blocks, axis=1))
    return sums, [place[id(block)] for block in columns], codes


def _finish(measures: Sequence[Measure], bounds: Sequence[tuple[int, int]], sums: Floats) -> Floats:
    """Metrics (measures, rows) from sums (rows, all K)."""
    return np.stack([m.finish(sums[:, start:end]) for m, (start, end) in zip(measures, bounds, strict=True)])


def _replicates(
    measures: Sequence[Measure], bounds: Sequence[tuple[int, int]], sums: Floats, resamples: int, seed: int
) -> Floats:
    """Metrics of every resample, (measures, resamples)."""
    parts = [_finish(measures, bounds, weights @ sums) for weights in resample_weights(len(sums), resamples, seed)]
    return np.concatenate(parts, axis=1)


def resample_weights(groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each group is drawn in each resample, in blocks (rows, groups); the same for the same seed."""
    rng = np.random.default_rng([seed, groups])
    block = max(1, _CELLS // max(groups, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(groups, size=(rows, groups)) + np.arange(rows)[:, None] * groups
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(float)
