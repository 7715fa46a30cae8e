"""Credit on the hierarchy: hand-worked numbers, and the properties that a reward must have on any graph."""

from __future__ import annotations

import itertools
import math

import pytest

from skinrl.errors import TaxonomyError
from skinrl.taxonomy import Node, Taxonomy
from skinrl.taxonomy import similarity as similarity_module
from skinrl.taxonomy.measures import (
    MEASURES,
    RELATIONS,
    common_ancestor_depth,
    credit,
    exact,
    information_content,
    information_content_of,
    level_gated,
    opposite,
    relation,
    side,
    skin_r1_code,
    skin_r1_paper,
    wu_palmer,
)
from skinrl.taxonomy.similarity import expected_credit

MALIGNANT = ("malignant", "precancerous or in situ")
BENIGN = ("benign", "non-neoplastic")


def make(rows: list[tuple[str, tuple[str, ...], str | None]], name: str = "small") -> Taxonomy:
    return Taxonomy(name, [Node(id, id.replace("_", " "), parents, behaviour=how) for id, parents, how in rows])


ROWS: list[tuple[str, tuple[str, ...], str | None]] = [
    ("skin_disease", (), None),
    ("melanocytic", ("skin_disease",), None),
    ("melanoma", ("melanocytic",), None),
    ("nodular_melanoma", ("melanoma",), "malignant"),
    ("superficial_melanoma", ("melanoma",), "malignant"),
    ("melanoma_in_situ", ("melanoma",), "precancerous or in situ"),
    ("nevus", ("melanocytic",), None),
    ("blue_nevus", ("nevus",), "benign"),
    ("common_nevus", ("nevus",), "benign"),
    ("spitz_tumor", ("melanocytic",), "uncertain"),
    ("keratinocytic", ("skin_disease",), None),
    ("actinic_keratosis", ("keratinocytic",), "precancerous or in situ"),
    ("squamous_cell_carcinoma", ("keratinocytic",), "malignant"),
    ("seborrheic_keratosis", ("keratinocytic",), "benign"),
    ("inflammatory", ("skin_disease",), None),
    ("psoriasis", ("inflammatory",), "non-neoplastic"),
    ("lichen_planus", ("inflammatory",), "non-neoplastic"),
    ("solar_lentigo", ("melanocytic", "keratinocytic"), "benign"),
]
SMALL = make(ROWS)


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("nodular_melanoma", "nodular_melanoma", 1.0),
        ("melanoma", "nodular_melanoma", 4 / 5),  # parent: 2·2 / (2 + 3)
        ("melanocytic", "nodular_melanoma", 2 / 4),  # grandparent: 2·1 / (1 + 3)
        ("skin_disease", "nodular_melanoma", 0.0),  # the root alone in common
        ("superficial_melanoma", "nodular_melanoma", 4 / 6),  # sibling: 2·2 / (3 + 3)
        ("melanoma_in_situ", "nodular_melanoma", 4 / 6),  # in situ stands on the malignant side
        ("nodular_melanoma", "melanoma", 1.0),  # below an inner gold
        ("nodular_melanoma", "melanocytic", 1.0),
        ("common_nevus", "nodular_melanoma", 0.0),  # opposite behaviour, though 2·1 / 6 is shared
        ("nevus", "nodular_melanoma", 0.0),  # an inner node whose leaves are all benign
        ("common_nevus", "melanoma", 0.0),
        ("spitz_tumor", "nodular_melanoma", 2 / 5),  # uncertain: the rule is off
        ("spitz_tumor", "common_nevus", 2 / 5),
        ("psoriasis", "nodular_melanoma", 0.0),
        ("squamous_cell_carcinoma", "nodular_melanoma", 0.0),
        ("squamous_cell_carcinoma", "actinic_keratosis", 2 / 4),
        ("seborrheic_keratosis", "actinic_keratosis", 0.0),
        ("lichen_planus", "psoriasis", 2 / 4),
        ("solar_lentigo", "common_nevus", 2 / 6),  # two parents: A = {melanocytic, keratinocytic, solar lentigo}
        ("keratinocytic", "solar_lentigo", 2 / 4),
        ("solar_lentigo", "keratinocytic", 1.0),
        ("solar_lentigo", "squamous_cell_carcinoma", 0.0),
    ],
)
def test_default_credit_by_hand(answer: str, gold: str, expected: float) -> None:
    assert credit(SMALL, answer, gold) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("measure", "answer", "gold", "expected"),
    [
        (exact, "nodular_melanoma", "nodular_melanoma", 1.0),
        (exact, "nodular_melanoma", "melanoma", 1.0),
        (exact, "melanoma", "nodular_melanoma", 0.0),
        (skin_r1_paper, "nodular_melanoma", "nodular_melanoma", 0.75),
        (skin_r1_paper, "melanoma", "nodular_melanoma", 0.5),
        (skin_r1_paper, "melanocytic", "nodular_melanoma", 0.25),
        (skin_r1_paper, "superficial_melanoma", "nodular_melanoma", 0.0),
        (skin_r1_paper, "nodular_melanoma", "melanoma", 0.0),  # below the gold is not on its path
        (common_ancestor_depth, "melanoma", "nodular_melanoma", 2 / 3),
        (common_ancestor_depth, "superficial_melanoma", "nodular_melanoma", 2 / 3),
        (common_ancestor_depth, "common_nevus", "nodular_melanoma", 1 / 3),
        (common_ancestor_depth, "nodular_melanoma", "melanoma", 1.0),
        (common_ancestor_depth, "psoriasis", "nodular_melanoma", 0.0),
        (wu_palmer, "nodular_melanoma", "nodular_melanoma", 1.0),
        (wu_palmer, "melanoma", "nodular_melanoma", 4 / 5),
        (wu_palmer, "superficial_melanoma", "nodular_melanoma", 4 / 6),
        (wu_palmer, "nodular_melanoma", "melanoma", 4 / 5),
        (wu_palmer, "psoriasis", "nodular_melanoma", 0.0),
        (information_content, "nodular_melanoma", "nodular_melanoma", 1.0),
        # 12 leaves; 3 below melanoma, 7 below melanocytic
        (information_content, "melanoma", "nodular_melanoma", 2 * math.log(4) / (math.log(4) + math.log(12))),
        (information_content, "superficial_melanoma", "nodular_melanoma", math.log(4) / math.log(12)),
        (information_content, "common_nevus", "nodular_melanoma", math.log(12 / 7) / math.log(12)),
        (level_gated, "nodular_melanoma", "nodular_melanoma", 1.0),
        (level_gated, "melanoma", "nodular_melanoma", 1 / 3),
        (level_gated, "superficial_melanoma", "nodular_melanoma", 1 / 3),
        (level_gated, "nodular_melanoma", "melanoma", 0.5),
        (level_gated, "psoriasis", "nodular_melanoma", 0.0),
    ],
)
def test_the_other_measures_by_hand(measure, answer: str, gold: str, expected: float) -> None:
    assert measure(SMALL, answer, gold) == pytest.approx(expected, abs=1e-12)


