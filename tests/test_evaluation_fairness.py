"""Groups beside one another: fairlearn's and scipy's numbers, numbers worked by hand, and gaps that chance makes."""

from __future__ import annotations

import fairlearn.metrics
import numpy as np
import pytest
import scipy.stats
from evaluation_toys import case, scored, toy_taxonomy
from sklearn.metrics import accuracy_score, precision_score, recall_score

from skinrl.errors import DataError
from skinrl.evaluation.analysis import analyse
from skinrl.evaluation.bootstrap import Columns, Resampler, mean_measure
from skinrl.evaluation.fairness import fairness_of
from skinrl.evaluation.groups import Split

TOY = toy_taxonomy()
MALIGNANT, BENIGN = "nodular_melanoma", "naevus"


def rows_of(tones, right, gold=None, patients=None, **facts):
    """Cases with a Fitzpatrick type each (None: not known); a wrong answer is of the other side."""
    gold = ["naevus"] * len(tones) if gold is None else gold
    other = {MALIGNANT: BENIGN, BENIGN: MALIGNANT}
    patients = range(len(tones)) if patients is None else patients
    return [
        scored(
            TOY,
            case(str(i), g, group=f"p{p}", skin_tone=("fitzpatrick", str(tone)) if tone else None, **facts),
            g if hit else other[g],
        )
        for i, (tone, hit, g, p) in enumerate(zip(tones, right, gold, patients, strict=True))
    ]


def blocks_of(rows, **settings):
    return analyse(rows, TOY, **({"resamples": 100, "seed": 1} | settings)).blocks


def test_best_worst_gap_mean_and_score_worked_by_hand():
    tones = [1] * 20 + [3] * 20 + [6] * 20
    right = [1] * 14 + [0] * 6 + [1] * 12 + [0] * 8 + [1] * 6 + [0] * 14
    found = blocks_of(rows_of(tones, right))["fairness"]["skin_tone/fitzpatrick"]
    assert found["values"] == ["1", "3", "6"]
    assert found["where"] == ["by_skin_tone", "fitzpatrick"]
    accuracy = found["metrics"]["accuracy"]
    assert (accuracy["best"]["group"], accuracy["best"]["value"]) == ("1", pytest.approx(0.7))
    assert (accuracy["worst"]["group"], accuracy["worst"]["value"]) == ("6", pytest.approx(0.3))
    assert accuracy["gap"]["value"] == pytest.approx(0.4)
    assert accuracy["mean"]["value"] == pytest.approx((0.7 + 0.6 + 0.3) / 3)
    assert accuracy["score"]["value"] == pytest.approx(1 - (0.7 - 0.3) / 0.7)
    assert accuracy["gap"]["low"] <= 0.4 <= accuracy["gap"]["high"]
    assert accuracy["mean"]["n"] == 60
    severity = found["metrics"]["mistake_severity"]
    assert severity["lower_is_better"]
    assert severity["best"]["value"] <= severity["worst"]["value"]
    assert severity["score"] is None


def test_groups_agree_with_fairlearn():
    rng = np.random.default_rng(4)
    tones, right = rng.integers(1, 7, size=400), rng.random(400) < 0.7
    gold = np.where(rng.random(400) < 0.5, MALIGNANT, BENIGN)
    blocks = blocks_of(rows_of(tones, right, gold))
    found = blocks["fairness"]["skin_tone/fitzpatrick"]
    truth = (gold == MALIGNANT).astype(int)
    called = np.where(right, truth, 1 - truth)
    frame = fairlearn.metrics.MetricFrame(
        metrics={"accuracy": accuracy_score, "recall": recall_score},
        y_true=truth, y_pred=called, sensitive_features=tones,
    )  # fmt: skip
    accuracy, sensitivity = found["metrics"]["accuracy"], found["metrics"]["malignancy_sensitivity"]
    for metric, name in ((accuracy, "accuracy"), (sensitivity, "recall")):
        assert metric["best"]["value"] == pytest.approx(frame.group_max()[name])
        assert metric["worst"]["value"] == pytest.approx(frame.group_min()[name])
        assert metric["gap"]["value"] == pytest.approx(frame.difference()[name])
        assert metric["score"]["value"] == pytest.approx(frame.ratio()[name])
    for tone, by_type in blocks["by_skin_tone"]["fitzpatrick"].items():
        assert by_type["accuracy"]["value"] == pytest.approx(frame.by_group["accuracy"][int(tone)])
    theirs = fairlearn.metrics.equal_opportunity_difference(truth, called, sensitive_features=tones)
    assert min(sum((tones == t) & (gold == MALIGNANT)) for t in range(1, 7)) >= 20
    assert found["equal_opportunity"]["difference"]["value"] == pytest.approx(theirs)


