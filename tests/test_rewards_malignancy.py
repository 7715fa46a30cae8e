"""The malignancy reward, case by case."""

from __future__ import annotations

import pickle

import pytest
from reward_setup import OPEN_CASES, OPTION_CASES, TREE, batch, open_batch, option_batch, said

from skinrl.rewards import get_malignancy_reward, gold_behaviour

RIGHT = {"gold", "sibling", "parent", "wrong, but malignant", "very long"}


def test_the_table_of_open_answers() -> None:
    scores = get_malignancy_reward(TREE)(**open_batch())
    assert dict(zip(OPEN_CASES, scores, strict=True)) == {case: float(case in RIGHT) for case in OPEN_CASES}


def test_the_table_of_options() -> None:
    scores = get_malignancy_reward(TREE)(**option_batch())
    right = {"letter", "letter and name", "name", "sibling"}
    assert dict(zip(OPTION_CASES, scores, strict=True)) == {case: float(case in right) for case in OPTION_CASES}


@pytest.mark.parametrize("gold", [None, "skin_disease", "melanocytic", "melanoma", "spitz"])
def test_none_for_the_whole_prompt_where_the_gold_has_no_one_behaviour(gold: str | None) -> None:
    # melanoma holds an in situ leaf here: malignant or precancerous, so the class is not one
    assert get_malignancy_reward(TREE)(**open_batch(gold)) == [None] * len(OPEN_CASES)


def test_an_inner_gold_with_one_behaviour_is_scored() -> None:
    scores = get_malignancy_reward(TREE)(**batch({"a": said("mole", "benign"), "b": said("mole")}, "nevus"))
    assert scores == [1.0, 0.0]


def test_weighted_golds_are_scored_where_they_agree() -> None:
    assert gold_behaviour(TREE, (("nodular_melanoma", 0.5), ("superficial_melanoma", 0.5))) == "malignant"
    assert gold_behaviour(TREE, (("nodular_melanoma", 0.5), ("common_nevus", 0.5))) is None
    assert gold_behaviour(TREE, (("nodular_melanoma", 1.0), ("common_nevus", 0.0))) == "malignant"
    assert gold_behaviour(TREE, (("nodular_melanoma", 0.5), ("spitz", 0.5))) is None
    assert gold_behaviour(TREE, ()) is None


def test_it_pickles_under_a_stable_name() -> None:
    again = pickle.loads(pickle.dumps(get_malignancy_reward(TREE)))
    assert again.__name__ == "malignancy_reward"
    assert again(**open_batch()) == get_malignancy_reward(TREE)(**open_batch())


def test_the_log_says_what_was_said() -> None:
    extra: dict[str, list] = {}
    get_malignancy_reward(TREE)(**open_batch() | {"log_extra": extra.__setitem__})
    said_of = dict(zip(OPEN_CASES, extra["malignancy_reward/said"], strict=True))
    assert said_of["melanoma called a naevus"] == "benign"
    assert said_of["empty"] == said_of["grandparent"] == ""
