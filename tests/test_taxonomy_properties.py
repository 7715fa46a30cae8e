"""Credit on the hierarchy: the properties that a reward must have on any graph, and on the taxonomy that ships."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl.taxonomy import BEHAVIOURS, Node, Taxonomy
from skinrl.taxonomy.measures import (
    MEASURES,
    common_ancestor_depth,
    credit,
    information_content_of,
    level_gated,
    skin_r1_paper,
    wu_palmer,
)
from skinrl.taxonomy.similarity import expected_credit, question_of

FILES = Path(__file__).resolve().parents[1] / "taxonomy"
MALIGNANT = ("malignant", "precancerous or in situ")
BENIGN = ("benign", "non-neoplastic")


def make(rows: list[tuple[str, tuple[str, ...], str | None]], name: str = "small") -> Taxonomy:
    return Taxonomy(name, [Node(id, id.replace("_", " "), parents, behaviour=how) for id, parents, how in rows])


@st.composite
def graphs(draw: st.DrawFn, parents: int = 3) -> Taxonomy:
    """A random hierarchy with several parents; leaves have some behaviour or none."""
    count = draw(st.integers(3, 14))
    above = [()] + [
        tuple(sorted(draw(st.sets(st.integers(0, i - 1), min_size=1, max_size=min(parents, i)))))
        for i in range(1, count)
    ]
    inner = set(itertools.chain.from_iterable(above))
    said = st.sampled_from((*BEHAVIOURS, *BEHAVIOURS, None))  # a leaf of somebody's own file may lack one
    behaviours = [None if i in inner else draw(said) for i in range(count)]
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


def kinds(taxonomy: Taxonomy, node: str) -> set[str | None]:
    """Behaviours of all leaves at or below a node, `None` among them where one has none."""
    return {taxonomy.node(leaf).behaviour for leaf in taxonomy.leaves_below(node)}


def check_benign_answers_to_a_malignant_gold(taxonomy: Taxonomy, golds: list[str]) -> None:
    for gold in golds:
        if not kinds(taxonomy, gold) <= set(MALIGNANT):
            continue
        for answer in taxonomy.ids:
            if kinds(taxonomy, answer) <= set(BENIGN):
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
@settings(max_examples=40, deadline=None)
def test_content_of_any_frequencies_is_monotone_and_has_its_maximum_at_the_gold(
    taxonomy: Taxonomy, data: st.DataObject
) -> None:
    counts = data.draw(st.dictionaries(st.sampled_from(taxonomy.ids), st.integers(0, 50), max_size=6))
    measure = information_content_of(taxonomy, counts)
    for gold in golds_of(taxonomy):
        assert measure.credit(taxonomy, gold, gold, ()) == 1.0
        for node in taxonomy.ids:
            value = measure.credit(taxonomy, node, gold, ())
            assert 0.0 <= value <= 1.0 + 1e-12
            for parent in taxonomy.parents(node):
                if node == gold or taxonomy.is_ancestor(node, gold):
                    assert measure.credit(taxonomy, parent, gold, ()) <= value + 1e-12


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


@given(graphs(), st.data())
@settings(max_examples=100, deadline=None)
def test_the_best_answer_to_an_open_question_is_found_among_all_nodes(taxonomy: Taxonomy, data: st.DataObject) -> None:
    weights = st.sampled_from([0.1, 0.3, 0.5, 1.0])
    gold = data.draw(st.lists(st.tuples(st.sampled_from(golds_of(taxonomy)), weights), min_size=2, max_size=4))
    total = math.fsum(weight for _, weight in gold)
    for name in ("default", "exact"):
        measure = MEASURES[name].credit
        best = max(
            math.fsum(weight / total * measure(taxonomy, node, one, ()) for one, weight in gold)
            for node in taxonomy.ids
        )
        assert question_of(taxonomy, gold, measure=name).best == best


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
import hashlib, itertools, json, random, sys
from skinrl.report import DiagnosticReport, DifferentialItem
from skinrl.rewards import builtin_rewards, score_rows
from skinrl.plugins import call_factory, resolve
from skinrl.taxonomy import BEHAVIOURS, Node, Taxonomy, load_taxonomy
from skinrl.taxonomy.measures import MEASURES
from skinrl.taxonomy.similarity import expected_credit

def random_graph(seed):
    rng = random.Random(seed)
    above = [()] + [tuple(sorted(rng.sample(range(i), min(i, rng.randint(1, 3))))) for i in range(1, 60)]
    inner = set(itertools.chain.from_iterable(above))
    return Taxonomy("random", [
        Node(f"n{i}", f"disease {i}", tuple(f"n{j}" for j in above[i]),
             behaviour=None if i in inner else rng.choice(BEHAVIOURS)) for i in range(60)
    ])

def row(taxonomy, gold, other, answer):
    items = tuple(DifferentialItem(taxonomy.node(node).name) for node in (answer, other, gold))
    report = DiagnosticReport(
        taxonomy.node(answer).name, taxonomy.behaviour(answer), findings="red plaque, no crust", differential=items
    )
    concepts = [{"kind": "colour", "word": "red", "share": 0.3}, {"kind": "scale", "word": "crust", "share": 0.1}]
    golds = {"gold_nodes": [gold, other], "gold_weights": [0.7, 0.3]}
    return {"completion": report.render(), **golds, "concepts": concepts}

digests = {}
for taxonomy, step in ((load_taxonomy(sys.argv[1]), 23), *((random_graph(seed), 3) for seed in range(3))):
    golds = [node for node in taxonomy.ids if node != taxonomy.root]
    triples = [(golds[i], golds[(i + 7) % len(golds)], answer)
               for i in range(0, len(golds), step) for answer in golds[:: 2 * step]]
    for name in MEASURES:
        values = [expected_credit(taxonomy, a, [(g, 0.7), (o, 0.3)], measure=name) for g, o, a in triples]
        digests.setdefault(name, hashlib.sha256()).update(repr(values).encode())
    rewards = []
    for path, line in builtin_rewards().items():
        made = resolve(path)
        rewards.append(call_factory(made, path, {}, {"taxonomy": taxonomy}) if line.startswith("factory") else made)
    # without the second: the format reward and its factory's default have one name
    for scores in score_rows([row(taxonomy, *triple) for triple in triples[::5]], rewards[:1] + rewards[2:]):
        for name, value in scores.items():
            digests.setdefault(name, hashlib.sha256()).update(repr(value).encode())
print(json.dumps({name: digest.hexdigest() for name, digest in digests.items()}))
"""
HASH_SEEDS = ("0", "1", "2", "3", "42", "4242", "65537", "4294967295")


def test_credits_and_rewards_are_the_same_under_eight_hash_seeds(taxonomy: Taxonomy, tmp_path: Path) -> None:
    assert any(len(taxonomy.parents(node)) > 1 for node in taxonomy.ids)  # else the test would show little
    for path in [FILES / "dermatology.yaml", *sorted((FILES / "dermatology").glob("*.yaml"))]:
        (tmp_path / path.relative_to(FILES)).parent.mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(FILES))  # an edit of the files must not look like a seed's doing

    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", HASH_SEED_SCRIPT, str(tmp_path / "dermatology.yaml")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(run, HASH_SEEDS))
    assert set(json.loads(outputs[0])) >= {*MEASURES, "hierarchy_reward", "malignancy_reward", "grounding_reward"}
    assert len(set(outputs)) == 1
