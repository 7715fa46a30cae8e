"""The malignancy reward, case by case, and against the answer that costs nothing to learn."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
from reward_setup import OPEN_CASES, OPTION_CASES, TREE, batch, open_batch, option_batch, said

from skinrl.errors import PluginError
from skinrl.rewards import get_malignancy_reward, gold_behaviour
from skinrl.taxonomy import Node, Taxonomy

SCORES = {"gold": 1.0, "sibling": 1.0, "parent": 1.0, "very long": 1.0, "in situ sibling": 0.5}  # all else earns 0
LINE_ALONE = SCORES | {"wrong, but malignant": 1.0, "in situ sibling": 0.0}


def test_the_table_of_open_answers() -> None:
    scores = get_malignancy_reward(TREE)(**open_batch())
    assert dict(zip(OPEN_CASES, scores, strict=True)) == {case: SCORES.get(case, 0.0) for case in OPEN_CASES}


def test_the_table_of_options() -> None:
    scores = get_malignancy_reward(TREE)(**option_batch())
    right = {"letter", "letter and name", "name", "sibling"}
    assert dict(zip(OPTION_CASES, scores, strict=True)) == {case: float(case in right) for case in OPTION_CASES}


def test_the_line_alone_is_paid_where_the_recipe_says_so() -> None:
    reward = get_malignancy_reward(TREE, false_alarm=0.0, same_side=0.0, check_diagnosis=False)
    scores = dict(zip(OPEN_CASES, reward(**open_batch()), strict=True))
    assert scores == {case: LINE_ALONE.get(case, 0.0) for case in OPEN_CASES}


@pytest.mark.parametrize(
    ("gold", "diagnosis", "line", "expected"),
    [
        ("common_nevus", "common nevus", "benign", 1.0),
        ("common_nevus", "psoriasis", "non-neoplastic", 0.5),  # the wrong class of the right side
        ("common_nevus", "nodular melanoma", "malignant", 0.2),  # a false alarm
        ("nodular_melanoma", "common nevus", "benign", 0.0),  # a missed malignancy
        ("nodular_melanoma", "melanoma in situ", "precancerous or in situ", 0.5),
        ("common_nevus", "common nevus", "malignant", 0.0),  # an alarm that its own diagnosis contradicts
        ("nodular_melanoma", "common nevus", "malignant", 0.0),  # right, and contradicted by the diagnosis
        ("nodular_melanoma", "melanoma", "malignant", 1.0),  # melanoma holds an in situ leaf, and malignant ones
        ("nodular_melanoma", "melanocytic tumour", "malignant", 1.0),  # mixed: it contradicts neither
        ("nodular_melanoma", "melanocytic tumour", "non-neoplastic", 0.0),  # no leaf of it is
        ("nodular_melanoma", "undetermined", "malignant", 1.0),
        ("nodular_melanoma", "nodular melanoma", "uncertain", 0.0),
        ("nodular_melanoma", "nodular melanoma", "undetermined", 0.0),
        ("common_nevus", "atypical spitz tumour", "uncertain", 0.0),
    ],
)
def test_a_missed_malignancy_costs_most(gold: str, diagnosis: str, line: str, expected: float) -> None:
    assert get_malignancy_reward(TREE)(**batch({"a": said(diagnosis, line)}, gold)) == [expected]


@pytest.mark.parametrize("gold", [None, "skin_disease", "melanocytic", "melanoma", "spitz"])
def test_none_for_the_whole_prompt_where_the_gold_has_no_one_behaviour(gold: str | None) -> None:
    # melanoma holds an in situ leaf here: malignant or precancerous, so the class is not one
    assert get_malignancy_reward(TREE)(**open_batch(gold)) == [None] * len(OPEN_CASES)


def test_a_leaf_without_behaviour_makes_its_gold_unscorable() -> None:
    tree = Taxonomy(
        "t",
        [
            Node("root", "root"),
            Node("tumour", "tumour", ("root",)),
            Node("a", "first cancer", ("tumour",), behaviour="malignant"),
            Node("b", "strange lump", ("tumour",)),
        ],
    )
    texts = {"a": said("first cancer"), "b": said("strange lump", "benign")}
    reward = get_malignancy_reward(tree)
    assert reward(**batch(texts, "a")) == [1.0, 0.0]  # nothing is known of b, so its line contradicts nothing
    for gold in ("b", "tumour"):
        assert reward(**batch(texts, gold)) == [None, None]


def test_an_inner_gold_with_one_behaviour_is_scored() -> None:
    scores = get_malignancy_reward(TREE)(**batch({"a": said("mole", "benign"), "b": said("mole")}, "nevus"))
    assert scores == [1.0, 0.0]


def test_weighted_golds_are_scored_where_they_agree() -> None:
    assert gold_behaviour(TREE, (("nodular_melanoma", 0.5), ("superficial_melanoma", 0.5))) == "malignant"
    assert gold_behaviour(TREE, (("nodular_melanoma", 0.5), ("common_nevus", 0.5))) is None
    assert gold_behaviour(TREE, (("nodular_melanoma", 1.0), ("common_nevus", 0.0))) == "malignant"
    assert gold_behaviour(TREE, (("nodular_melanoma", 0.5), ("spitz", 0.5))) is None
    assert gold_behaviour(TREE, ()) is None


# --- answering malignant to everything ------------------------------------------------------------------------------

DISEASES = {
    "malignant": ("nodular_melanoma", "nodular melanoma"),
    "precancerous or in situ": ("in_situ", "melanoma in situ"),
    "benign": ("common_nevus", "common nevus"),
    "non-neoplastic": ("psoriasis", "psoriasis"),
}


def expected_score(cases: dict[str, float], answers: dict[tuple[str, str], float], **settings: Any) -> float:
    """Mean score over golds drawn from the prior and answers (class of the diagnosis, line) drawn from theirs."""
    reward = get_malignancy_reward(TREE, **settings)
    total = 0.0
    for (gold, share), ((diagnosis, line), often) in itertools.product(cases.items(), answers.items()):
        (score,) = reward(**batch({"a": said(DISEASES[diagnosis][1], line)}, DISEASES[gold][0]))
        assert score is not None
        total += share * often * score
    return total


def prior_of(malignant: float) -> dict[str, float]:
    return {
        "malignant": 0.7 * malignant,
        "precancerous or in situ": 0.3 * malignant,
        "benign": 0.4 * (1 - malignant),
        "non-neoplastic": 0.6 * (1 - malignant),
    }


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.2, 0.3, 0.35])
def test_one_malignant_answer_for_every_case_earns_less_than_guessing_by_prior(share: float) -> None:
    prior = prior_of(share)
    always = expected_score(prior, {("malignant", "malignant"): 1.0})
    assert always < expected_score(prior, {(name, name): often for name, often in prior.items()})


@pytest.mark.parametrize("share", [0.01, 0.1, 0.35, 0.5, 0.79, 0.95])
def test_with_the_prior_known_it_earns_less_at_every_prior(share: float) -> None:
    prior = prior_of(share)
    always = expected_score(prior, {("malignant", "malignant"): 1.0}, prior=prior)
    assert always < expected_score(prior, {(name, name): often for name, often in prior.items()}, prior=prior)
    reward = get_malignancy_reward(TREE, prior=prior)
    assert (reward.malignant_weight == 1.0) == (share <= 0.35)
    assert reward(**batch({"a": said("common nevus", "benign")}, "common_nevus")) == [1.0]
    assert reward(**batch({"a": said("nodular melanoma")})) == [reward.malignant_weight]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.79, 0.95])
def test_a_line_that_is_always_malignant_earns_less_than_one_that_fits_its_diagnosis(share: float) -> None:
    # at every prior, that of a dataset of biopsied cancers too: the line contradicts every benign diagnosis
    prior = prior_of(share)
    always = expected_score(prior, {(name, "malignant"): often for name, often in prior.items()})
    assert always < expected_score(prior, {(name, name): often for name, often in prior.items()})


def test_crying_malignant_is_bounded_as_documented() -> None:
    two = {"malignant": 0.0, "precancerous or in situ": 0.0, "benign": 0.0, "non-neoplastic": 0.0}
    bound = (1 - 0.2) / (2 - 0.2)
    for share, below in ((bound - 0.01, True), (bound + 0.01, False)):
        prior = two | {"malignant": share, "benign": 1 - share}
        always = expected_score(prior, {("malignant", "malignant"): 1.0})
        assert (always < expected_score(prior, {(n, n): p for n, p in prior.items()})) == below
        assert always == pytest.approx(share + (1 - share) * 0.2)


# --- sources, settings, logs ----------------------------------------------------------------------------------------


def sourced(behaviour_of_b: str) -> Taxonomy:
    table = {"textbook": {"reviewed": True}, "editorial": {"reviewed": False}}
    nodes = [
        Node("root", "root"),
        Node("tumour", "tumour", ("root",)),
        Node("a", "first cancer", ("tumour",), behaviour="malignant", sources={"behaviour": ("textbook",)}),
        Node("b", "second cancer", ("tumour",), behaviour="malignant", sources={"behaviour": (behaviour_of_b,)}),
    ]
    return Taxonomy("t", nodes, table)


def test_unreviewed_behaviour_can_be_left_out() -> None:
    for source, expected in (("textbook", [1.0]), ("editorial", [None])):
        tree = sourced(source)
        for gold in ("b", "tumour"):
            columns = batch({"a": said("second cancer")}, gold)
            assert get_malignancy_reward(tree, reviewed=True)(**columns) == expected
            assert get_malignancy_reward(tree)(**columns) == [1.0]
        assert get_malignancy_reward(tree, reviewed=True)(**batch({"a": said("first cancer")}, "a")) == [1.0]


def test_wrong_settings_are_refused() -> None:
    for false_alarm, same_side in ((0.6, 0.5), (-0.1, 0.5), (0.2, 1.5)):
        with pytest.raises(PluginError, match="expected 0 <= false_alarm <= same_side <= 1"):
            get_malignancy_reward(TREE, false_alarm=false_alarm, same_side=same_side)
    for prior in ({"evil": 1.0}, {"malignant": -1.0}, {"uncertain": 1.0}):
        with pytest.raises(PluginError, match="expected"):
            get_malignancy_reward(TREE, prior=prior)


def test_it_pickles_under_a_stable_name() -> None:
    again = pickle.loads(pickle.dumps(get_malignancy_reward(TREE)))
    assert again.__name__ == "malignancy_reward"
    assert again(**open_batch()) == get_malignancy_reward(TREE)(**open_batch())


def test_the_log_says_what_was_said_and_counts_contradictions() -> None:
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    get_malignancy_reward(TREE)(**open_batch() | {"log_extra": extra.__setitem__, "log_metric": metrics.__setitem__})
    table = {name: dict(zip(OPEN_CASES, values, strict=True)) for name, values in extra.items()}
    assert table["malignancy_reward/said"]["melanoma called a naevus"] == "benign"
    assert table["malignancy_reward/said"]["empty"] == table["malignancy_reward/said"]["grandparent"] == ""
    assert set(extra["malignancy_reward/gold"]) == {"malignant"}
    contradicted = {case for case, found in table["malignancy_reward/contradicts"].items() if found}
    assert contradicted == {"wrong, but malignant"}
    assert metrics["malignancy_reward/contradicts"] == pytest.approx(1 / len(OPEN_CASES))
    assert metrics["malignancy_reward/unscored"] == 0.0
