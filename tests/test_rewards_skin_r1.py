"""Skin-R1's composite reward: its sum, its forms, and what the clean parser changes."""

from __future__ import annotations

import pickle

import pytest
from reward_setup import OPEN_CASES, OPTION_CASES, TREE, batch, open_batch, option_batch, said

from skinrl.errors import PluginError
from skinrl.rewards import get_skin_r1_reward

OPEN_PAPER = {  # 1 for a valid report, 0.75·i/3 on the path, 0.25 for "malignant"
    "gold": 2.0,
    "very long": 2.0,
    "parent": 1.75,
    "grandparent": 1.25,
    "sibling": 1.25,
    "in situ sibling": 1.0,
    "melanoma called a naevus": 1.0,
    "uncertain relative": 1.0,
    "wrong": 1.0,
    "wrong, but malignant": 1.25,
    "undetermined": 1.0,
    "only in the reasoning": 1.0,
    # a valid report whose diagnosis is no node: the format alone
    "unknown disease": 1.0,
    "negated": 1.0,
    "very long name": 1.0,
}  # everything else is no valid answer and earns 0


def test_the_table_of_open_answers_in_the_papers_form() -> None:
    scores = get_skin_r1_reward(TREE, "paper")(**open_batch())
    assert dict(zip(OPEN_CASES, scores, strict=True)) == pytest.approx(
        {case: OPEN_PAPER.get(case, 0.0) for case in OPEN_CASES}
    )


def test_the_code_form_equals_the_papers_where_the_gold_itself_is_offered() -> None:
    expected = {"letter": 2.0, "letter and name": 2.0, "name": 2.0, "sibling": 1.25, "opposite": 1.0, "wrong": 1.0}
    for form in ("paper", "code", "standard"):
        scores = get_skin_r1_reward(TREE, form)(**option_batch())
        assert dict(zip(OPTION_CASES, scores, strict=True)) == pytest.approx(
            {case: expected.get(case, 0.0) for case in OPTION_CASES}
        )


@pytest.mark.parametrize(
    ("form", "scores"), [("paper", [1.75, 1.5]), ("code", [2.0, 1.625]), ("standard", [2.0, 1.25])]
)
def test_the_forms_differ_where_the_gold_is_not_offered(form: str, scores: list[float]) -> None:
    cases = {"melanoma": said("A"), "melanocytic tumour": said("B")}
    options = ["melanoma", "melanocytic tumour", "psoriasis"]
    columns = batch(cases, options=options, option_nodes=["melanoma", "melanocytic", "psoriasis"])
    assert get_skin_r1_reward(TREE, form)(**columns) == pytest.approx(scores)


def test_the_published_parsers_faults_are_gone() -> None:
    # Its option is the first letter of the answer, its malignancy the first of three words.
    options, nodes = (
        ["psoriasis", "nodular melanoma", "common nevus"],
        ["psoriasis", "nodular_melanoma", "common_nevus"],
    )
    cases = {
        "a name that begins with the letter of the right option": said("basal cell carcinoma"),
        "two malignancies": said("B", "malignant, not benign"),
    }
    assert get_skin_r1_reward(TREE)(**batch(cases, options=options, option_nodes=nodes)) == [0.0, 0.0]


def test_golds_without_a_bucket_are_kept_without_the_malignancy_part() -> None:
    cases = {"a": said("psoriasis", "non-neoplastic"), "b": said("psoriasis", "benign")}
    assert get_skin_r1_reward(TREE)(**batch(cases, "psoriasis")) == [1.75, 1.75]
    assert get_skin_r1_reward(TREE)(**batch({"a": said("atypical spitz tumour", "uncertain")}, "spitz")) == [1.75]


def test_none_where_the_gold_has_no_node() -> None:
    assert get_skin_r1_reward(TREE)(**open_batch(None)) == [None] * len(OPEN_CASES)


def test_skin_r1s_own_format() -> None:
    text = "<thinking>A dark nodule.</thinking>\n<final diagnosis>B (malignant)</final diagnosis>"
    options, nodes = ["psoriasis", "nodular melanoma"], ["psoriasis", "nodular_melanoma"]
    columns = batch({"theirs": text, "ours": said("B")}, options=options, option_nodes=nodes)
    assert get_skin_r1_reward(TREE, style="skin_r1")(**columns) == [2.0, 0.0]


def test_names_pickles_and_settings() -> None:
    reward = get_skin_r1_reward(TREE, "paper")
    assert (reward.__name__, reward.maximum) == ("skin_r1_paper_reward", 2.0)
    assert pickle.loads(pickle.dumps(reward))(**open_batch()) == reward(**open_batch())
    with pytest.raises(PluginError, match="unknown form 'best' of Skin-R1's reward; expected one of: paper, code"):
        get_skin_r1_reward(TREE, "best")