def test_skin_r1_example_of_depth_three_of_four() -> None:
    chain = make([("r", (), None), *((f"d{i}", (f"d{i - 1}" if i > 1 else "r",), "benign") for i in range(1, 5))])
    assert skin_r1_paper(chain, "d3", "d4") == 0.5625


def test_skin_r1_code_pays_the_best_option_offered_in_full() -> None:
    offered = ("melanocytic", "melanoma", "psoriasis", "common_nevus")
    assert skin_r1_code(SMALL, "melanoma", "nodular_melanoma", offered) == 0.75
    assert skin_r1_code(SMALL, "melanocytic", "nodular_melanoma", offered) == 0.375
    assert skin_r1_code(SMALL, "common_nevus", "nodular_melanoma", offered) == 0.0
    assert skin_r1_code(SMALL, "nodular_melanoma", "nodular_melanoma", offered) == 0.0  # not offered
    assert skin_r1_code(SMALL, "melanoma", "nodular_melanoma", ("psoriasis",)) == 0.0
    assert skin_r1_code(SMALL, "melanoma", "nodular_melanoma") == 0.5  # nothing offered: the paper's form


def test_sides_come_from_all_leaves_below() -> None:
    assert side(SMALL, "melanoma") == "malignant"  # malignant and in situ together
    assert side(SMALL, "nevus") == "benign"
    assert side(SMALL, "melanocytic") is None
    assert side(SMALL, "spitz_tumor") is None
    assert side(SMALL, "inflammatory") == "benign"
    assert opposite(SMALL, "inflammatory", "melanoma")
    assert not opposite(SMALL, "melanocytic", "nevus")


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        (None, "melanoma", "none"),
        ("melanoma", "melanoma", "exact"),
        ("nodular_melanoma", "melanoma", "below"),
        ("melanoma", "nodular_melanoma", "ancestor"),
        ("superficial_melanoma", "nodular_melanoma", "related"),
        ("common_nevus", "nodular_melanoma", "opposite"),
        ("squamous_cell_carcinoma", "nodular_melanoma", "unrelated"),
    ],
)
def test_relations(answer: str | None, gold: str, expected: str) -> None:
    assert relation(SMALL, answer, gold) == expected
    assert expected in RELATIONS


