"""A completion becomes one row: outcome, node and credit as the rewards see them."""

from __future__ import annotations

import pytest
from evaluation_toys import case, toy_taxonomy, written

from skinrl.errors import DataError
from skinrl.evaluation import Prediction, Reply
from skinrl.evaluation.predictions import predict, predict_all, predict_samples
from skinrl.report import DiagnosticReport

TOY = toy_taxonomy()
NODULAR = case("a", "nodular_melanoma")


@pytest.mark.parametrize(
    ("reply", "outcome", "node", "credit"),
    [
        (Reply(written(TOY, "nodular_melanoma")), "ok", "nodular_melanoma", 1.0),
        (Reply(written(TOY, "melanoma")), "ok", "melanoma", 0.8),  # 2·2 / (2 + 3)
        (Reply(written(TOY, "naevus")), "ok", "naevus", 0.0),  # benign for malignant
        (Reply(DiagnosticReport("undetermined").render()), "ok", None, 0.0),
        (Reply(DiagnosticReport("dragon pox").render()), "unresolved", None, 0.0),
        (Reply("It is a nodular melanoma."), "invalid", None, 0.0),
        (Reply(written(TOY, "nodular_melanoma") * 2), "invalid", None, 0.0),
        (Reply(written(TOY, "nodular_melanoma")[:40], finished=False), "truncated", None, 0.0),
    ],
)
def test_every_kind_of_completion_has_its_outcome(reply, outcome, node, credit):
    row = predict(NODULAR, reply, TOY)
    assert (row.outcome, row.answer_node) == (outcome, node)
    assert row.credit == pytest.approx(credit)
    assert row.completion == reply.text
    assert (row.reason == "") == (outcome == "ok")


def test_the_row_keeps_what_was_written_and_what_was_said_of_malignancy():
    row = predict(NODULAR, Reply(DiagnosticReport("Naevus", "malignant").render()), TOY)
    assert (row.raw, row.answer_node, row.malignancy) == ("Naevus", "naevus", "malignant")
    assert predict(NODULAR, Reply("nothing"), TOY).raw == ""


def test_an_option_letter_stands_for_its_node():
    nodes = ("psoriasis", "nodular_melanoma", "eczema", "naevus")
    asked = case("a", "nodular_melanoma", kind="options", options=nodes, option_nodes=nodes)
    row = predict(asked, Reply(DiagnosticReport("B", "malignant").render()), TOY)
    assert (row.outcome, row.answer_node, row.credit) == ("ok", "nodular_melanoma", 1.0)
    assert predict(asked, Reply(DiagnosticReport("E").render()), TOY).outcome == "invalid"


def test_a_gold_without_a_node_has_no_credit():
    assert predict(case("a"), Reply(written(TOY, "naevus")), TOY).credit is None


@pytest.mark.parametrize("golds", [("naevus",), (("naevus", 0.25), ("eczema", 0.75)), ()])
def test_rows_read_back_equal(golds):
    row = predict(case("a", *golds), Reply(written(TOY, "naevus")), TOY, sample=2)
    as_dict = row.to_dict()
    assert list(as_dict)[:7] == ["id", "gold", "raw", "outcome", "answer_node", "credit", "completion"]
    assert Prediction.from_dict(as_dict) == row
    assert predict(NODULAR, Reply(""), TOY).to_dict()["gold"] == "nodular_melanoma"


def test_a_foreign_row_is_refused_by_its_id():
    with pytest.raises(DataError, match="prediction x1"):
        Prediction.from_dict({"id": "x1", "gold": "naevus", "answer": "naevus"})
    row = predict(NODULAR, Reply(""), TOY).to_dict()
    with pytest.raises(DataError, match="'great'"):
        Prediction.from_dict(row | {"outcome": "great"})


def test_numbers_of_completions_must_fit():
    cases = [case("a", "naevus"), case("b", "naevus")]
    with pytest.raises(DataError, match="1 completions for 2 cases"):
        predict_all(cases, [Reply("")], TOY)
    with pytest.raises(DataError, match=r"\[1, 2\] samples"):
        predict_samples(cases, [[Reply("")], [Reply(""), Reply("")]], TOY)
    with pytest.raises(DataError, match="samples for 1 of 2"):
        predict_samples(cases, [[Reply("")]], TOY)
