"""The rewards for the differential, case by case."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from reward_setup import batch, said

from skinrl.errors import PluginError
from skinrl.rewards import get_consistency_reward, get_differential_reward
from skinrl.rewards.facts import differential_edges, is_reviewed, neighbours
from skinrl.taxonomy import Differential, Node, Taxonomy

EDGES = {
    "psoriasis": {"tinea": "textbook", "lichen": "editorial"},
    "eczema": {"psoriasis": "textbook"},
    "guttate": {"pityriasis": "textbook"},
    "melanoma": {"nevus": "editorial"},
}


def node(id: str, name: str, parent: str, behaviour: str | None = None) -> Node:
    edges = EDGES.get(id, {})
    return Node(
        id,
        name,
        (parent,),
        behaviour=behaviour,
        differential=tuple(Differential(other, "", source) for other, source in edges.items()),
        sources={f"differential.{other}": (source,) for other, source in edges.items()},
    )


TREE = Taxonomy(
    "edges",
    [
        Node("root", "root"),
        node("inflammatory", "inflammatory disease", "root"),
        node("psoriasis", "psoriasis", "inflammatory"),
        node("guttate", "guttate psoriasis", "psoriasis", "non-neoplastic"),
        node("plaque", "plaque psoriasis", "psoriasis", "non-neoplastic"),
        node("eczema", "eczema", "inflammatory", "non-neoplastic"),
        node("lichen", "lichen planus", "inflammatory", "non-neoplastic"),
        node("pityriasis", "pityriasis rosea", "inflammatory", "non-neoplastic"),
        node("tinea", "tinea corporis", "root", "non-neoplastic"),
        node("melanoma", "melanoma", "root", "malignant"),
        node("nevus", "melanocytic nevus", "root", "benign"),
    ],
    {"textbook": {"reviewed": True}, "editorial": {"reviewed": False}},
)


def listing(*names: str, diagnosis: str = "psoriasis") -> str:
    items = " ".join(f"{rank}. {name}: for redness" for rank, name in enumerate(names, start=1))
    return said(diagnosis, "non-neoplastic", f"Findings: red\nDifferential: {items}\nReasoning: as seen")


def score(text: str, gold: Any = "psoriasis", **settings: Any) -> float | None:
    columns = batch({"a": text})
    golds = {gold: 1.0} if isinstance(gold, str) else gold
    columns["gold_nodes"], columns["gold_weights"] = [list(golds)], [list(golds.values())]
    (value,) = get_differential_reward(TREE, **settings)(**columns)
    return value


def test_only_reviewed_edges_make_neighbours_by_default() -> None:
    assert is_reviewed(TREE, "psoriasis", "differential.tinea")
    assert not is_reviewed(TREE, "psoriasis", "differential.lichen")
    assert not is_reviewed(TREE, "psoriasis", "differential.none_at_all")
    reviewed, every = differential_edges(TREE), differential_edges(TREE, unreviewed=True)
    # both directions, and the edge of guttate psoriasis, which is psoriasis
    assert neighbours(TREE, "psoriasis", reviewed) == {"tinea", "eczema", "pityriasis"}
    assert neighbours(TREE, "psoriasis", every) == {"tinea", "eczema", "pityriasis", "lichen"}
    # what is said of psoriasis holds for plaque psoriasis; what is said of guttate psoriasis does not
    assert neighbours(TREE, "plaque", reviewed) == {"tinea", "eczema"}
    assert neighbours(TREE, "melanoma", reviewed) == frozenset()
    assert neighbours(TREE, "melanoma", every) == {"nevus"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("psoriasis", "tinea corporis"), 1.0),
        (("psoriasis", "eczema", "pityriasis rosea"), 1.0),
        (("psoriasis",), 0.75),  # no alternative
        (("psoriasis", "lichen planus"), 0.75),  # an editorial edge is no neighbour
        (("psoriasis", "tinea corporis", "melanoma"), 0.75 + 0.25 / 2),
        (("psoriasis", "tinea corporis", "red rash of old"), 0.75 + 0.25 / 2),  # an unknown name
        (("psoriasis", "tinea corporis", "tinea corporis"), 0.75 + 0.25 / 2),  # the same twice
        (("psoriasis", "plaque psoriasis", "eczema"), 1.0),  # kinds of the gold are no alternatives
        (("tinea corporis", "psoriasis"), 0.5),
        (("plaque psoriasis", "tinea corporis"), 1.0),  # below an inner gold
        (("eczema", "tinea corporis", "psoriasis"), 1 / 3),
        (("eczema", "tinea corporis"), 0.0),
        (("inflammatory disease", "tinea corporis"), 0.0),  # above the gold is not the gold
        (("eczema", "lichen planus", "melanoma", "tinea corporis", "pityriasis rosea", "psoriasis"), 0.0),  # sixth
        (("psoriasis or eczema", "tinea corporis"), 0.0),  # two in one place
        ((), 0.0),
    ],
)
def test_the_gold_high_up_beside_real_neighbours(names: tuple[str, ...], expected: float) -> None:
    assert score(listing(*names)) == pytest.approx(expected)


def test_unreviewed_edges_count_where_the_recipe_says_so() -> None:
    assert score(listing("psoriasis", "lichen planus"), unreviewed=True) == 1.0
    assert score(listing("psoriasis", "lichen planus"), alternatives=0.0) == 1.0


def test_a_gold_without_known_neighbours_is_scored_by_its_place_alone() -> None:
    assert score(listing("melanoma", diagnosis="melanoma"), "melanoma") == 1.0
    assert score(listing("melanocytic nevus", "melanoma"), "melanoma") == 0.5
    assert score(listing("melanoma"), "melanoma", unreviewed=True) == 0.75


def test_golds_of_equal_weight_may_stand_in_any_order() -> None:
    tie = {"psoriasis": 0.4, "eczema": 0.4, "tinea": 0.2}
    best = listing("psoriasis", "eczema", "tinea corporis", "pityriasis rosea")
    assert score(best, tie) == score(listing("eczema", "psoriasis", "tinea corporis", "pityriasis rosea"), tie) == 1.0
    # 0.2 + 0.4/2 + 0.4/3 of the best 0.4 + 0.4/2 + 0.2/3
    turned = listing("tinea corporis", "eczema", "psoriasis", "pityriasis rosea")
    assert score(turned, tie) == pytest.approx((0.2 + 0.2 + 0.4 / 3) / (0.4 + 0.2 + 0.2 / 3))


def test_none_for_the_whole_prompt_and_zero_for_what_cannot_be_read() -> None:
    texts = [listing("psoriasis"), "", listing("psoriasis")[:40], listing("psoriasis", diagnosis="strange rash")]
    reward = get_differential_reward(TREE)
    columns = batch({str(i): text for i, text in enumerate(texts)}, "psoriasis")
    assert reward(**columns) == [0.75, 0.0, 0.0, 0.0]
    for gold in (None, "root"):
        assert reward(**batch({str(i): text for i, text in enumerate(texts)}, gold)) == [None] * 4


def test_the_diagnosis_must_head_the_differential() -> None:
    cases = {
        listing("psoriasis", "eczema"): 1.0,
        listing("guttate psoriasis", "eczema"): 1.0,  # a kind of the diagnosis
        listing("psoriasis", diagnosis="guttate psoriasis"): 0.0,  # the whole is not the kind
        listing("eczema", "psoriasis"): 0.0,
        listing("strange rash", "psoriasis"): 0.0,
        listing(): 0.0,
        listing("psoriasis", diagnosis="undetermined"): 0.0,
        listing("psoriasis", diagnosis="strange rash"): 0.0,
        "": 0.0,
    }
    reward = get_consistency_reward(TREE)
    assert reward(**batch({str(i): text for i, text in enumerate(cases)}, None)) == list(cases.values())


def test_options_are_known_by_the_name_that_the_question_gives() -> None:
    columns = {"options": ["PSO", "ECZ"], "option_nodes": ["psoriasis", "eczema"]}
    text = listing("PSO", "ECZ", diagnosis="A")
    assert get_consistency_reward(TREE)(**batch({"a": text}, "psoriasis", **columns)) == [1.0]
    assert get_differential_reward(TREE)(**batch({"a": text}, "psoriasis", **columns)) == [1.0]
    assert get_consistency_reward(TREE)(**batch({"a": listing("ECZ", diagnosis="A")}, "psoriasis", **columns)) == [0.0]


def test_they_pickle_and_refuse_wrong_settings_and_log() -> None:
    for reward in (get_differential_reward(TREE), get_consistency_reward(TREE)):
        columns = batch({"a": listing("psoriasis", "strange rash")}, "psoriasis")
        again = pickle.loads(pickle.dumps(reward))
        assert again.__name__ == reward.__name__
        assert again(**columns) == reward(**columns)
    with pytest.raises(PluginError, match="must lie from 0 to 1, found 2"):
        get_differential_reward(TREE, alternatives=2)
    extra: dict[str, list] = {}
    columns |= {"log_extra": extra.__setitem__, "log_metric": {}.__setitem__}
    get_differential_reward(TREE)(**columns)
    get_consistency_reward(TREE)(**columns)
    assert extra["differential_reward/listed"] == ["psoriasis, [unknown]"]
    assert extra["consistency_reward/head"] == ["psoriasis"]