def test_information_content_of_a_datasets_own_frequencies_by_hand() -> None:
    # mass: one for each of 12 leaves, and the counts; 88 in all makes 100
    counts = {"nodular_melanoma": 40, "melanoma": 7, "common_nevus": 30, "melanocytic": 1, "solar_lentigo": 10}
    measure = information_content_of(SMALL, counts)
    mass = {"nodular_melanoma": 41, "melanoma": 3 + 47, "melanocytic": 7 + 88, "superficial_melanoma": 1}
    content = {node: math.log(100 / n) for node, n in mass.items()}

    def lin(common: str, a: str, b: str) -> float:
        return 2 * content[common] / (content[a] + content[b])

    for answer, common in (("melanoma", "melanoma"), ("superficial_melanoma", "melanoma")):
        expected = lin(common, answer, "nodular_melanoma")
        assert measure.credit(SMALL, answer, "nodular_melanoma", ()) == pytest.approx(expected, abs=1e-12)
    assert measure.credit(SMALL, "nodular_melanoma", "nodular_melanoma", ()) == measure.maximum == 1.0
    assert measure.credit(SMALL, "psoriasis", "nodular_melanoma", ()) == 0.0
    # a commoner sibling is told apart with less content
    common_sibling = information_content_of(SMALL, counts | {"superficial_melanoma": 400})
    ours, theirs = (m.credit(SMALL, "superficial_melanoma", "nodular_melanoma", ()) for m in (measure, common_sibling))
    assert theirs < ours


def test_without_frequencies_content_comes_from_the_structure() -> None:
    measure = information_content_of(SMALL, {})
    for answer, gold in itertools.product(SMALL.ids, SMALL.ids):
        assert measure.credit(SMALL, answer, gold, ()) == information_content(SMALL, answer, gold)


def test_frequencies_that_cannot_be_are_refused() -> None:
    with pytest.raises(TaxonomyError, match="no node 'melanom'"):
        information_content_of(SMALL, {"melanom": 1})
    for wrong in (-1, math.inf, math.nan):
        with pytest.raises(TaxonomyError, match="expected a number of 0 or more"):
            information_content_of(SMALL, {"melanoma": wrong})


def test_a_leaf_without_behaviour_switches_the_rule_off_for_all_that_hold_it() -> None:
    graph = make(
        [
            ("root", (), None),
            ("tumour", ("root",), None),
            ("malignancies", ("tumour",), None),
            ("cancer", ("malignancies",), "malignant"),
            ("unsaid", ("malignancies",), None),
            ("mole", ("tumour",), "benign"),
        ]
    )
    assert side(graph, "cancer") == "malignant"
    assert side(graph, "malignancies") is side(graph, "unsaid") is None
    assert credit(graph, "mole", "cancer") == 0.0
    assert credit(graph, "mole", "unsaid") == pytest.approx(2 / 5)
    assert credit(graph, "mole", "malignancies") == pytest.approx(2 / 4)


# --- expected credit -----------------------------------------------------------------------------------------------


def test_one_certain_gold_is_plain_credit_in_an_open_question() -> None:
    for answer, gold in itertools.product(SMALL.ids, SMALL.ids):
        if gold != SMALL.root:
            assert expected_credit(SMALL, answer, [(gold, 1.0)]) == credit(SMALL, answer, gold)


def test_a_weighted_differential_by_hand() -> None:
    gold = [("nodular_melanoma", 0.75), ("superficial_melanoma", 0.25)]
    # nodular 0.75 + 0.25·4/6 = 11/12; superficial 0.25 + 0.75·4/6 = 0.75; melanoma 4/5; the best is nodular
    assert expected_credit(SMALL, "nodular_melanoma", gold) == 1.0
    assert expected_credit(SMALL, "superficial_melanoma", gold) == pytest.approx(0.75 / (11 / 12))
    assert expected_credit(SMALL, "melanoma", gold) == pytest.approx(0.8 / (11 / 12))
    assert expected_credit(SMALL, None, gold) == 0.0


def test_between_melanoma_and_nevus_the_shared_parent_can_be_the_best_answer() -> None:
    gold = [("nodular_melanoma", 0.5), ("common_nevus", 0.5)]
    # each leaf 0.5, the parent "melanocytic" 2·1/4 = 0.5 for both: all three are best
    for answer in ("nodular_melanoma", "common_nevus", "melanocytic"):
        assert expected_credit(SMALL, answer, gold) == 1.0


