"""Intervals cover what they claim, agree with scipy and with a resampling written out by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import (
    Cells,
    Interval,
    Measure,
    Resampler,
    differences,
    intervals,
    mean_measure,
    resample_weights,
    wilson,
)
from skinrl.evaluation.metrics import _balanced_accuracy, _macro_f1

RNG_SEED = 7


def of_mean(values, groups, **settings) -> Interval:
    return intervals([mean_measure("x", np.asarray(values, float))], groups, **settings)["x"]


def names(count: int) -> list[str]:
    return [f"patient {number}" for number in range(count)]


def test_interval_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(RNG_SEED).random(400) ** 2
    ours = of_mean(values, names(400), resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.0015)
    assert ours.high == pytest.approx(theirs.high, abs=0.0015)
    assert ours.n == 400


def patients(rng: np.random.Generator, count: int, rate: float, spread: float = 3) -> tuple[np.ndarray, list[str]]:
    """Right or wrong answers of patients with 1 to 5 images each, alike within a patient (beta-binomial)."""
    own_rate = rng.beta(spread * rate, spread * (1 - rate), size=count)
    images = rng.integers(1, 6, size=count)
    return rng.random(images.sum()) < np.repeat(own_rate, images), list(np.repeat(names(count), images))


@pytest.mark.parametrize("count", [12, 40, 150])
def test_ninety_five_percent_of_intervals_hold_the_truth(count):
    rng, truth, covered, runs = np.random.default_rng(RNG_SEED), 0.7, 0, 400
    for _ in range(runs):
        values, groups = patients(rng, count, truth)
        found = of_mean(values, groups, resamples=400)
        covered += found.low <= truth <= found.high
    # 0.95 give or take three standard errors of 400 runs, and a little for the smallest set
    assert 0.90 <= covered / runs <= 0.985, covered / runs


def test_resampling_images_instead_of_patients_would_cover_too_little():
    """The reason for the groups: the same data with every image as its own patient."""
    rng, truth, by_image, by_patient, runs = np.random.default_rng(RNG_SEED), 0.7, 0, 0, 300
    for _ in range(runs):
        values, groups = patients(rng, 60, truth, spread=0.5)
        one, two = of_mean(values, names(len(values)), resamples=300), of_mean(values, groups, resamples=300)
        by_image += one.low <= truth <= one.high
        by_patient += two.low <= truth <= two.high
    assert by_image / runs < 0.88
    assert by_patient / runs > 0.91


def test_paired_differences_cover_the_truth_and_are_narrower_than_unpaired_ones():
    rng, covered, runs, narrower = np.random.default_rng(RNG_SEED), 0, 300, []
    for _ in range(runs):
        ability = rng.random(80)  # what makes a case hard for both models
        draw = rng.random(80)
        first, second = draw < 0.6 * ability, draw < 0.6 * ability + 0.1
        one, two = (mean_measure("x", side.astype(float)) for side in (first, second))
        paired = differences([one], [two], names(80), resamples=400)["x"]
        covered += paired.low <= 0.1 <= paired.high
        alone = [of_mean(side, names(80), resamples=400) for side in (first, second)]
        narrower.append(paired.high - paired.low < math.hypot(*(side.high - side.low for side in alone)))
    assert 0.91 <= covered / runs <= 0.985, covered / runs
    assert np.mean(narrower) > 0.95


def test_every_resample_equals_scikit_learn_on_the_repeated_cases():
    rng = np.random.default_rng(RNG_SEED)
    gold, answer = rng.integers(3, size=40), rng.integers(4, size=40)  # answer 3 belongs to no class
    answer[:20] = gold[:20]
    groups = [f"{number:02d}" for number in rng.integers(10, size=40)]
    support, called = np.eye(4)[gold][:, :3], np.eye(4)[answer][:, :3]
    columns = np.concatenate([support, called, support * called], axis=1)
    everyone = np.ones(40, dtype=bool)
    measures = [Measure("b", columns, _balanced_accuracy, everyone), Measure("f", columns, _macro_f1, everyone)]
    found = intervals(measures, groups, resamples=50, seed=3)

    order, code = np.unique(groups, return_inverse=True)
    rows = []
    for weights in resample_weights(len(order), 50, 3).T:
        repeated = np.repeat(np.arange(40), weights[code].astype(int))
        present = sorted(set(gold[repeated]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of answers that are no class of the resample
            balanced = balanced_accuracy_score(gold[repeated], answer[repeated])
        f1 = f1_score(gold[repeated], answer[repeated], labels=present, average="macro", zero_division=0)
        rows.append((balanced, f1))
    tail = scipy.stats.norm.cdf(np.sqrt(len(order) / (len(order) - 1)) * scipy.stats.t.ppf(0.025, len(order) - 1))
    for column, name in enumerate("bf"):
        low, high = np.quantile(np.array(rows)[:, column], [tail, 1 - tail])
        assert (found[name].low, found[name].high) == pytest.approx((low, high))
    assert found["f"].value == pytest.approx(f1_score(gold, answer, labels=[0, 1, 2], average="macro"))


def test_every_group_is_drawn_as_often_as_any_other():
    drawn = resample_weights(20, 5000, 1)
    assert drawn.shape == (20, 5000)
    assert (drawn.sum(axis=0) == 20).all()
    assert drawn.mean(axis=1) == pytest.approx(np.ones(20), abs=0.06)
    assert drawn.var() == pytest.approx(0.95, abs=0.02)  # of a binomial: 20 * 1/20 * 19/20


def test_large_sets_are_drawn_in_blocks_that_change_nothing(monkeypatch):
    values, groups = patients(np.random.default_rng(RNG_SEED), 50, 0.6)
    whole = of_mean(values, groups, resamples=200)
    monkeypatch.setattr("skinrl.evaluation.bootstrap._CELLS", 8 * 50 * 7)
    assert of_mean(values, groups, resamples=200) == whole


def test_wilson_agrees_with_scipy():
    for right, n in ((0, 5), (3, 10), (49, 50), (600, 600)):
        theirs = scipy.stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
        assert wilson(right / n, n) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_at_zero_and_a_hundred_percent_wilson_counts_patients_not_images(share):
    groups = [name for name in names(20) for _ in range(10)]
    found = of_mean(np.full(200, share), groups)
    assert found.low <= share <= found.high, "to the last digit"
    assert (found.low, found.high) == pytest.approx(wilson(share, 20))
    assert found.high - found.low > 0.15
    assert found.n == 200


def test_fewer_than_five_patients_get_a_wide_interval_or_none():
    values, groups = [1, 0, 1, 1, 1, 0], ["a", "a", "b", "b", "c", "c"]
    found = of_mean(values, groups)
    assert (found.low, found.high) == pytest.approx(wilson(4 / 6, 3))
    unbounded = mean_measure("severity", np.array([3.0, 1, 2, 2, 1, 4]), bounded=False)
    severity = intervals([unbounded], groups)["severity"]
    assert severity.value == pytest.approx(13 / 6)
    assert (severity.low, severity.high, severity.n) == (None, None, 6)
    assert differences([unbounded], [unbounded], groups)["severity"].low is None


def test_a_metric_without_cases_is_unknown_not_zero():
    nobody = mean_measure("x", np.ones(8), np.zeros(8, dtype=bool))
    assert intervals([nobody], names(8))["x"] == Interval(None, None, None, 0)


def test_patients_that_do_not_count_for_a_metric_do_not_count_as_units():
    counted = np.array([True] * 6 + [False] * 30)
    found = intervals([mean_measure("x", np.ones(36), counted)], names(36))["x"]
    assert (found.low, found.high) == pytest.approx(wilson(1.0, 6))
    assert found.n == 6


def test_two_models_that_answer_alike_differ_by_zero_but_not_for_certain():
    same = mean_measure("x", np.tile([1.0, 0.0], 50))
    found = differences([same], [same], names(100))["x"]
    assert found.value == 0.0
    assert (found.low, found.high) == pytest.approx((-wilson(0, 100)[1], wilson(0, 100)[1]))


def test_a_difference_is_second_minus_first_and_knows_which_cases_count_for_both():
    first = mean_measure("x", np.array([0.0, 0, 0, 1, 1, 1]), np.array([True] * 5 + [False]))
    second = mean_measure("x", np.ones(6))
    found = differences([first], [second], names(6))["x"]
    assert found.value == pytest.approx(1 - 2 / 5)
    assert found.n == 5


def test_the_same_seed_gives_the_same_interval_whatever_the_order_of_cases():
    values, groups = patients(np.random.default_rng(RNG_SEED), 30, 0.6)
    shuffled = np.random.default_rng(1).permutation(len(values))
    again = of_mean(values[shuffled], [groups[i] for i in shuffled])
    first = of_mean(values, groups)
    assert (again.low, again.high) == pytest.approx((first.low, first.high))
    assert of_mean(values, groups, seed=1) != first


def test_lengths_that_differ_are_refused():
    with pytest.raises(DataError, match="2 groups"):
        of_mean([1, 0, 1], ["a", "b"])
    with pytest.raises(DataError, match="same metrics"):
        differences([mean_measure("x", np.ones(2))], [mean_measure("y", np.ones(2))], ["a", "b"])


def test_intervals_of_a_part_from_the_draw_of_the_whole_set_hold_the_truth():
    """Fourteen patients of a hundred: how many of them a resample draws varies."""
    rng, truth, covered, runs = np.random.default_rng(RNG_SEED), 0.7, 0, 400
    for _ in range(runs):
        values, groups = patients(rng, 100, truth)
        part = np.flatnonzero(np.array([int(name.split()[1]) % 7 == 0 for name in groups]))
        resampler = Resampler(groups, resamples=300)
        found = resampler.measure([mean_measure("x", values.astype(float))], [part])[0].intervals()["x"]
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / runs <= 0.985, covered / runs


def test_a_part_is_measured_as_if_it_stood_alone():
    rng = np.random.default_rng(RNG_SEED)
    values, groups = patients(rng, 200, 0.6)
    part = np.flatnonzero(rng.random(len(values)) < 0.4)
    own = [groups[index] for index in part]
    whole = Resampler(groups).measure([mean_measure("x", values.astype(float))], [part])[0]
    alone = of_mean(values[part], own)
    found = whole.intervals()["x"]
    assert (found.value, found.n) == (alone.value, alone.n)
    assert whole.units[0] == len(set(own))
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.01)


def test_nearly_empty_columns_give_the_same_as_full_ones():
    rng = np.random.default_rng(RNG_SEED)
    full = np.where(rng.random((60, 9)) < 0.2, rng.integers(1, 4, size=(60, 9)), 0).astype(float)
    cases, columns = np.nonzero(full)
    cells = Cells(cases, columns, full[cases, columns], full.shape)
    everyone = np.ones(60, dtype=bool)
    groups, parts = names(20) * 3, [np.arange(60), np.arange(7, 41)]
    one, two = (Measure("m", block, _balanced_accuracy, everyone) for block in (full, cells))
    for a, b in zip(*(Resampler(groups, resamples=30).measure([m], parts) for m in (one, two)), strict=True):
        assert a.values == pytest.approx(b.values, nan_ok=True)
        assert a.replicates == pytest.approx(b.replicates, nan_ok=True)
