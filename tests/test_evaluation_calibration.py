"""Calibration, risk and coverage: scikit-learn's numbers, numbers worked by hand, and every order tried out."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import scipy.special
from evaluation_toys import answer, case, toy_taxonomy, written
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from skinrl.errors import DataError
from skinrl.evaluation import Reply, evaluate
from skinrl.evaluation.bootstrap import intervals
from skinrl.evaluation.calibration import BINS, Confident, confidences, confident, detail_measures, summary_measures
from skinrl.report import DiagnosticReport

TOY = toy_taxonomy()
NONE = float("nan")


def measured(values, hits) -> dict[str, float]:
    """Values of all measures of one source, each case its own patient."""
    one = Confident("stated", np.array(values, float), np.array(hits, float))
    found = intervals(
        [*summary_measures(one), *detail_measures(one)], list(map(str, range(len(values)))), resamples=20
    )
    return {name: interval.value for name, interval in found.items()}


def test_calibration_error_worked_by_hand():
    # (0.8, 0.9]: three answers, 0.9 each, two right; (0.5, 0.6]: one, 0.6, wrong; at 0: one, wrong
    found = measured([0.9, 0.9, 0.9, 0.6, 0.0], [1, 1, 0, 0, 0])
    assert found["ece_stated"] == pytest.approx(3 / 5 * (0.9 - 2 / 3) + 1 / 5 * 0.6)
    assert found["brier_stated"] == pytest.approx((2 * 0.01 + 0.81 + 0.36 + 0) / 5)


@pytest.mark.parametrize("step", [None, 0.05])
def test_calibration_agrees_with_scikit_learn(step):
    rng = np.random.default_rng(3)
    values = rng.random(500) if step is None else rng.integers(21, size=500) * step  # on the edges of the bins too
    hits = (rng.random(500) < values**2).astype(float)
    found = measured(values, hits)
    right, stated = calibration_curve(hits, values, n_bins=BINS)
    size = np.bincount(np.digitize(values, np.linspace(0, 1, BINS + 1)[1:-1], right=True), minlength=BINS)
    assert found["ece_stated"] == pytest.approx(np.average(abs(right - stated), weights=size[size > 0]))
    assert found["brier_stated"] == pytest.approx(brier_score_loss(hits, values))
    shown = [found[f"stated/bin {number}"] for number in range(BINS)]
    assert [one for one in shown if one is not None] == pytest.approx(right)


def curve(order, hits) -> float:
    """Area under the risk-coverage curve of one order, written out."""
    wrong = np.cumsum([1 - hits[index] for index in order])
    return float(np.mean(wrong / np.arange(1, len(wrong) + 1)))


def test_risk_coverage_of_distinct_confidences_is_the_plain_sum():
    rng = np.random.default_rng(5)
    values, hits = rng.permutation(40) / 40, (rng.random(40) < 0.6).astype(float)
    assert measured(values, hits)["aurc_stated"] == pytest.approx(curve(np.argsort(-values), hits))


def test_equal_confidences_count_as_the_mean_over_all_their_orders():
    values, hits = [0.9, 0.5, 0.5, 0.5, 0.5, NONE, NONE], [1, 1, 0, 0, 1, 0, 1]
    tied, last = [1, 2, 3, 4], [5, 6]
    every = [curve([0, *one, *two], hits) for one in permutations(tied) for two in permutations(last)]
    assert measured(values, hits)["aurc_stated"] == pytest.approx(np.mean(every))


def test_accuracy_at_a_coverage_worked_by_hand():
    # the surest fifth is right; of the next three (equal) two are wrong; the last has no confidence
    found = measured([0.9, 0.5, 0.5, 0.5, NONE], [1, 0, 0, 1, 1])
    assert found["stated/at 0.2"] == pytest.approx(1.0)
    assert found["stated/at 0.4"] == pytest.approx(1 - (2 / 3) / 2)
    assert found["stated/at 0.8"] == pytest.approx(1 - 2 / 4)
    assert found["stated/at 1.0"] == pytest.approx(3 / 5)
    assert found["stated/covered"] == pytest.approx(4 / 5)
    assert found["stated/accuracy"] == pytest.approx(2 / 4)


def test_many_confidences_are_put_together_by_rank_and_change_the_area_little():
    rng = np.random.default_rng(6)
    values = rng.random(5000)
    hits = (rng.random(5000) < values).astype(float)
    assert measured(values, hits)["aurc_stated"] == pytest.approx(curve(np.argsort(-values), hits), abs=5e-4)


def test_a_source_without_any_confidence_is_no_source():
    assert [one.source for one in confident([{}, {"agreement": 0.5}], np.zeros(2))] == ["agreement"]
    assert confident([{}, {}], np.zeros(2)) == []


def asked_with_options():
    nodes = ("naevus", "psoriasis", "eczema", "melanoma")
    return case("a", "naevus", kind="options", options=nodes, option_nodes=nodes)


def test_confidence_from_options_is_the_share_of_the_likelihood():
    logps = (-1000.0, -1003.0, -1001.5, -1002.0)  # of whole texts: exp alone would give 0
    reply = [Reply(DiagnosticReport("C", "non-neoplastic").render())]
    one = evaluate([asked_with_options()], TOY, greedy=reply, option_logps=[logps])
    found = confidences(one.cases[0], one.greedy[0])
    assert found == {"options": pytest.approx(scipy.special.softmax(logps)[2])}
    assert one.greedy[0].option_logps == logps


def test_log_likelihoods_of_other_options_are_refused():
    reply = [Reply(DiagnosticReport("C", "non-neoplastic").render())]
    with pytest.raises(DataError, match="case a: 3 log-likelihoods for 4 options"):
        evaluate([asked_with_options()], TOY, greedy=reply, option_logps=[(-1.0, -2.0, -3.0)])
    with pytest.raises(DataError, match="for 2 of 1 cases"):
        evaluate([asked_with_options()], TOY, greedy=reply, option_logps=[(), ()])
    row = replace(answer(asked_with_options(), "naevus"), option_logps=(-1.0,))
    with pytest.raises(DataError, match="1 option_logps for 4 options"):
        confidences(asked_with_options(), row)


def test_confidence_is_in_the_answer_that_was_given():
    def stated(diagnosis):
        reply = Reply(DiagnosticReport(diagnosis, confidence=80).render())
        return confidences(case("a", "naevus"), evaluate([case("a", "naevus")], TOY, greedy=[reply]).greedy[0])

    assert stated("naevus") == {"stated": 0.8}
    assert stated("dragon pox") == {"stated": 0.8}, "an answer, though it is no node"
    assert stated("undetermined") == {}, "sure that it cannot say"


def test_agreement_is_the_share_of_samples_with_the_same_node():
    asked = case("a", "naevus")
    samples = [answer(asked, node) for node in ("naevus", "naevus", "eczema", None)]
    assert confidences(asked, answer(asked, "naevus"), samples) == {"agreement": 0.5}
    assert confidences(asked, answer(asked, None, "invalid"), samples) == {}


def test_metrics_json_holds_bins_and_a_curve_for_each_source():
    rng = np.random.default_rng(1)
    cases = [case(str(i), "naevus") for i in range(60)]
    nodes = ["naevus" if rng.random() < 0.7 else "eczema" for _ in cases]
    replies = [Reply(DiagnosticReport(n, confidence=int(rng.integers(40, 100))).render()) for n in nodes]
    samples = [[Reply(written(TOY, "naevus"))] * 3 for _ in cases]
    found = evaluate(cases, TOY, greedy=replies, sampled=samples).metrics(resamples=50)
    for source in ("stated", "agreement"):
        block, risk = found["calibration"][source], found["risk_coverage"][source]
        assert block["ece"] == found[f"ece_{source}"]
        assert risk["aurc"] == found[f"aurc_{source}"]
        assert len(block["bins"]) == BINS
        assert sum(one["n"] for one in block["bins"]) == 60
        assert [one["coverage"] for one in risk["curve"]] == [(step + 1) / 20 for step in range(20)]
        assert risk["curve"][-1]["accuracy"]["value"] == pytest.approx(found["accuracy"]["value"])
        assert risk["aurc_best"] <= risk["aurc"]["value"]
        assert risk["aurc_random"] == pytest.approx(1 - found["accuracy"]["value"])
    assert "options" not in found["calibration"]
    thresholds = [one["threshold"] for one in found["risk_coverage"]["stated"]["curve"]]
    assert thresholds == sorted(thresholds, reverse=True)
