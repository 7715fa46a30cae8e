"""Credit on the hierarchy: hand-worked numbers, and the properties that a reward must have on any graph."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import subprocess
import sys

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl.errors import TaxonomyError
from skinrl.taxonomy import BEHAVIOURS, Node, Taxonomy
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
    tables = similarity_module._tables(fresh)
    assert len(tables.values) <= 5
    assert len(tables.questions) <= 5


# --- properties, on random graphs and on the taxonomy that ships ---------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn, parents: int = 3) -> Taxonomy:
    """A random hierarchy; every leaf has some behaviour, inner nodes have what their leaves share."""
    count = draw(st.integers(3, 14))
    above = [()] + [
        tuple(sorted(draw(st.sets(st.integers(0, i - 1), min_size=1, max_size=min(parents, i)))))
        for i in range(1, count)
    ]
    inner = set(itertools.chain.from_iterable(above))
    behaviours = [None if i in inner else draw(st.sampled_from(BEHAVIOURS)) for i in range(count)]
    return make(
        [(f"n{i}", tuple(f"n{j}" for j in above[i]), behaviours[i]) for i in range(count)],
        "random",
    )


def golds_of(taxonomy: Taxonomy) -> list[str]:
    return [node for node in taxonomy.ids if node != taxonomy.root]


def check_range_and_maximum(taxonomy: Taxonomy, golds: list[str]) -> None:
    for name, measure in MEASURES.items():
        for gold in golds:
            best = measure.credit(taxonomy, gold, gold, ())
            assert best == pytest.approx(measure.maximum), name
            for answer in taxonomy.ids:
                value = measure.credit(taxonomy, answer, gold, ())
                assert 0.0 <= value <= best + 1e-12, (name, answer, gold)


def check_only_the_gold_and_below_reach_one(taxonomy: Taxonomy, golds: list[str]) -> None:
    for gold in golds:
        full = {node for node in taxonomy.ids if credit(taxonomy, node, gold) == 1.0}
        assert full == {gold} | taxonomy.descendants(gold)


def check_monotone_down_to_the_gold(taxonomy: Taxonomy, golds: list[str], measures: tuple[str, ...]) -> None:
    """Every edge of every way from the root down to the gold."""
    for gold in golds:
        on_the_way = [node for node in taxonomy.ids if node == gold or taxonomy.is_ancestor(node, gold)]
        for node in on_the_way:
            for parent in taxonomy.parents(node):
                for name in measures:
                    above, below = (MEASURES[name].credit(taxonomy, n, gold, ()) for n in (parent, node))
                    assert above <= below + 1e-12, (name, parent, node, gold)


def check_benign_answers_to_a_malignant_gold(taxonomy: Taxonomy, golds: list[str]) -> None:
    for gold in golds:
        if not set(taxonomy.behaviours(gold)) <= set(MALIGNANT):
            continue
        for answer in taxonomy.ids:
            if set(taxonomy.behaviours(answer)) <= set(BENIGN):
                # never above a malignant answer or the shared parent: those earn 0 or more
                assert credit(taxonomy, answer, gold) == 0.0


MONOTONE_ON_EVERY_GRAPH = ("default", "exact", "common_ancestor_depth", "wu_palmer", "information_content")


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_properties_hold_on_any_graph_with_several_parents(taxonomy: Taxonomy) -> None:
    golds = golds_of(taxonomy)
    check_range_and_maximum(taxonomy, golds)
    check_only_the_gold_and_below_reach_one(taxonomy, golds)
    check_monotone_down_to_the_gold(taxonomy, golds, MONOTONE_ON_EVERY_GRAPH)
    check_benign_answers_to_a_malignant_gold(taxonomy, golds)


def test_properties_hold_on_the_taxonomy_that_ships(taxonomy: Taxonomy) -> None:
    golds = random.Random(0).sample(golds_of(taxonomy), min(30, len(taxonomy) - 1))
    check_range_and_maximum(taxonomy, golds)
    check_only_the_gold_and_below_reach_one(taxonomy, golds)
    check_monotone_down_to_the_gold(taxonomy, golds, MONOTONE_ON_EVERY_GRAPH)
    check_benign_answers_to_a_malignant_gold(taxonomy, golds_of(taxonomy))


def steps_towards(taxonomy: Taxonomy, gold: str) -> list[tuple[str, str]]:
    """In a tree: from each node one step nearer to the gold, up to what they share, then down."""
    graph = taxonomy.graph.to_undirected()
    return [(node, nx.shortest_path(graph, node, gold)[1]) for node in taxonomy.ids if node != gold]


@given(graphs(parents=1))
@settings(max_examples=100, deadline=None)
def test_in_a_tree_credit_never_falls_on_the_way_to_the_gold_up_and_down(taxonomy: Taxonomy) -> None:
    for gold in golds_of(taxonomy):
        for node, nearer in steps_towards(taxonomy, gold):
            # Through the root it is not a way within the hierarchy: there the credit is 0 on both sides.
            assert credit(taxonomy, node, gold) <= credit(taxonomy, nearer, gold) + 1e-12


@given(graphs(parents=1))
@settings(max_examples=50, deadline=None)
def test_in_a_tree_all_measures_are_monotone_down_to_the_gold(taxonomy: Taxonomy) -> None:
    check_monotone_down_to_the_gold(taxonomy, golds_of(taxonomy), tuple(MEASURES))


TWIN_PARENTS = make(
    [
        ("root", (), None),
        ("first", ("root",), None),
        ("second", ("root",), None),
        ("gold", ("first", "second"), "benign"),
        ("sibling", ("first", "second"), "benign"),
    ]
)


def test_a_sibling_that_shares_two_parents_is_nearer_than_either_parent() -> None:
    # The way down stays monotone; "a sibling is never above a shared parent" holds in trees only.
    assert credit(TWIN_PARENTS, "sibling", "gold") == pytest.approx(4 / 6)
    assert credit(TWIN_PARENTS, "first", "gold") == pytest.approx(2 / 4)


def test_path_forms_are_not_monotone_with_several_parents() -> None:
    # The published forms know one path; a way to the gold through another parent leaves it.
    graph = make(
        [
            ("root", (), None),
            ("a", ("root",), None),
            ("b", ("a",), None),
            ("c", ("a",), None),
            ("gold", ("b", "c"), "benign"),
        ]
    )
    assert graph.path("gold") == ("a", "b", "gold")
    for measure in (skin_r1_paper, level_gated):
        assert measure(graph, "a", "gold") > 0
    assert skin_r1_paper(graph, "c", "gold") == 0.0
    assert credit(graph, "a", "gold") < credit(graph, "c", "gold") == credit(graph, "b", "gold")


def test_depth_is_the_longest_way_so_that_one_stays_the_maximum() -> None:
    # By shortest distances "deep" has level 2 and "gold", which also hangs from the root, level 1: a credit of 2.
    graph = make(
        [
            ("root", (), None),
            ("a", ("root",), None),
            ("deep", ("a",), None),
            ("gold", ("deep", "root"), "benign"),
            ("other", ("deep",), "benign"),
        ]
    )
    assert graph.level("gold") == 1
    assert common_ancestor_depth(graph, "other", "gold") == pytest.approx(2 / 3)
    assert wu_palmer(graph, "other", "gold") == pytest.approx(4 / 6)
    assert common_ancestor_depth(graph, "gold", "gold") == 1.0


@given(graphs(), st.data())
@settings(max_examples=60, deadline=None)
def test_default_credit_equals_an_independent_one(taxonomy: Taxonomy, data: st.DataObject) -> None:
    answer, gold = (data.draw(st.sampled_from(golds_of(taxonomy))) for _ in range(2))
    graph = taxonomy.graph

    def leaves(node: str) -> set[str]:
        return {n for n in {node} | nx.descendants(graph, node) if graph.out_degree(n) == 0}

    def kinds(node: str) -> set[str | None]:
        return {taxonomy.node(leaf).behaviour for leaf in leaves(node)}

    def closed(node: str) -> set[str]:
        return ({node} | nx.ancestors(graph, node)) - {taxonomy.root}

    if (kinds(answer) <= set(MALIGNANT) and kinds(gold) <= set(BENIGN)) or (
        kinds(answer) <= set(BENIGN) and kinds(gold) <= set(MALIGNANT)
    ):
        expected = 0.0
    elif gold in closed(answer):
        expected = 1.0
    else:
        expected = 2 * len(closed(answer) & closed(gold)) / (len(closed(answer)) + len(closed(gold)))
    assert credit(taxonomy, answer, gold) == expected


@given(graphs(), st.data())
@settings(max_examples=60, deadline=None)
def test_expected_credit_has_a_best_answer_and_ignores_order(taxonomy: Taxonomy, data: st.DataObject) -> None:
    nodes = golds_of(taxonomy)
    gold = data.draw(
        st.lists(st.tuples(st.sampled_from(nodes), st.sampled_from([0.1, 0.2, 0.3, 0.4, 1.0])), min_size=1, max_size=4)
    )
    offered = data.draw(st.lists(st.sampled_from(nodes), max_size=4, unique=True))
    values = [expected_credit(taxonomy, node, gold, option_nodes=offered) for node in (offered or nodes)]
    if None in values:
        assert set(values) == {None}
        assert offered
    else:
        assert max(values) == 1.0
        assert min(values) >= 0.0
    shuffled = data.draw(st.permutations(gold))
    turned = data.draw(st.permutations(offered))
    assert values == [expected_credit(taxonomy, n, shuffled, option_nodes=turned) for n in (offered or nodes)]


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_credit_does_not_depend_on_the_order_of_the_file(taxonomy: Taxonomy, rng: random.Random) -> None:
    nodes = [taxonomy.node(id) for id in taxonomy.ids]
    rng.shuffle(nodes)
    turned = Taxonomy("turned", [Node(n.id, n.name, tuple(reversed(n.parents)), behaviour=n.behaviour) for n in nodes])
    for name in MONOTONE_ON_EVERY_GRAPH:  # the path forms follow the file's first parent, on purpose
        for answer, gold in itertools.product(taxonomy.ids, golds_of(taxonomy)):
            ours, theirs = (MEASURES[name].credit(t, answer, gold, ()) for t in (taxonomy, turned))
            assert ours == theirs


HASH_SEED_SCRIPT = """
import hashlib, itertools, json
from skinrl.taxonomy import load_taxonomy
from skinrl.taxonomy.measures import MEASURES
from skinrl.taxonomy.similarity import expected_credit
taxonomy = load_taxonomy()
golds = [node for node in taxonomy.ids if node != taxonomy.root]
digests = {}
for name in MEASURES:
    digest = hashlib.sha256()
    for answer, gold in itertools.product(golds[::11], golds[::17]):
        other = golds[(golds.index(gold) + 7) % len(golds)]
        digest.update(repr(expected_credit(taxonomy, answer, [(gold, 0.7), (other, 0.3)], measure=name)).encode())
    digests[name] = digest.hexdigest()
print(json.dumps(digests))
"""


def test_credit_is_the_same_under_every_hash_seed(taxonomy: Taxonomy) -> None:
    assert any(len(taxonomy.parents(node)) > 1 for node in taxonomy.ids)  # else the test would show little
    outputs = [
        subprocess.run(
            [sys.executable, "-c", HASH_SEED_SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    ]
    assert set(json.loads(outputs[0])) == set(MEASURES)
    assert outputs[0] == outputs[1] == outputs[2]
