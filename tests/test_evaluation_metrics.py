"""Every metric against numbers worked by hand, and against a plain implementation on networkx and scikit-learn."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from evaluation_toys import case, scored, toy_taxonomy
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from skinrl.evaluation.analysis import analyse
from skinrl.evaluation.metrics import metrics_of
from skinrl.evaluation.scoring import target_of
from skinrl.taxonomy import Node, Taxonomy

TOY = toy_taxonomy()

# gold, answer, outcome, stated malignancy            shared / answered / wanted   severity
WORKED: list[tuple[str, Any, Any, Any]] = [
    ("nodular_melanoma", "nodular_melanoma", "ok", None),  # 3 / 3 / 3   0
    ("nodular_melanoma", "lentigo_maligna_melanoma", "ok", None),  # 2 / 3 / 3   1
    ("naevus", "melanoma", "ok", None),  # 1 / 2 / 2   1
    ("melanoma", "nodular_melanoma", "ok", None),  # a hit, projected up: 2 / 2 / 2   0
    ("basal_cell_carcinoma", "keratinocytic", "ok", "malignant"),  # 1 / 1 / 2   1
    ("psoriasis", None, "invalid", None),  # 0 / 0 / 2   2
    ("lichenoid_keratosis", "psoriasis", "ok", None),  # 1 / 2 / 3   1
    ("eczema", "nodular_melanoma", "ok", None),  # 0 / 3 / 2   2
]


def worked() -> dict:
    rows = [scored(TOY, case(str(i), gold), *rest) for i, (gold, *rest) in enumerate(WORKED)]
    return metrics_of(rows, TOY, resamples=100, seed=1)


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("accuracy", 2 / 8, 8),
        ("accuracy_level_1", 6 / 8, 8),
        ("accuracy_level_2", 3 / 8, 8),
        ("accuracy_level_3", 1 / 2, 2),
        # classes: nodular melanoma 1 of 2, melanoma 1 of 1, five others 0
        ("balanced_accuracy", (0.5 + 1) / 7, 8),
        # nodular melanoma: 2·1 / (2 gold + 2 called); melanoma: 2·1 / (1 gold + 3 called)
        ("macro_f1", (2 / 4 + 2 / 4) / 7, 8),
        ("hierarchical_precision", 10 / 16, 7),
        ("hierarchical_recall", 10 / 19, 8),
        ("hierarchical_f1", 20 / 35, 8),
        ("mistake_severity", (1 + 1 + 1 + 2 + 1 + 2) / 6, 6),
        ("malignancy_sensitivity", 4 / 4, 4),
        ("malignancy_specificity", 1 / 4, 4),
        # 4 of 4 malignant and 2 of 4 benign cases called malignant, half of the cases malignant
        ("malignancy_ppv", 4 / 6, 6),
        ("abstained_share", 0.0, 8),
        ("accuracy_answered", 2 / 7, 7),
        ("invalid_share", 1 / 8, 8),
        ("truncated_share", 0.0, 8),
        ("unresolved_share", 0.0, 8),
    ],
)
def test_metric_worked_by_hand(name, value, n):
    found = worked()[name]
    assert found["value"] == pytest.approx(value)
    assert found["n"] == n
    assert found["low"] <= found["value"] <= found["high"]


def test_there_is_no_other_metric_and_no_level_below_the_deepest_gold():
    assert "accuracy_level_4" not in worked()
    assert "accuracy_sampled" not in worked(), "nothing was sampled"
    assert len(worked()) == 18


def plain_metrics(taxonomy, pairs) -> dict[str, float]:
    """The definitions of the design, case by case, on the networkx graph alone."""
    graph, root = taxonomy.graph, taxonomy.root
    level = nx.single_source_shortest_path_length(graph, root)

    def a(node):
        return (nx.ancestors(graph, node) | {node}) - {root} if node else set()

    hits, shared, answered, wanted, severity, levels = [], 0, 0, 0, [], {}
    for gold, given in pairs:
        hit = given is not None and (given == gold or gold in nx.ancestors(graph, given))
        projected = gold if hit else given
        hits.append(hit)
        shared, answered, wanted = (
            shared + len(a(projected) & a(gold)),
            answered + len(a(projected)),
            wanted + len(a(gold)),
        )
        if not hit:
            meeting = (a(projected) & a(gold)) | {root}
            severity.append(min(nx.shortest_path_length(graph, node, gold) for node in meeting))
        for k in range(1, level[gold] + 1):
            at_k = [{node for node in a(x) if level[node] == k} for x in (projected, gold)]
            deep_enough = projected is not None and level[projected] >= k
            levels.setdefault(k, []).append(deep_enough and bool(at_k[0] & at_k[1]))
    precision, recall = shared / answered, shared / wanted
    return {
        "accuracy": np.mean(hits),
        "hierarchical_precision": precision,
        "hierarchical_recall": recall,
        "hierarchical_f1": 2 * precision * recall / (precision + recall),
        "mistake_severity": np.mean(severity),
        **{f"accuracy_level_{k}": np.mean(right) for k, right in levels.items()},
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_real_taxonomy_agrees_with_networkx_on_random_answers(taxonomy, seed):
    rng = np.random.default_rng(seed)
    nodes = [node for node in taxonomy.ids if node != taxonomy.root]
    pairs = []
    for _ in range(300):
        gold = nodes[rng.integers(len(nodes))]
        near = [*taxonomy.descendants(gold), *taxonomy.ancestors(gold), gold]
        given = sorted(near)[rng.integers(len(near))] if rng.random() < 0.6 else nodes[rng.integers(len(nodes))]
        pairs.append((gold, given if rng.random() > 0.1 else None))
    rows = [
        scored(taxonomy, case(str(i), gold), given, "ok" if given else "unresolved")
        for i, (gold, given) in enumerate(pairs)
    ]
    found = metrics_of(rows, taxonomy, resamples=20, seed=1)
    expected = plain_metrics(taxonomy, pairs)
    assert {name for name in found if name.startswith("accuracy_level")} <= set(expected)
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value), name


def test_flat_labels_agree_with_scikit_learn(taxonomy):
    rng = np.random.default_rng(5)
    gold = rng.choice(taxonomy.leaves[:12], size=200)
    given = np.where(rng.random(200) < 0.5, gold, rng.choice(taxonomy.leaves[:12], size=200))
    rows = [scored(taxonomy, case(str(i), g), p) for i, (g, p) in enumerate(zip(gold, given, strict=True))]
    found = metrics_of(rows, taxonomy, resamples=20, seed=1)
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(gold, given))
    assert found["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(gold, given))
    assert found["macro_f1"]["value"] == pytest.approx(f1_score(gold, given, average="macro"))


@pytest.mark.parametrize("outcome", ["invalid", "truncated", "unresolved", "ok"])
def test_an_answer_without_a_node_is_wrong_everywhere(outcome):
    rows = [
        scored(TOY, case(str(i), gold), None, outcome) for i, gold in enumerate(["naevus", "nodular_melanoma"] * 5)
    ]
    found = metrics_of(rows, TOY, resamples=20, seed=1)
    wrong = [name for name in found if name.startswith(("accuracy", "balanced", "macro", "malignancy"))]
    of_no_case = {"accuracy_answered", "malignancy_ppv"}  # over answers with a node, over malignant calls
    assert len(wrong) == 10
    assert all(found[name]["value"] == 0 for name in wrong if name not in of_no_case)
    assert all(found[name] == {"value": None, "low": None, "high": None, "n": 0} for name in of_no_case)
    assert found["abstained_share"]["value"] == (outcome == "ok")
    assert found["hierarchical_recall"]["value"] == 0
    assert found["hierarchical_precision"] == {"value": None, "low": None, "high": None, "n": 0}
    assert found["mistake_severity"]["value"] == pytest.approx((2 + 3) / 2)
    if outcome != "ok":
        assert found[f"{outcome}_share"]["value"] == 1


def test_a_second_parent_is_no_way_round_the_level_of_the_answer():
    """An answer that stops above level k is wrong at level k, whatever nodes it shares there."""
    keratinocytic = scored(TOY, case("a", "lichenoid_keratosis"), "keratinocytic").greedy
    inflammatory = scored(TOY, case("a", "lichenoid_keratosis"), "inflammatory").greedy
    assert keratinocytic.right_levels == inflammatory.right_levels == {1}
    rows = [("skin", ()), ("a", ("skin",)), ("deep", ("a",)), ("short", ("deep", "skin")), ("leaf", ("short",))]
    uneven = Taxonomy("uneven", [Node(id, id, parents) for id, parents in rows])
    assert [uneven.level(node) for node in ("a", "deep", "short", "leaf")] == [1, 2, 1, 2]
    # "short" stands at level 1 and lies below "deep", of level 2, as the target does: it has not said level 2
    assert scored(uneven, case("a", "leaf"), "short").greedy.right_levels == {1}


@pytest.mark.parametrize(
    ("stated", "node", "side"),
    [
        ("malignant", "naevus", "malignant"),  # the report's own word counts
        ("precancerous or in situ", "naevus", "malignant"),
        ("non-neoplastic", "melanoma", "benign"),
        ("uncertain", "melanoma", None),
        (None, "melanoma", "malignant"),
        (None, "melanocytic", None),
        (None, "psoriasis", "benign"),
        (None, None, None),
    ],
)
def test_the_malignancy_line_counts_and_the_node_speaks_where_it_is_silent(stated, node, side):
    assert scored(TOY, case("a", "melanoma"), node, "ok", stated).greedy.side == side


def test_with_options_the_most_specific_right_one_is_asked_for():
    nodes = ("melanocytic", "psoriasis", "melanoma", "eczema")
    asked = case("a", "nodular_melanoma", kind="options", options=nodes, option_nodes=nodes)
    target = target_of(asked, TOY)
    assert target.nodes == ("melanoma",)
    assert target.side == "malignant", "the gold's own, though options stand above it"
    assert scored(TOY, asked, "melanoma").greedy.hit
    assert not scored(TOY, asked, "melanocytic").greedy.hit
    offered = case("b", "naevus", kind="options", options=nodes, option_nodes=("naevus", *nodes[1:]))
    assert target_of(offered, TOY).nodes == ("naevus",)


def test_a_gold_above_the_options_is_hit_by_each_option_below_it():
    nodes = ("nodular_melanoma", "lentigo_maligna_melanoma", "psoriasis", "eczema")
    asked = case("a", "melanoma", kind="options", options=nodes, option_nodes=nodes)
    assert [scored(TOY, asked, node).greedy.hit for node in nodes] == [True, True, False, False]


def test_a_weighted_differential_asks_for_its_top_and_equal_tops_are_all_right():
    one = case("a", ("psoriasis", 0.6), ("eczema", 0.4))
    assert [scored(TOY, one, node).greedy.hit for node in ("psoriasis", "eczema")] == [True, False]
    tie = case("b", ("psoriasis", 0.5), ("naevus", 0.5))
    judged = [scored(TOY, tie, node).greedy for node in ("psoriasis", "naevus", "eczema")]
    assert [j.hit for j in judged] == [True, True, False]
    assert [j.node for j in judged] == ["naevus", "naevus", "eczema"]
    assert target_of(tie, TOY).side == "benign"
    open_side = case("c", ("nodular_melanoma", 0.5), ("naevus", 0.5))
    assert target_of(open_side, TOY).side is None, "neither a malignant nor a benign case"


def test_a_gold_without_a_node_has_no_target():
    assert target_of(case("a"), TOY) is None
    assert target_of(case("a", "skin"), TOY) is None


def parts_of(rows):
    """Blocks by part, small parts, slices left out."""
    blocks = analyse(rows, TOY, resamples=20, seed=1).blocks
    return blocks, blocks["small_groups"], blocks["slices_left_out"]


def toned(id, tone, **facts):
    return scored(TOY, case(id, "naevus", skin_tone=tone, **facts), "naevus" if int(id) % 2 else "eczema")


def test_skin_tone_scales_are_never_merged_and_unknown_is_a_value():
    tones = [("fitzpatrick", "5"), ("fitzpatrick", "2"), ("monk", "5"), None] * 3
    rows = [toned(str(i), tone) for i, tone in enumerate(tones)]
    blocks, _, _ = parts_of(rows)
    counts = {
        scale: {value: metrics["accuracy"]["n"] for value, metrics in by_value.items()}
        for scale, by_value in blocks["by_skin_tone"].items()
    }
    assert counts == {
        "fitzpatrick": {"2": 3, "5": 3, "unknown": 6},
        "fitzpatrick_bands": {"light": 3, "dark": 3, "unknown": 6},
        "monk": {"5": 3, "unknown": 9},
    }
    none = [toned(str(i), None) for i in range(6)]
    assert set(parts_of(none)[0]["by_skin_tone"]) == {"unknown"}


def test_groups_of_fewer_than_five_patients_are_listed():
    rows = [toned(str(i), None, slices={"sex": "f" if i < 4 else "m"}, modality="clinical") for i in range(12)]
    blocks, small, _ = parts_of(rows)
    assert small == [{"where": ["by_slice", "sex", "f"], "groups": 4, "cases": 4}]
    assert blocks["by_slice"]["sex"]["f"]["accuracy"]["n"] == 4
    assert blocks["by_modality"]["clinical"]["accuracy"]["value"] == pytest.approx(0.5)
    many_images = [toned(str(i), None, group=f"patient {i % 3}") for i in range(30)]
    assert {"where": ["by_source", "toy"], "groups": 3, "cases": 30} in parts_of(many_images)[1]


def test_a_slice_that_is_really_an_identifier_is_left_out_by_name():
    rows = [toned(str(i), None, slices={"lesion": str(i), "site": "arm"}) for i in range(60)]
    blocks, _, left_out = parts_of(rows)
    assert left_out == ["lesion"]
    assert list(blocks["by_slice"]) == ["site"]
