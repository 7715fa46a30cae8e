"""Several answers to one question, several diagnoses in one answer."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from evaluation_toys import answer, case, toy_taxonomy, written
from sklearn.metrics import top_k_accuracy_score

from skinrl.evaluation import Reply, evaluate
from skinrl.evaluation.predictions import predict
from skinrl.evaluation.sampled import pass_at, self_consistency, tried
from skinrl.evaluation.scoring import Judge, judge, target_of
from skinrl.report import DiagnosticReport, DifferentialItem

TOY = toy_taxonomy()


@pytest.mark.parametrize(("samples", "right"), [(4, 0), (4, 1), (4, 3), (6, 2), (6, 6)])
def test_pass_at_k_is_the_share_of_all_draws_of_k_that_hold_a_right_answer(samples, right):
    drawn = [index < right for index in range(samples)]
    for k in range(1, samples + 1):
        every = [any(one) for one in combinations(drawn, k)]
        assert pass_at(k, samples, right) == pytest.approx(np.mean(every))


def test_pass_at_k_is_tried_for_powers_of_two_and_all_samples():
    assert [tried(n) for n in (1, 2, 4, 6, 8)] == [[], [2], [2, 4], [2, 4, 6], [2, 4, 8]]


def target_node(asked):
    target = target_of(asked, TOY)
    assert target is not None
    return target


def votes(gold, *nodes):
    asked = case("a", gold)
    target = target_node(asked)
    return self_consistency([judge(target, answer(asked, node, "ok" if node else "invalid"), TOY) for node in nodes])


def test_the_answer_of_most_samples_counts():
    assert votes("naevus", "naevus", "naevus", "eczema") == 1.0
    assert votes("naevus", "naevus", "eczema", "eczema") == 0.0
    assert votes("naevus", "naevus", "eczema") == 0.5, "one of the two is drawn"
    assert votes("naevus", None, None, "naevus") == 1.0, "an answer without a node has no vote"
    assert votes("naevus", None, None) == 0.0


def test_who_counts_votes_does_not_know_the_gold():
    """Two right answers at different depths are two candidates, as two wrong ones would be."""
    right = ("nodular_melanoma", "lentigo_maligna_melanoma")
    assert votes("melanoma", *right, "naevus", "naevus") == 0.0


def test_metrics_of_samples_worked_by_hand():
    cases = [case(str(i), "naevus") for i in range(2)]
    drawn = [["naevus", "naevus", "eczema", "naevus"], ["eczema", "naevus", "psoriasis", "eczema"]]
    sampled = [[Reply(written(TOY, node)) for node in nodes] for nodes in drawn]
    found = evaluate(cases, TOY, greedy=[Reply(written(TOY, "naevus"))] * 2, sampled=sampled).metrics(resamples=20)
    assert found["accuracy_sampled"]["value"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert found["pass_at_2"]["value"] == pytest.approx((1 + 3 / 6) / 2)
    assert found["pass_at_4"]["value"] == 1.0
    assert found["self_consistency"]["value"] == 0.5
    assert "pass_at_1" not in found, "that is accuracy_sampled"


def report(diagnosis, *differential) -> Reply:
    return Reply(DiagnosticReport(diagnosis, differential=tuple(map(DifferentialItem, differential))).render())


def test_the_differential_is_read_in_order_and_a_name_that_is_no_node_keeps_its_place():
    row = predict(case("a", "naevus"), report("eczema", "Eczema", "dragon pox", "naevus"), TOY)
    assert row.differential == ("eczema", "", "naevus")
    assert predict(case("a", "naevus"), report("naevus"), TOY).differential == ()
    long = report("eczema", *["psoriasis", "eczema", "naevus", "melanoma", "melanocytic", "basal cell carcinoma"])
    assert len(predict(case("a", "naevus"), long, TOY).differential) == 5
    assert predict(case("a", "naevus"), Reply("nothing"), TOY).differential == ()
    two = predict(case("a", "naevus"), report("melanoma or psoriasis", "naevus"), TOY)
    assert (two.outcome, two.differential) == ("invalid", ()), "who names two has no further places"


@pytest.mark.parametrize(
    ("diagnosis", "differential", "rank"),
    [
        ("naevus", (), 1),
        ("eczema", ("eczema", "naevus"), 2),  # the head repeats the diagnosis and takes no place
        ("eczema", ("psoriasis", "naevus"), 3),
        ("eczema", ("eczema", "psoriasis", "psoriasis", "naevus"), 3),
        ("eczema", ("dragon pox", "naevus"), 3),  # a name that is no node does
        ("eczema", ("melanocytic",), None),  # an ancestor is not right
        ("undetermined", ("naevus",), 2),  # the first place is spent
    ],
)
def test_rank_of_the_first_right_one(diagnosis, differential, rank):
    asked = case("a", "naevus")
    target = target_node(asked)
    assert Judge(TOY).rank(target, predict(asked, report(diagnosis, *differential), TOY)) == rank


def test_top_k_agrees_with_scikit_learn():
    rng = np.random.default_rng(2)
    leaves = np.array(TOY.leaves)
    orders = [rng.permutation(len(leaves)) for _ in range(80)]
    gold = rng.integers(len(leaves), size=80)
    cases = [case(str(i), leaves[g]) for i, g in enumerate(gold)]
    replies = [report(leaves[o[0]].replace("_", " "), *(leaves[n].replace("_", " ") for n in o[:5])) for o in orders]
    found = evaluate(cases, TOY, greedy=replies).metrics(resamples=20)
    scores = np.zeros((80, len(leaves)))
    for row, order in enumerate(orders):
        scores[row, order] = np.arange(len(leaves), 0, -1)
    for k in (3, 5):
        theirs = top_k_accuracy_score(gold, scores, k=k, labels=range(len(leaves)))
        assert found[f"accuracy_top_{k}"]["value"] == pytest.approx(theirs)


def test_without_any_differential_there_is_no_top_k():
    found = evaluate([case("a", "naevus")], TOY, greedy=[report("naevus")]).metrics(resamples=20)
    assert "accuracy_top_3" not in found
