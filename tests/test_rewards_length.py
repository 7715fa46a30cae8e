"""The rewards against padding."""

from __future__ import annotations

import pickle

import pytest
from reward_setup import OPEN_CASES, TREE, batch, open_batch, said

from skinrl.errors import PluginError
from skinrl.rewards import get_length_reward, get_repetition_reward
from skinrl.rewards.length import score_length, score_repetition

UNREADABLE = {
    *("unknown disease", "negated", "two answers in a line", "two lines", "many lines", "two reports"),
    *("text after the answer", "no tags", "empty", "cut", "very long name"),
}


@pytest.mark.parametrize(
    ("characters", "expected"), [(0, 0.0), (50, 0.5), (100, 1.0), (200, 1.0), (300, 0.5), (400, 0.0), (9999, 0.0)]
)
def test_length_by_hand(characters: int, expected: float) -> None:
    assert score_length(characters, 200, 100) == expected
    assert score_length(characters, 200) == max(0.0, min(1.0, 2 - characters / 200))


def test_repetition_by_hand() -> None:
    assert score_repetition("a red plaque with fine scale on the elbow") == 1.0
    assert score_repetition("one two three") == 1.0
    assert score_repetition("") == 1.0
    # "a b" six times: five "a b" pairs and "b a" between; with pairs, 11 in all: 6 of "a b", 5 of "b a"
    assert score_repetition("a b " * 6, size=2) == pytest.approx(1 - (3 + 2) / 11)
    assert score_repetition("A, b! " * 6, size=2, free=6) == 1.0
    assert score_repetition("x" * 10_000) < 0.01  # a word without end is cut into pieces
    assert score_repetition("very " * 1000) < 0.01


def test_unreadable_answers_earn_nothing_and_padding_little() -> None:
    for reward in (get_length_reward(TREE), get_repetition_reward(TREE)):
        scores = dict(zip(OPEN_CASES, reward(**open_batch()), strict=True))
        assert {case for case, score in scores.items() if score == 0.0} >= UNREADABLE
        assert scores["gold"] == scores["wrong"] == scores["undetermined"] == 1.0
        assert scores["very long"] < 0.01
        assert reward(**open_batch(None)) == list(scores.values())  # no gold is asked for, so never None


def test_saying_the_diagnosis_three_times_is_free() -> None:
    name = "superficial spreading melanoma"
    think = f"Findings: a dark patch\nDifferential: 1. {name}: for colour\nReasoning: {name} fits best"
    assert get_repetition_reward(TREE, size=3)(**batch({"a": said(name, think=think)})) == [1.0]
    assert get_repetition_reward(TREE, size=3, free=1)(**batch({"a": said(name, think=think)}))[0] < 1.0


def test_they_pickle_and_refuse_wrong_settings() -> None:
    for reward in (get_length_reward(TREE, most=50, least=10), get_repetition_reward(TREE, 2)):
        again = pickle.loads(pickle.dumps(reward))
        assert again(**open_batch()) == reward(**open_batch())
    for most, least in ((0, 0), (10, 20), (10, -1)):
        with pytest.raises(PluginError, match="expected 0 <= least <= most"):
            get_length_reward(TREE, most, least)
    with pytest.raises(PluginError, match="expected 1 or more of each"):
        get_repetition_reward(TREE, size=0)
