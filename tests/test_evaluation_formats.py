"""Forced answers are well formed by construction, and the likelihood of an option counts every way of writing it."""

from __future__ import annotations

import math

import pytest

from skinrl.evaluation import Case, Reply, evaluate
from skinrl.evaluation.formats import (
    ENDING,
    assemble,
    diagnosis_choices,
    empty_head,
    format_metrics,
    head,
    likelihood_predictions,
    malignancy_choices,
    option_likelihoods,
)
from skinrl.report import parse_report
from skinrl.taxonomy import Taxonomy
from skinrl.taxonomy.answer import read_answer

OPTIONS, NODES = ("melanoma", "melanocytic nevus"), ("melanoma", "melanocytic_nevus")


def case(number: int = 0, gold: str = "melanoma", *, options: bool = True, prefilled: str = "") -> Case:
    return Case(
        id=str(number),
        gold=((gold, 1.0),),
        group=str(number),
        kind="options" if options else "open",
        options=OPTIONS if options else (),
        option_nodes=NODES if options else (),
        prefilled=prefilled,
    )


@pytest.mark.parametrize("prefilled", ["", "<think>\n"])
@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("It is dark.", True),
        ("<think>\nIt is dark.\n</think>\n<answer>\nnonsense\n</answer>", True),
        ("It is dark.\n</think>\n<answer>", True),
        ("no tags <think> then <answer>\nDiagnosis: B", True),
        ("<think></think></answer><answer>", True),
        ("", True),
        ("<think>\n" + "dark and " * 200, False),
    ],
)
@pytest.mark.parametrize("options", [True, False])
def test_whatever_was_written_a_forced_answer_is_valid(
    text: str, finished: bool, prefilled: str, options: bool, taxonomy: Taxonomy
) -> None:
    one = case(options=options, prefilled=prefilled)
    text = text.removeprefix(prefilled)
    start = head(Reply(text, finished), one)
    for diagnosis in diagnosis_choices(one, taxonomy, lettered=True)[:6]:
        for block in malignancy_choices(diagnosis):
            assert block.startswith(diagnosis + ENDING), "the second step goes on from the first"
            made = assemble(start, block)
            answer = read_answer(
                made.text, taxonomy, options=one.options, option_nodes=one.option_nodes, prefilled=prefilled
            )
            assert answer.outcome == "ok", (made.text, answer.reason)
    assert len(start) <= max(len(text), 1) + 40


def test_the_models_own_thinking_is_kept_and_its_answer_is_not() -> None:
    text = "<think>\nFindings: dark\n</think>\n<answer>\nDiagnosis: nonsense\n</answer>"
    start = head(Reply(text), case())
    assert start == "<think>\nFindings: dark\n</think>\n"
    made = assemble(start, malignancy_choices("<answer>\nDiagnosis: A. melanoma")[0])
    report = parse_report(made.text, options=OPTIONS).report
    assert report is not None
    assert (report.findings, report.diagnosis) == ("dark", "melanoma")


def test_choices_are_the_options_in_every_accepted_form_else_all_names(taxonomy: Taxonomy) -> None:
    assert diagnosis_choices(case(), taxonomy, lettered=True) == (
        "<answer>\nDiagnosis: A. melanoma",
        "<answer>\nDiagnosis: B. melanocytic nevus",
        "<answer>\nDiagnosis: melanoma",
        "<answer>\nDiagnosis: melanocytic nevus",
    )
    assert len(diagnosis_choices(case(), taxonomy, lettered=False)) == 2
    names = {
        text.removeprefix("<answer>\nDiagnosis: ")
        for text in diagnosis_choices(case(options=False), taxonomy, lettered=False)
    }
    assert names == {taxonomy.node(id).name for id in taxonomy.ids if id != taxonomy.root} | {"undetermined"}


def test_the_likelihood_of_an_option_adds_its_forms() -> None:
    lettered = [math.log(0.2), math.log(0.1), math.log(0.3), math.log(0.4)]
    assert option_likelihoods(case(), lettered) == pytest.approx((math.log(0.5), math.log(0.5)))
    assert option_likelihoods(case(), [-1000.0, -1001.0]) == pytest.approx((-1000.0, -1001.0))


def test_an_empty_head_ends_where_the_answer_begins() -> None:
    assert empty_head(case()) + "<answer>" == "<think>\n</think>\n<answer>"
    assert empty_head(case(prefilled="<think>\n")) == "</think>\n"


def test_a_format_stands_beside_the_strict_number_of_the_very_same_cases(taxonomy: Taxonomy) -> None:
    def reply(letter: str) -> Reply:
        return Reply(f"<think>\n</think>\n<answer>\nDiagnosis: {letter}\nMalignancy: undetermined\n</answer>")

    cases = [case(number) for number in range(4)]
    logps = [(-1.0, -2.0), (-2.0, -1.0), (), (-0.5, -3.0)]
    main = evaluate(cases, taxonomy, greedy=[reply("A"), reply("B"), reply("A"), Reply("A!")], option_logps=logps)
    likely = likelihood_predictions(main)
    assert likely is not None
    assert [one.answer_node for one in likely.greedy] == ["melanoma", "melanocytic_nevus", "melanoma"]
    block = format_metrics(likely, {one.id: one for one in main.greedy}, resamples=100)
    assert (block["cases"], block["accuracy"]["n"]) == (3, 3)
    assert block["accuracy"]["value"] == pytest.approx(2 / 3)
    assert block["strict"]["value"] == pytest.approx(1 / 3), "of these three: the third case was not scored"
    assert likelihood_predictions(evaluate(cases, taxonomy, greedy=[reply("A")] * 4)) is None
