"""The linear probe: against scikit-learn used by hand, on labels at several depths, and as answers like a model's."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_toys import case, toy_taxonomy
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skinrl.errors import DataError
from skinrl.evaluation import read_evaluation
from skinrl.evaluation.evaluate import Evaluation
from skinrl.evaluation.probe import STRENGTHS, Labelled, finest, fit_probe, probe_predictions

TOY = toy_taxonomy()
LEAVES = ("naevus", "nodular_melanoma", "psoriasis", "eczema")


def images(count: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, list[str]]:
    """Features around one corner for each diagnosis."""
    rng = np.random.default_rng(seed)
    labels = [LEAVES[n % len(LEAVES)] for n in range(count)]
    corners = 2 * np.eye(len(LEAVES), 6)
    features = np.stack([corners[LEAVES.index(one)] for one in labels]) + rng.normal(0, spread, (count, 6))
    return features.astype(np.float32), labels


def labelled(features, labels) -> Labelled:
    groups = tuple(f"p{n // 2}" for n in range(len(labels)))
    return Labelled(features, tuple(((one, 1.0),) for one in labels), groups)


def test_probabilities_are_those_of_scikit_learn_with_the_penalty_that_was_chosen():
    features, labels = images(160)
    probe = fit_probe(labelled(features, labels), None, TOY, seed=0)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=probe.about["C"], max_iter=500).fit(scaler.transform(features), labels)
    asked, _ = images(40, seed=1)
    assert list(probe.classes) == list(model.classes_) == sorted(LEAVES)
    np.testing.assert_allclose(probe.probabilities(asked), model.predict_proba(scaler.transform(asked)), atol=2e-3)
    assert probe.about["C_chosen_by"] == "5 folds over patients"


def test_the_penalty_is_the_best_on_the_validation_part_where_that_is_large_enough():
    features, labels = images(80, spread=2.5)
    checked, wanted = images(400, seed=1, spread=2.5)
    probe = fit_probe(labelled(features, labels), labelled(checked, wanted), TOY, seed=0)
    scaler = StandardScaler().fit(features)
    accuracy = {
        strength: LogisticRegression(C=strength, max_iter=500)
        .fit(scaler.transform(features), labels)
        .score(scaler.transform(checked), wanted)
        for strength in STRENGTHS
    }
    assert accuracy[probe.about["C"]] >= max(accuracy.values()) - 0.005  # fits start from one another here
    assert probe.about["accuracy_when_chosen"] == pytest.approx(accuracy[probe.about["C"]], abs=0.005)
    assert probe.about["C_chosen_by"] == "400 validation images"
    few = fit_probe(labelled(features, labels), labelled(checked[:99], wanted[:99]), TOY, seed=0)
    assert few.about["C_chosen_by"] == "5 folds over patients"


def test_an_encoder_that_learnt_these_images_is_checked_on_others_however_few():
    features, labels = images(80)
    checked, wanted = images(20, seed=1)
    learnt = fit_probe(labelled(features, labels), labelled(checked, wanted), TOY, seed=0, learnt=True)
    assert learnt.about["C_chosen_by"] == "20 validation images"
    assert learnt.about["encoder_was_trained_on_these_images"]


def test_patients_are_not_torn_apart_when_the_penalty_is_chosen():
    """Features that name the patient and say nothing of the disease: across patients nothing is learnt."""
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(60), 4, axis=0).astype(np.float32)
    labels = np.repeat([LEAVES[n % 2] for n in rng.permutation(60)], 4)
    golds = tuple(((str(one), 1.0),) for one in labels)
    order = rng.permutation(240)  # neighbouring rows are not of one patient
    together = Labelled(features, golds, tuple(f"p{n // 4}" for n in range(240))).part(order)
    torn = Labelled(features, golds, tuple(f"p{n}" for n in range(240))).part(order)
    assert fit_probe(together, None, TOY, seed=0).about["accuracy_when_chosen"] < 0.6
    assert fit_probe(torn, None, TOY, seed=0).about["accuracy_when_chosen"] > 0.95


def test_the_finest_labels_are_the_classes():
    assert finest(["naevus", "melanocytic", "psoriasis", "skin"], TOY) == ("naevus", "psoriasis")
    assert finest(["melanoma", "lichenoid_keratosis", "inflammatory"], TOY) == ("lichenoid_keratosis", "melanoma")


def test_images_labelled_at_an_inner_node_help_and_count_for_a_class_below_it():
    """Few images say naevus or melanoma, many say melanocytic; the latter still tell where the classes lie."""
    features, labels = images(600, spread=1.2)
    rng = np.random.default_rng(2)
    above = {"naevus": "melanocytic", "nodular_melanoma": "melanocytic"}
    coarse = [above.get(one, one) if rng.random() < 0.95 else one for one in labels]
    asked, wanted = images(800, seed=1, spread=1.2)
    with_them = fit_probe(labelled(features, coarse), None, TOY, seed=0)
    sure = [n for n, one in enumerate(coarse) if one != "melanocytic"]
    without = fit_probe(labelled(features[sure], [coarse[n] for n in sure]), None, TOY, seed=0)

    def accuracy(probe) -> float:
        found = probe.probabilities(asked).argmax(axis=1)
        return float(np.mean([probe.classes[at] == one for at, one in zip(found, wanted, strict=True)]))

    assert with_them.classes == without.classes == tuple(sorted(LEAVES))
    assert with_them.about["training_images_at_inner_nodes"] == 600 - len(sure)
    assert accuracy(with_them) > accuracy(without) + 0.05


def test_a_class_below_the_label_of_a_checked_image_is_right():
    features, labels = images(160, spread=0.3)
    checked, wanted = images(120, seed=1, spread=0.3)
    above = {"naevus": "melanocytic", "nodular_melanoma": "melanocytic"}
    probe = fit_probe(
        labelled(features, labels), labelled(checked, [above.get(one, one) for one in wanted]), TOY, seed=0
    )
    assert probe.about["accuracy_when_chosen"] > 0.95


def test_of_a_weighted_differential_the_heaviest_counts():
    features, labels = images(80)
    golds = tuple(((one, 0.6), (LEAVES[(LEAVES.index(one) + 1) % 4], 0.4)) for one in labels)
    weighted = fit_probe(Labelled(features, golds, tuple(map(str, range(80)))), None, TOY, seed=0)
    certain = fit_probe(
        Labelled(features, labelled(features, labels).golds, tuple(map(str, range(80)))), None, TOY, seed=0
    )
    np.testing.assert_allclose(weighted.probabilities(features), certain.probabilities(features))


def test_too_little_to_learn_from_is_refused():
    features, _ = images(4)
    with pytest.raises(DataError, match="at least two diagnoses; found naevus"):
        fit_probe(labelled(features, ["naevus", "melanocytic"] * 2), None, TOY, seed=0)
    with pytest.raises(DataError, match="a label and a patient for every image"):
        Labelled(features, (((("naevus"), 1.0),),) * 3, ("a",) * 4)


class Told:
    """Stands for a scaler and a classifier whose probabilities are given, to work answers out on paper."""

    def __init__(self, chances):
        self.chances = np.array(chances)

    def transform(self, features):
        return features

    def predict_proba(self, features):
        return np.repeat(self.chances[None], len(features), axis=0)


def answered(one, chances=(0.4, 0.3, 0.2, 0.1)):
    from skinrl.evaluation.probe import Probe

    told = Told(chances)
    probe = Probe(("nodular_melanoma", "naevus", "psoriasis", "eczema"), {}, told, told)
    return probe_predictions(probe, [one], np.zeros((1, 3), np.float32), TOY)[0]


def test_an_open_question_gets_the_most_probable_class_and_the_others_as_differential():
    found = answered(case("a", "melanoma"))
    assert (found.answer_node, found.outcome, found.credit) == ("nodular_melanoma", "ok", 1.0)
    assert found.differential == ("nodular_melanoma", "naevus", "psoriasis", "eczema")
    assert found.confidence == pytest.approx(0.4)
    assert found.completion == "linear probe: nodular melanoma 40%, naevus 30%, psoriasis 20%, eczema 10%"


def test_of_options_the_most_specific_that_covers_the_most_probable_class_is_answered():
    """Melanoma covers the most probable class more closely than melanocytic; psoriasis and its parent come after."""
    nodes = ("melanocytic", "inflammatory", "melanoma", "psoriasis")
    one = case("a", "nodular_melanoma", kind="options", options=nodes, option_nodes=nodes)
    found = answered(one)
    assert found.answer_node == "melanoma"
    assert found.differential == ("melanoma", "melanocytic", "psoriasis", "inflammatory")
    nothing = case(
        "a", "naevus", kind="options", options=("x", "y"), option_nodes=("keratinocytic", "seborrheic_keratosis")
    )
    assert (answered(nothing).outcome, answered(nothing).answer_node) == ("unresolved", None)
    part = case("a", "naevus", kind="options", options=("x", "y"), option_nodes=("eczema", "keratinocytic"))
    assert answered(part).answer_node == "eczema"  # the only class that an option covers


def test_an_option_counts_with_all_classes_that_it_stands_for():
    """Psoriasis and eczema are the likelier option together, though neither is the likeliest class."""
    nodes = ("nodular_melanoma", "inflammatory")
    found = answered(case("a", "eczema", kind="options", options=nodes, option_nodes=nodes), (0.36, 0.04, 0.3, 0.3))
    assert (found.answer_node, found.differential) == ("inflammatory", ("inflammatory", "nodular_melanoma"))
    assert found.confidence == pytest.approx(0.6)


def test_a_probe_is_evaluated_and_read_back_like_a_model(tmp_path):
    features, labels = images(160)
    probe = fit_probe(labelled(features, labels), None, TOY, seed=0)
    asked, wanted = images(60, seed=1)
    cases = tuple(case(str(n), one) for n, one in enumerate(wanted))
    made = Evaluation(taxonomy=TOY, cases=cases, greedy=probe_predictions(probe, cases, asked, TOY))
    metrics = made.write(tmp_path, resamples=50)
    right = probe.probabilities(asked).argmax(axis=1)
    assert metrics["accuracy"]["value"] == pytest.approx(
        np.mean([probe.classes[at] == one for at, one in zip(right, wanted, strict=True)])
    )
    assert metrics["accuracy"]["value"] > 0.7
    assert metrics["malignancy_sensitivity"]["n"] == 15
    assert read_evaluation(tmp_path, TOY).greedy == made.greedy
