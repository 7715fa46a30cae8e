"""The hierarchy as a graph: hand-drawn trees, and the promises that hold for every one."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pickle
import subprocess
import sys

import networkx
import pytest

from skinrl.errors import TaxonomyError
from skinrl.taxonomy import Match, Node, Taxonomy


def diamond() -> Taxonomy:
    """root > a, b; a > c > d; b > d; a > e. The node d has two parents at different depths."""
    return Taxonomy(
        "diamond",
        [
            Node("root", "root"),
            Node("a", "alpha", ("root",)),
            Node("b", "beta", ("root",)),
            Node("c", "gamma", ("a",)),
            Node("d", "delta", ("c", "b"), behaviour="malignant"),
            Node("e", "epsilon", ("a",), synonyms=("EE",), behaviour="benign", codes={"DOID": "DOID:1"}),
        ],
    )


def test_ancestors_hold_the_node_and_all_above_it_but_never_the_root():
    t = diamond()
    assert t.ancestors("d") == frozenset({"d", "c", "b", "a"})
    assert t.ancestors("e") == frozenset({"e", "a"})
    assert t.ancestors("a") == frozenset({"a"})
    assert t.ancestors("root") == frozenset()


def test_descendants_and_is_ancestor_are_strict():
    t = diamond()
    assert t.descendants("a") == frozenset({"c", "d", "e"})
    assert t.descendants("d") == frozenset()
    assert t.is_ancestor("root", "d")
    assert t.is_ancestor("b", "d")
    assert not t.is_ancestor("d", "d")
    assert not t.is_ancestor("d", "b")


def test_the_level_is_the_shortest_way_from_the_root_and_the_path_goes_that_way():
    t = diamond()
    assert [t.level(id) for id in ("root", "a", "b", "c", "d", "e")] == [0, 1, 1, 2, 2, 2]
    assert t.path("d") == ("b", "d")
    assert t.path("c") == ("a", "c")
    assert t.path("root") == ()


def test_of_two_equally_short_ways_the_parent_listed_first_is_taken():
    nodes = [Node("r", "r"), Node("x", "x", ("r",)), Node("y", "y", ("r",)), Node("z", "z", ("y", "x"), (), "benign")]
    assert Taxonomy("t", nodes).path("z") == ("y", "z")


def test_common_ancestors_are_sorted_by_level_then_id():
    t = diamond()
    assert t.common_ancestors("d", "e") == ("a",)
    assert t.common_ancestors("d", "d") == ("a", "b", "c", "d")
    assert t.common_ancestors("b", "e") == ()


def test_an_inner_node_has_the_behaviour_that_its_leaves_share_or_none():
    t = diamond()
    assert t.behaviour("c") == "malignant"
    assert t.behaviour("a") is None
    assert t.behaviours("a") == ("benign", "malignant")
    assert t.leaves_below("a") == ("d", "e")
    assert t.leaves_below("e") == ("e",)


def test_children_ids_leaves_and_classes_come_in_a_fixed_order():
    t = diamond()
    assert t.ids == ("a", "b", "c", "d", "e", "root")
    assert t.leaves == ("d", "e")
    assert t.classes == ("a", "b")
    assert t.children("a") == ("c", "e")
    assert t.parents("d") == ("c", "b")
    assert "d" in t
    assert "nothing" not in t


def test_the_graph_is_a_frozen_networkx_graph_with_edges_from_parent_to_child():
    graph = diamond().graph
    assert set(graph.edges) == {("root", "a"), ("root", "b"), ("a", "c"), ("c", "d"), ("b", "d"), ("a", "e")}
    assert networkx.is_frozen(graph)
    assert networkx.is_directed_acyclic_graph(graph)


def test_the_shipped_taxonomy_agrees_with_networkx_about_ancestors_and_levels(taxonomy):
    graph = taxonomy.graph
    levels = networkx.single_source_shortest_path_length(graph, taxonomy.root)
    for id in taxonomy.ids:
        expected = (networkx.ancestors(graph, id) | {id}) - {taxonomy.root}
        assert taxonomy.ancestors(id) == expected
        assert taxonomy.descendants(id) == networkx.descendants(graph, id)
        assert taxonomy.level(id) == levels[id]
        assert len(taxonomy.path(id)) == levels[id]
        walk = (taxonomy.root, *taxonomy.path(id))
        assert all(graph.has_edge(a, b) for a, b in itertools.pairwise(walk))


def test_a_taxonomy_and_its_nodes_cannot_be_changed():
    t = diamond()
    with pytest.raises(AttributeError, match="immutable"):
        t.name = "other"
    with pytest.raises(AttributeError, match="immutable"):
        del t.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        t.node("e").name = "other"
    with pytest.raises(TypeError):
        t.node("e").codes["DOID"] = "DOID:2"


def test_pickling_keeps_everything(taxonomy):
    for t in (diamond(), taxonomy):
        copy = pickle.loads(pickle.dumps(t))
        assert copy.checksum == t.checksum
        assert copy.ids == t.ids
        assert copy.classes == t.classes
        assert dict(copy.sources) == dict(t.sources)
        assert all(copy.node(id) == t.node(id) for id in t.ids)
    assert pickle.loads(pickle.dumps(diamond())).resolve("EE") == Match("e", "abbreviation", 1.0)


def test_the_checksum_follows_the_facts_and_not_the_sources():
    plain = Taxonomy("t", [Node("r", "r"), Node("x", "x", ("r",), (), "benign")])
    sourced = Taxonomy("t", [Node("r", "r"), Node("x", "x", ("r",), (), "benign", sources={"behaviour": ("do",)})])
    changed = Taxonomy("t", [Node("r", "r"), Node("x", "x", ("r",), (), "malignant")])
    assert plain.checksum == sourced.checksum
    assert plain.checksum != changed.checksum


def test_an_unknown_node_is_an_error_that_names_the_nearest(taxonomy):
    with pytest.raises(TaxonomyError, match=r"no node 'basal_cell_carzinoma'.*basal_cell_carcinoma"):
        taxonomy.node("basal_cell_carzinoma")
    for ask in (taxonomy.ancestors, taxonomy.level, taxonomy.path, taxonomy.children, taxonomy.behaviour):
        with pytest.raises(TaxonomyError):
            ask("no_such_node")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Node("r", "r"), Node("x", "x", ("nowhere",))], "unknown parent 'nowhere'"),
        ([Node("r", "r"), Node("s", "s")], "one node without parents"),
        ([Node("r", "r"), Node("x", "x", ("r", "y")), Node("y", "y", ("x",))], "cycle"),
        ([Node("r", "r"), Node("x", "wart", ("r",)), Node("y", "Warts", ("r",))], "claimed by 'x' and by 'y'"),
    ],
)
def test_a_broken_graph_made_in_code_is_refused_too(nodes, message):
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy("t", nodes)


_SCRIPT = """
import hashlib
from skinrl.taxonomy import load_taxonomy
t = load_taxonomy()
out = [t.checksum, repr(t.classes), repr([t.path(i) for i in t.ids]), repr([t.behaviours(i) for i in t.ids])]
twos = [i for i in t.ids if len(t.parents(i)) > 1]
out.append(repr([t.common_ancestors(a, b) for a in twos for b in t.ids]))
out.append(repr([t.leaves_below(i) for i in t.ids]))
out.append(repr([t.nearest(x) for x in ("red scaly rash", "melanosis", "wart like")]))
out.append(repr([t.resolve(x) for x in ("melonoma", "probable psoriasis", "keratosis seborrheic")]))
out.append(repr(list(t.graph.edges)))
print(hashlib.sha256("|".join(out).encode()).hexdigest(), len(twos))
"""


def test_every_answer_is_the_same_under_every_hash_seed():
    answers = set()
    for seed in ("0", "1", "4242"):
        run = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        answers.add(run.stdout.strip())
    assert len(answers) == 1
    assert int(answers.pop().split()[1]) > 20  # nodes with two parents took part


def test_importing_the_taxonomy_loads_neither_torch_nor_networkx():
    code = "import sys, skinrl.taxonomy as t; t.load_taxonomy(); print({'torch', 'networkx'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "set()"