def test_equal_opportunity_needs_twenty_positives_in_a_group():
    tones = [1] * 20 + [3] * 25 + [6] * 19 + [6] * 40
    gold = [MALIGNANT] * 64 + [BENIGN] * 40
    right = [1] * 15 + [0] * 5 + [1] * 10 + [0] * 15 + [0] * 19 + [1] * 40
    found = blocks_of(rows_of(tones, right, gold))["fairness"]["skin_tone/fitzpatrick"]["equal_opportunity"]
    assert found["difference"]["value"] == pytest.approx(15 / 20 - 10 / 25)
    assert found["difference"]["n"] == 45
    assert {value: one["positives"] for value, one in found["groups"].items()} == {"1": 20, "3": 25}
    assert found["left_out"] == {"6": 19}
    one_group = blocks_of(rows_of([1] * 20 + [3] * 10, [1] * 30, [MALIGNANT] * 30))
    assert one_group["fairness"]["skin_tone/fitzpatrick"]["equal_opportunity"] is None


def test_the_null_agrees_with_scipys_permutation_test():
    tones = [2] * 12 + [5] * 14
    right = np.array([1] * 10 + [0] * 2 + [1] * 6 + [0] * 8)
    null = blocks_of(rows_of(tones, right))["fairness"]["skin_tone/fitzpatrick"]["metrics"]["accuracy"]["null"]
    theirs = scipy.stats.permutation_test(
        (right[:12], right[12:]), lambda a, b: abs(a.mean() - b.mean()), n_resamples=20_000, alternative="greater",
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert null["permutations"] == 1000
    assert null["p"] == pytest.approx(theirs.pvalue, abs=0.03)
    assert null["mean"] == pytest.approx(theirs.null_distribution.mean(), abs=0.02)


def test_no_number_of_deals_proves_that_a_gap_is_impossible():
    found = blocks_of(rows_of([1] * 20 + [6] * 20, [1] * 20 + [0] * 20))["fairness"]["skin_tone/fitzpatrick"]
    assert found["metrics"]["accuracy"]["null"]["p"] == pytest.approx(1 / 1001)


def test_gaps_that_chance_makes_are_not_called_found():
    """Six small groups with nothing between them: large gaps, and p below 0.05 in about one of twenty."""
    rng, found = np.random.default_rng(2), []
    for _ in range(60):
        split, columns, resampler = answers(rng.random(72) < 0.6, np.repeat(list("123456"), 12))
        parts = resampler.measure(columns, list(split.parts.values()))
        accuracy = fairness_of(split, parts, columns, resampler, permutations=199)["metrics"]["accuracy"]
        found.append((accuracy["gap"]["value"], accuracy["null"]["mean"], accuracy["null"]["p"]))
    gap, null, p = np.array(found).T
    assert gap.mean() == pytest.approx(null.mean(), abs=0.03)
    assert gap.mean() > 0.25
    assert (p < 0.05).mean() <= 0.12


def test_the_null_of_sensitivity_deals_the_malignant_cases_alone():
    """One tone with many malignant cases, one with few, one with none: scipy's test among the malignant."""
    tones = [1] * 60 + [3] * 60 + [6] * 10
    gold = [MALIGNANT] * 54 + [BENIGN] * 6 + [MALIGNANT] * 6 + [BENIGN] * 54 + [BENIGN] * 10
    right = np.array([1] * 38 + [0] * 16 + [1] * 6 + [1] * 3 + [0] * 3 + [1] * 54 + [1] * 10)
    found = blocks_of(rows_of(tones, right, gold))["fairness"]["skin_tone/fitzpatrick"]["metrics"]
    sensitivity = found["malignancy_sensitivity"]
    assert sensitivity["left_out"] == ["6"]
    theirs = scipy.stats.permutation_test(
        (right[:54], right[60:66]), lambda a, b: abs(a.mean() - b.mean()), n_resamples=20_000, alternative="greater",
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert sensitivity["null"]["p"] == pytest.approx(theirs.pvalue, abs=0.03)
    assert sensitivity["null"]["mean"] == pytest.approx(theirs.null_distribution.mean(), abs=0.02)


def test_the_null_of_the_predictive_value_leaves_each_group_its_malignant_and_its_benign_cases():
    tones = np.array([1] * 60 + [6] * 60)
    truth = np.array([1] * 48 + [0] * 12 + [1] * 8 + [0] * 52)
    right = np.random.default_rng(3).random(120) < 0.75
    rows = rows_of(tones, right, np.where(truth == 1, MALIGNANT, BENIGN))
    found = blocks_of(rows, prevalence=0.1)["fairness"]["skin_tone/fitzpatrick"]["metrics"]["malignancy_ppv"]
    called = np.where(right, truth, 1 - truth)

    def gap(tone):
        values = []
        for one in (1, 6):
            found, alarms = (called[(tone == one) & (truth == side)].mean() for side in (1, 0))
            values.append(0.1 * found / (0.1 * found + 0.9 * alarms) if found + alarms else np.nan)
        return abs(values[0] - values[1])

    assert found["gap"]["value"] == pytest.approx(gap(tones))
    rng, dealt = np.random.default_rng(1), []
    for _ in range(2000):
        tone = tones.copy()
        for side in (0, 1):
            tone[truth == side] = rng.permutation(tones[truth == side])
        dealt.append(gap(tone))
    assert found["null"]["mean"] == pytest.approx(np.nanmean(dealt), abs=0.015)
    assert found["null"]["high"] == pytest.approx(np.nanquantile(dealt, 0.95), abs=0.04)


def answers(right, values):
    """A split of bare right and wrong answers, of a patient each."""
    columns = Columns([mean_measure("accuracy", np.asarray(right, float))], len(right))
    resampler = Resampler([f"p{n:04d}" for n in range(len(right))], resamples=2, seed=1)
    parts = {value: np.flatnonzero(np.asarray(values) == value) for value in np.unique(values)}
    return Split(("by_modality",), parts, True), columns, resampler


def test_patients_are_dealt_and_not_their_images():
    """Ten images of each patient are right or wrong together: dealt one by one they would make any gap significant."""
    tones = np.repeat([1] * 8 + [6] * 8, 10)
    right = np.repeat([1] * 6 + [0] * 2 + [1] * 4 + [0] * 4, 10)
    by_patient = blocks_of(rows_of(tones, right, patients=np.repeat(range(16), 10)))
    by_image = blocks_of(rows_of(tones, right))
    p = [
        blocks["fairness"]["skin_tone/fitzpatrick"]["metrics"]["accuracy"]["null"]["p"]
        for blocks in (by_patient, by_image)
    ]
    assert p[0] > 0.3
    assert p[1] < 0.01


def test_a_gap_is_shown_beside_the_mean_and_the_best_because_levelling_down_looks_fair():
    tones = [1] * 20 + [6] * 20
    uneven = blocks_of(rows_of(tones, [1] * 18 + [0] * 2 + [1] * 12 + [0] * 8))
    levelled = blocks_of(rows_of(tones, ([1] * 8 + [0] * 12) * 2))
    one, two = (blocks["fairness"]["skin_tone/fitzpatrick"]["metrics"]["accuracy"] for blocks in (uneven, levelled))
    assert two["gap"]["value"] < one["gap"]["value"]
    assert two["score"]["value"] > one["score"]["value"]
    assert two["mean"]["value"] < one["mean"]["value"]
    assert two["best"]["value"] < one["worst"]["value"]


def test_a_score_is_undefined_where_every_group_is_at_zero():
    found = blocks_of(rows_of([1] * 6 + [6] * 6, [0] * 12))["fairness"]["skin_tone/fitzpatrick"]["metrics"]
    assert found["accuracy"]["gap"]["value"] == 0
    assert found["accuracy"]["score"] is None


def test_small_groups_and_unknown_values_are_not_compared():
    tones = [1] * 8 + [3] * 8 + [6] * 4 + [None] * 5
    found = blocks_of(rows_of(tones, [1] * 25))["fairness"]["skin_tone/fitzpatrick"]
    assert found["values"] == ["1", "3"]
    assert found["left_out"] == [{"value": "6", "groups": 4, "cases": 4}]
    assert found["unknown"] == 5
    few = blocks_of(rows_of([1] * 8 + [6] * 4, [1] * 12))["fairness"]["skin_tone/fitzpatrick"]
    assert few["metrics"] == {}
    patients = [*range(8), *[8, 9, 10, 11] * 5]
    many_images = blocks_of(rows_of([1] * 8 + [6] * 20, [1] * 28, patients=patients))["fairness"]
    assert many_images["skin_tone/fitzpatrick"]["left_out"] == [{"value": "6", "groups": 4, "cases": 20}]
    assert "skin_tone/fitzpatrick" not in blocks_of(rows_of([1] * 8, [1] * 8))["fairness"]


def test_a_group_with_too_few_patients_for_a_metric_is_left_out_of_that_metric_alone():
    tones = [1] * 10 + [3] * 10 + [6] * 10
    gold = [MALIGNANT] * 5 + [BENIGN] * 5 + [MALIGNANT] * 6 + [BENIGN] * 4 + [MALIGNANT] * 4 + [BENIGN] * 6
    found = blocks_of(rows_of(tones, [1] * 30, gold))["fairness"]["skin_tone/fitzpatrick"]["metrics"]
    assert found["malignancy_sensitivity"]["left_out"] == ["6"]
    assert found["accuracy"]["left_out"] == []


def test_axes_are_the_scales_one_by_one_modality_source_sex_and_age():
    rng = np.random.default_rng(1)
    rows = []
    for i in range(120):
        scale, value = (("fitzpatrick", i % 6 + 1), ("monk", i % 10 + 1), ("apparent", "dark" if i % 2 else "light"))[
            i % 3
        ]
        one = case(
            str(i), "naevus", skin_tone=(scale, str(value)), modality=("clinical", "dermoscopy")[i % 2],
            source="ab"[i % 2], slices={"sex": "fm"[i % 2], "age": str(20 + i % 60), "site": "armleg"[i % 2]},
        )  # fmt: skip
        rows.append(scored(TOY, one, "naevus" if rng.random() < 0.5 else "eczema"))
    blocks = blocks_of(rows)
    assert set(blocks["fairness"]) == {
        "skin_tone/fitzpatrick", "skin_tone/fitzpatrick_bands", "skin_tone/monk", "skin_tone/apparent",
        "modality", "source", "sex", "age_band",
    }  # fmt: skip
    assert set(blocks["by_skin_tone"]["fitzpatrick_bands"]) <= {"light", "medium", "dark", "unknown"}
    assert set(blocks["by_slice"]["age_band"]) == {"20-39", "40-59", "60-79"}
    assert blocks["slices_left_out"] == ["age"]


def test_malignancy_agrees_with_scikit_learn_and_bayes():
    rng = np.random.default_rng(8)
    gold = np.where(rng.random(200) < 0.3, MALIGNANT, BENIGN)
    right = rng.random(200) < 0.8
    rows = rows_of([None] * 200, right, gold)
    truth = (gold == MALIGNANT).astype(int)
    called = np.where(right, truth, 1 - truth)
    found = analyse(rows, TOY, resamples=50, seed=1)
    assert found.blocks["prevalence"] == {"value": pytest.approx(truth.mean()), "source": "set"}
    assert found.metrics["malignancy_ppv"]["value"] == pytest.approx(precision_score(truth, called))
    sensitivity = recall_score(truth, called)
    specificity = recall_score(truth, called, pos_label=0)
    assert found.metrics["malignancy_sensitivity"]["value"] == pytest.approx(sensitivity)
    assert found.metrics["malignancy_specificity"]["value"] == pytest.approx(specificity)
    rare = analyse(rows, TOY, resamples=50, seed=1, prevalence=0.02)
    by_bayes = 0.02 * sensitivity / (0.02 * sensitivity + 0.98 * (1 - specificity))
    assert rare.metrics["malignancy_ppv"]["value"] == pytest.approx(by_bayes)
    assert rare.blocks["prevalence"] == {"value": 0.02, "source": "recipe"}
    with pytest.raises(DataError, match="prevalence"):
        analyse(rows, TOY, resamples=50, seed=1, prevalence=2)


def test_saying_neither_is_no_false_alarm():
    rows = [scored(TOY, case(str(i), MALIGNANT), MALIGNANT) for i in range(6)]
    rows += [scored(TOY, case(f"b{i}", BENIGN), BENIGN, malignancy="uncertain") for i in range(6)]
    found = analyse(rows, TOY, resamples=20, seed=1).metrics
    assert found["malignancy_specificity"]["value"] == 0.0
    assert found["malignancy_ppv"]["value"] == 1.0
