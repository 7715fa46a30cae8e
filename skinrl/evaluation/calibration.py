"""Whether a model knows when it is right: calibration, and accuracy when the least sure answers are left out.

Confidence comes from up to three sources, never mixed: `stated` (the report's Confidence line), `options` (the
option's share of the likelihood of all options offered) and `agreement` (the share of the sampled answers that name
the node of the greedy one). It is confidence in the answer that was given, so an answer that declines to name a
disease has none, and one that cannot be read neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import Cells, Floats, Measure, mean_measure, ratio
from skinrl.evaluation.bounds import Interval, known
from skinrl.evaluation.cases import Case
from skinrl.evaluation.predictions import Prediction

SOURCES = ("stated", "options", "agreement")
BINS = 10
COVERAGES = tuple((step + 1) / 20 for step in range(20))
_LEVELS = 200  # confidences that are told apart in risk and coverage; more of them are put together by rank


def confidences(case: Case, prediction: Prediction, samples: Sequence[Prediction] = ()) -> dict[str, float]:
    """Confidence in the answer of a prediction, from each source that has one.

    Raises:
        DataError: log-likelihoods for another number of options than the case offers.
    """
    found: dict[str, float] = {}
    logps = prediction.option_logps
    if logps and len(logps) != len(case.option_nodes):
        raise DataError(f"prediction {case.id}: {len(logps)} option_logps for {len(case.option_nodes)} options")
    named = prediction.answer_node is not None
    if prediction.confidence is not None and (named or prediction.outcome == "unresolved"):
        found["stated"] = prediction.confidence
    if logps and named:
        top = max(logps)
        weights = [math.exp(logp - top) for logp in logps]
        of_answer = [w for w, node in zip(weights, case.option_nodes, strict=True) if node == prediction.answer_node]
        if of_answer:
            found["options"] = math.fsum(of_answer) / math.fsum(weights)
    if samples and named:
        found["agreement"] = sum(one.answer_node == prediction.answer_node for one in samples) / len(samples)
    return found


@dataclass(frozen=True, eq=False)
class Confident:
    """One source's confidence in the answers to a set.

    Args:
        source: one of `SOURCES`.
        values: (cases,), NaN where there is none.
        hits: (cases,), 1 where the answer is right.
    """

    source: str
    values: Floats
    hits: Floats

    @property
    def has(self) -> NDArray[np.bool_]:
        """Which answers have a confidence, (cases,)."""
        return ~np.isnan(self.values)


def confident(rows: Sequence[Mapping[str, float]], hits: Floats) -> list[Confident]:
    """The sources that have a confidence for at least one answer; `rows` holds those of each case."""
    found = []
    for source in SOURCES:
        values = np.array([row.get(source, math.nan) for row in rows], dtype=float)
        if not np.isnan(values).all():
            found.append(Confident(source, values, hits))
    return found


def summary_measures(one: Confident) -> list[Measure]:
    """`ece`, `brier` and `aurc` of a source, which groups and comparisons show like any other metric.

    - Expected calibration error over ten bins of equal width, (low, high] as in Guo et al. 2017: the mean of
      |accuracy - confidence| over bins, weighted by their cases. Chance alone makes it larger than 0.
    - Brier score of the answer given: mean of (confidence - right)².
    - Area under the risk-coverage curve (Geifman, Uziel and El-Yaniv 2019): the share of wrong answers among the k
      most confident, averaged over k. Answers without a confidence come last; among equals the order is left to
      chance, and its expectation taken.
    """
    has = one.has
    everything = np.ones(len(has), dtype=bool)
    error = np.where(has, (np.nan_to_num(one.values) - one.hits) ** 2, 0.0)
    cells, _ = _levels(one)
    named = f"_{one.source}"
    return [
        Measure(f"ece{named}", _bin_cells(one), _calibration_error, has, False, True),
        mean_measure(f"brier{named}", error, has, bounded=False, lower_is_better=True),
        Measure(f"aurc{named}", cells, area_under_risk_coverage, everything, False, True),
    ]


def _bin_of(values: Floats) -> NDArray[np.intp]:
    edges = np.linspace(0, 1, BINS + 1)
    return np.searchsorted(edges[1:-1], values, side="left")


def _bin_cells(one: Confident) -> Cells:
    """Sums of confidence, of right answers and of answers in each bin."""
    cases = np.flatnonzero(one.has)
    values = one.values[cases]
    bins = _bin_of(values)
    return Cells(
        np.tile(cases, 3),
        np.concatenate([bins, bins + BINS, bins + 2 * BINS]),
        np.concatenate([values, one.hits[cases], np.ones(len(cases))]),
        (len(one.values), 3 * BINS),
    )


def _calibration_error(sums: Floats) -> Floats:
    stated, right, count = np.split(sums, 3, axis=-1)
    return ratio(np.abs(right - stated).sum(axis=-1), count.sum(axis=-1))


def _levels(one: Confident) -> tuple[Cells, Floats]:
    """Answers and wrong answers at each level of confidence, from the surest down, and the levels' lowest confidence.

    The last level is that of the answers without a confidence (NaN).
    """
    stated = np.sort(one.values[one.has])
    lowest = np.unique(stated)
    if len(lowest) > _LEVELS:
        lowest = np.unique(stated[np.linspace(0, len(stated) - 1, _LEVELS).astype(int)])
    level = np.full(len(one.values), len(lowest))
    level[one.has] = len(lowest) - np.searchsorted(lowest, one.values[one.has], side="right")
    cases, width = np.arange(len(level)), len(lowest) + 1
    cells = Cells(
        np.tile(cases, 2),
        np.concatenate([level, level + width]),
        np.concatenate([np.ones(len(level)), 1 - one.hits]),
        (len(level), 2 * width),
    )
    return cells, np.append(lowest[::-1], np.nan)


def area_under_risk_coverage(sums: Floats) -> Floats:
    """AURC from sums (..., 2 L): answers at each of L levels from the surest down, then wrong answers at each.

    Within a level of m answers with e wrong ones, after C answers with E wrong ones before it, a random order has
    E + e i / m wrong ones after C + i answers on average; summed over i that is e + (E - e C / m) (H(C + m) - H(C)),
    H the harmonic numbers.
    """
    from scipy.special import digamma

    count, wrong = np.split(sums, 2, axis=-1)
    before, wrong_before = np.cumsum(count, axis=-1) - count, np.cumsum(wrong, axis=-1) - wrong
    share = np.nan_to_num(ratio(wrong, count))
    harmonic = digamma(before + count + 1) - digamma(before + 1)
    return ratio((wrong + (wrong_before - share * before) * harmonic).sum(axis=-1), count.sum(axis=-1))


def _accuracy_at(coverage: float) -> Callable[[Floats], Floats]:
    """Accuracy of the surest `coverage` of the answers, from the sums of `area_under_risk_coverage`."""

    def finish(sums: Floats) -> Floats:
        count, wrong = np.split(sums, 2, axis=-1)
        before = np.cumsum(count, axis=-1) - count
        taken = coverage * count.sum(axis=-1)
        share = np.nan_to_num(np.clip(ratio(taken[..., None] - before, count), 0.0, 1.0))
        return 1.0 - ratio((share * wrong).sum(axis=-1), taken)

    return finish


def detail_measures(one: Confident) -> list[Measure]:
    """What `blocks_of` shows beyond the summary: bins and the curve. Of the whole set only."""
    has = one.has
    bins = _bin_of(np.where(has, one.values, 0.0))
    cells, _ = _levels(one)
    everything = np.ones(len(has), dtype=bool)
    return [
        mean_measure(f"{one.source}/confidence", np.nan_to_num(one.values), has),
        mean_measure(f"{one.source}/accuracy", one.hits, has),
        mean_measure(f"{one.source}/covered", has.astype(float)),
        *(mean_measure(f"{one.source}/bin {bin}", one.hits, has & (bins == bin)) for bin in range(BINS)),
        *(Measure(f"{one.source}/at {at}", cells, _accuracy_at(at), everything) for at in COVERAGES),
    ]


def blocks_of(one: Confident, found: Mapping[str, Interval]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `calibration` and `risk_coverage` of `metrics.json` hold for a source.

    Args:
        found: intervals of `summary_measures` and `detail_measures`, by name.
    """

    def metric(name: str) -> dict[str, Any]:
        return found[name].as_dict()

    source, edges = one.source, np.linspace(0, 1, BINS + 1)
    calibration = {
        "ece": metric(f"ece_{source}"),
        "brier": metric(f"brier_{source}"),
        **{name: metric(f"{source}/{name}") for name in ("confidence", "accuracy", "covered")},
        "bins": [_bin(one, number, edges, metric(f"{source}/bin {number}")) for number in range(BINS)],
    }
    cells, lowest = _levels(one)
    count = np.bincount(cells.columns, weights=cells.values, minlength=cells.shape[1])
    wrong = float(1 - one.hits.mean())
    reached = np.cumsum(count[: len(lowest)]) / len(one.values)
    curve = [
        {"coverage": at, "threshold": _threshold(lowest, reached, at), "accuracy": metric(f"{source}/at {at}")}
        for at in COVERAGES
    ]
    perfect = np.array([1 - wrong, wrong, 0.0, wrong]) * len(one.values)
    risk_coverage = {
        "aurc": metric(f"aurc_{source}"),
        "aurc_best": float(area_under_risk_coverage(perfect)),
        "aurc_random": wrong,
        "curve": curve,
    }
    return calibration, risk_coverage


def _bin(one: Confident, number: int, edges: Floats, accuracy: dict[str, Any]) -> dict[str, Any]:
    inside = one.has & (_bin_of(np.where(one.has, one.values, 0.0)) == number)
    return {
        "low": round(float(edges[number]), 6),
        "high": round(float(edges[number + 1]), 6),
        "n": int(inside.sum()),
        "confidence": float(one.values[inside].mean()) if inside.any() else None,
        "accuracy": accuracy,
    }


def _threshold(lowest: Floats, reached: Floats, coverage: float) -> float | None:
    """The lowest confidence among the surest `coverage` of the answers; None where some of these have none."""
    return known(float(lowest[int(np.searchsorted(reached, coverage - 1e-9))]))