def test_options_are_measured_by_the_best_of_them() -> None:
    gold = [("nodular_melanoma", 1.0)]
    offered = ("melanocytic", "melanoma", "psoriasis", "common_nevus")
    assert expected_credit(SMALL, "melanoma", gold, option_nodes=offered) == 1.0
    assert expected_credit(SMALL, "melanocytic", gold, option_nodes=offered) == pytest.approx(0.5 / 0.8)
    assert expected_credit(SMALL, "common_nevus", gold, option_nodes=offered) == 0.0
    assert expected_credit(SMALL, "melanocytic", gold, option_nodes=()) == 0.5  # no options: an open question
    assert expected_credit(SMALL, "melanoma", gold, option_nodes=("melanoma", None, "")) == 1.0


def test_published_forms_keep_their_own_numbers() -> None:
    gold = [("nodular_melanoma", 0.75), ("common_nevus", 0.25)]
    assert expected_credit(SMALL, "melanoma", gold, measure="skin_r1_paper") == 0.375  # 0.75·0.5
    assert expected_credit(SMALL, "melanocytic", gold, measure="wu_palmer") == 0.5
    offered = ("melanocytic", "melanoma")
    assert expected_credit(SMALL, "melanoma", gold[:1], option_nodes=offered, measure="skin_r1_code") == 0.75


def test_golds_of_equal_weight_are_equally_right_and_a_set_is_such_a_tie() -> None:
    tie = [("psoriasis", 0.4), ("nodular_melanoma", 0.4), ("blue_nevus", 0.2)]
    for answer in ("psoriasis", "nodular_melanoma"):
        assert expected_credit(SMALL, answer, tie) == 1.0
    assert expected_credit(SMALL, "blue_nevus", tie) == 0.5
    # a set of two diseases far apart: either is right
    assert expected_credit(SMALL, "psoriasis", [("psoriasis", 0.5), ("solar_lentigo", 0.5)]) == 1.0


def test_a_closed_list_without_the_gold_is_scored_by_its_best_or_not_at_all() -> None:
    gold = [("nodular_melanoma", 1.0)]
    assert (
        expected_credit(SMALL, "superficial_melanoma", gold, option_nodes=("superficial_melanoma", "psoriasis")) == 1
    )
    for name in MEASURES:
        for answer in (None, "psoriasis", "lichen_planus"):
            options = ("psoriasis", "lichen_planus")
            assert expected_credit(SMALL, answer, gold, option_nodes=options, measure=name) is None


def test_none_where_no_answer_can_be_scored() -> None:
    for answer in (None, "melanoma", "psoriasis"):
        assert expected_credit(SMALL, answer, []) is None
        assert expected_credit(SMALL, answer, [("skin_disease", 1.0)]) is None
        assert expected_credit(SMALL, answer, [("melanoma", 0.0)]) is None
        assert expected_credit(SMALL, answer, [("melanoma", 1.0)], option_nodes=("psoriasis", "common_nevus")) is None


def test_the_root_as_one_gold_of_several_is_left_out() -> None:
    gold = [("skin_disease", 0.5), ("melanoma", 0.5)]
    assert expected_credit(SMALL, "melanoma", gold) == 1.0
    assert expected_credit(SMALL, "melanocytic", gold, measure="wu_palmer") == pytest.approx(2 / 3)


def test_what_is_broken_is_an_error_and_no_score() -> None:
    with pytest.raises(TaxonomyError, match="unknown measure 'f1'; expected one of: default, exact"):
        expected_credit(SMALL, "melanoma", [("melanoma", 1.0)], measure="f1")
    with pytest.raises(TaxonomyError, match="no node 'melanom'"):
        expected_credit(SMALL, "melanoma", [("melanom", 1.0)])
    with pytest.raises(TaxonomyError, match="no node 'melanom'"):
        expected_credit(SMALL, "melanom", [("melanoma", 1.0)])
    with pytest.raises(TaxonomyError, match="weights must be numbers of 0 or more"):
        expected_credit(SMALL, "melanoma", [("melanoma", 1.0), ("nevus", -0.5)])


def test_the_caches_are_bounded_and_do_not_change_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_module, "_CACHE_LIMIT", 5)
    fresh = make(ROWS)
    for _ in range(2):
        for answer, gold in itertools.product(fresh.ids, fresh.leaves):
            assert expected_credit(fresh, answer, [(gold, 1.0)]) == credit(SMALL, answer, gold)
    assert len(similarity_module._questions(fresh)) <= 5
