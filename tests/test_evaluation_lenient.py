"""The lenient reading: letter forms and final statements that are an answer, and texts that are none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl.evaluation import Case, Reply
from skinrl.evaluation.lenient import final_statement, predict_leniently
from skinrl.taxonomy import Taxonomy

OPTIONS = ("basal cell carcinoma", "benign neoplasm of skin", "melanoma", "melanoma in situ")
NODES = ("basal_cell_carcinoma", "", "melanoma", "melanoma_in_situ")
CHOICE = Case(id="1", gold=(("melanoma", 1.0),), group="p", kind="options", options=OPTIONS, option_nodes=NODES)
OPEN = Case(id="1", gold=(("melanoma", 1.0),), group="p")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("C", "melanoma"),
        ("C.", "melanoma"),
        ("(C)", "melanoma"),
        ("**C**", "melanoma"),
        ("C) melanoma", "melanoma"),
        ("Option C", "melanoma"),
        ("The image shows an asymmetric lesion.\n\nFinal answer: C", "melanoma"),
        ("**Answer:** C. melanoma", "melanoma"),
        ("I first thought of A.\n\nThe correct answer is (D).", "melanoma_in_situ"),
        ("\\boxed{D}", "melanoma_in_situ"),
        ("<think>A is likely</think><answer>D</answer>", "melanoma_in_situ"),
        ("The most likely diagnosis is basal cell carcinoma.", "basal_cell_carcinoma"),
        ("The most likely diagnosis is melanoma in situ.", "melanoma_in_situ"),
        ("bcc", "basal_cell_carcinoma"),  # an abbreviation that the taxonomy knows
        ("malignant melanoma", "melanoma"),
        ("<think>\nx\n</think>\n<answer>\nDiagnosis: D\nMalignancy: malignant\n</answer>", "melanoma_in_situ"),
    ],
)
def test_the_usual_ways_of_naming_an_option_are_read(text: str, node: str, taxonomy: Taxonomy) -> None:
    prediction = predict_leniently(CHOICE, Reply(text), taxonomy)
    assert (prediction.outcome, prediction.answer_node) == ("ok", node)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("basal cell", "unresolved"),  # never option B for its first letter
        ("benign", "unresolved"),
        ("A dark lesion with an irregular border", "unresolved"),  # the article is no letter
        ("(A) or (C)", "invalid"),
        ("A. melanoma", "invalid"),  # the letter of one, the name of another
        ("It is melanoma or basal cell carcinoma.", "invalid"),
        ("psoriasis", "invalid"),  # not offered
        ("<think>C. melanoma", "invalid"),  # never left the thinking
        ("", "invalid"),
    ],
)
def test_what_names_no_option_or_several_is_no_answer(text: str, outcome: str, taxonomy: Taxonomy) -> None:
    prediction = predict_leniently(CHOICE, Reply(text), taxonomy)
    assert (prediction.outcome, prediction.answer_node) == (outcome, None)


@pytest.mark.parametrize(
    ("text", "outcome", "node"),
    [
        ("Melanoma.", "ok", "melanoma"),
        ("It has three colours.\n\nThis is most consistent with a nodular melanoma.", "ok", "nodular_melanoma"),
        ("Diagnosis: psoriasis vulgaris", "ok", "plaque_psoriasis"),
        ("This is melanoma, not psoriasis.", "ok", "melanoma"),
        ("Either melanoma or psoriasis.", "invalid", None),
        ("I cannot tell.", "unresolved", None),
        ("<think>melanoma</think>\nI cannot tell.", "unresolved", None),  # thinking is never searched
    ],
)
def test_a_free_statement_is_read_by_the_taxonomy(
    text: str, outcome: str, node: str | None, taxonomy: Taxonomy
) -> None:
    prediction = predict_leniently(OPEN, Reply(text), taxonomy)
    assert (prediction.outcome, prediction.answer_node) == (outcome, node), prediction.raw
    if node == "melanoma":
        assert prediction.credit == 1.0


def test_a_text_that_was_cut_counts_as_truncated_unless_it_had_answered(taxonomy: Taxonomy) -> None:
    assert predict_leniently(OPEN, Reply("It might be", finished=False), taxonomy).outcome == "truncated"
    assert predict_leniently(OPEN, Reply("Answer: melanoma", finished=False), taxonomy).outcome == "ok"


def test_thinking_that_the_template_opened_is_not_searched_where_it_was_cut(taxonomy: Taxonomy) -> None:
    case = Case(id="1", gold=(("melanoma", 1.0),), group="p", prefilled="<think>\n")
    thought = "It could be melanoma.\n\nThe most likely diagnosis is melanoma"
    assert predict_leniently(case, Reply(thought, finished=False), taxonomy).outcome == "truncated"
    assert predict_leniently(case, Reply(f"{thought}\n</think>\nPsoriasis."), taxonomy).answer_node == "psoriasis"
    assert predict_leniently(case, Reply(thought), taxonomy).answer_node == "melanoma"  # ended of itself


@given(
    text=st.text()
    | st.from_regex(r"(<think>|</think>|<answer>|</answer>|[A-D(). *\n]|Answer: |melanoma|\\boxed\{){0,12}")
)
@settings(max_examples=150, deadline=None)
def test_every_text_is_read_to_one_outcome(taxonomy: Taxonomy, text: str) -> None:
    for case in (CHOICE, OPEN):
        prediction = predict_leniently(case, Reply(text), taxonomy)
        assert (prediction.answer_node is None) or prediction.outcome == "ok"
        if case.options and prediction.answer_node is not None:
            assert prediction.answer_node in case.option_nodes


def test_the_final_statement_is_the_last_one() -> None:
    assert final_statement("Answer: A\nsome words\nAnswer: B") == "B"
    assert final_statement("first\n\nsecond\n\nthird") == "third"
    assert final_statement("<answer>so\nFinal Answer: eczema\n</answer>") == "eczema"
