"""From a value and its resamples to an interval that claims no more than the data allow.

The interval is the percentile interval with its tails widened for few groups (the plain one covers too
little below some fifty groups): Hesterberg 2015, "What teachers should know about the bootstrap", section 4.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
FEW_GROUPS = 5  # with fewer, resampling says nothing about the spread

Floats = NDArray[np.float64]

_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


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


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share observed among `n` (> 0) independent units (Wilson 1927)."""
    scale = 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return 0.0 if share <= 0 else max(0.0, middle - half), 1.0 if share >= 1 else min(1.0, middle + half)


def interval(value: float, row: Floats, units: int, n: int, *, bounded: bool) -> Interval:
    """A metric with its bounds.

    At exactly 0 or 1, where all resamples agree, and below `FEW_GROUPS` groups, a metric in 0 to 1 gets
    Wilson's interval with groups as its units; any other metric of so few groups gets no bounds.

    Args:
        value: NaN where no case counts.
        row: the metric in each resample, NaN where it is not defined there.
        units: groups that count for the metric.
        n: cases that count for it.
        bounded: whether the metric is a share.
    """
    low: float | None
    high: float | None
    if not math.isfinite(value) or units == 0:
        low = high = None
    elif bounded and (units < FEW_GROUPS or value <= 0 or value >= 1):
        low, high = wilson(min(max(value, 0.0), 1.0), units)
    elif units < FEW_GROUPS:
        low = high = None
    else:
        low, high = _percentiles(value, row, units)
    return Interval(known(value), low, high, n)


def difference_interval(value: float, row: Floats, units: int, n: int, *, bounded: bool) -> Interval:
    """A paired difference with its bounds; none below `FEW_GROUPS` groups.

    Where every resample gives the same difference (two models that answer alike), the bounds allow for as many
    discordant groups as Wilson's interval allows for when none was seen.
    """
    if not math.isfinite(value) or units < FEW_GROUPS:
        return Interval(known(value), None, None, n)
    low, high = _percentiles(value, row, units)
    if bounded and high is not None and low is not None and high - low < 1e-12:
        unseen = wilson(0.0, units)[1]
        low, high = max(-1.0, value - unseen), min(1.0, value + unseen)
    return Interval(known(value), low, high, n)


def known(value: float) -> float | None:
    """The number, or None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def _percentiles(value: float, row: Floats, units: int) -> tuple[float, float] | tuple[None, None]:
    """Expanded percentile interval; it always holds the value itself."""
    finite = row[np.isfinite(row)]
    if not finite.size:
        return None, None
    tail = _tail(units)
    low, high = np.quantile(finite, [tail, 1 - tail])
    return min(float(low), value), max(float(high), value)


def _tail(units: int) -> float:
    from scipy.special import ndtr, stdtrit  # imported here: scipy takes a third of a second

    return float(ndtr(math.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 - CONFIDENCE) / 2)))
