"""From a completion to a node: the reading that rewards and evaluation share."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl.errors import DataError
from skinrl.report import STYLES, DiagnosticReport, prefill
from skinrl.taxonomy import Node, Taxonomy
from skinrl.taxonomy.answer import ANSWER_OUTCOMES, read_answer

SMALL = Taxonomy(
    "small",
    [
        Node("root", "skin disease"),
        Node("melanocytic", "melanocytic tumour", ("root",)),
        Node("melanoma", "melanoma", ("melanocytic",), ("malignant melanoma", "MM")),
        Node("in_situ", "melanoma in situ", ("melanoma",), behaviour="precancerous or in situ"),
        Node("nodular", "nodular melanoma", ("melanoma",), behaviour="malignant"),
        Node("nevus", "melanocytic nevus", ("melanocytic",), ("mole",), behaviour="benign"),
        Node("overlap", "lichen planus pemphigoides", ("root",), behaviour="non-neoplastic"),
        Node("psoriasis", "psoriasis", ("root",), behaviour="non-neoplastic", codes={"DOID": "DOID:8893"}),
    ],
)
OPTIONS = ["melanocytic nevus", "melanoma", "psoriasis"]
NODES = ["nevus", "melanoma", "psoriasis"]


def said(diagnosis: str, malignancy: str = "malignant") -> str:
    return f"<think>\n</think>\n<answer>\nDiagnosis: {diagnosis}\nMalignancy: {malignancy}\n</answer>"


@pytest.mark.parametrize(
    ("diagnosis", "node"),
    [
        ("melanoma", "melanoma"),
        ("Melanoma.", "melanoma"),
        ("malignant melanoma", "melanoma"),
        ("melanoma in situ", "in_situ"),  # a listed name that holds another is one disease
        ("mole", "nevus"),
        ("melanocytic naevi", "nevus"),
        ("melanocytic tumor", "melanocytic"),
        ("DOID:8893", "psoriasis"),
        ("probable psoriasis", "psoriasis"),
    ],
)
def test_a_free_name_is_looked_up(diagnosis: str, node: str) -> None:
    answer = read_answer(said(diagnosis), SMALL)
    assert (answer.outcome, answer.node, answer.reason) == ("ok", node, "")
    assert answer.malignancy == "malignant"


@pytest.mark.parametrize(
    "diagnosis",
    [
        "melanoma or psoriasis",
        "melanoma and psoriasis",
        "melanoma / melanocytic nevus",
        "melanoma, psoriasis",
        "melanoma vs mole",
        "psoriasis, not melanoma",
        "melanoma (mole)",
        "melanoma; nodular melanoma; psoriasis",
    ],
)
def test_two_different_diseases_in_one_line_are_invalid(diagnosis: str) -> None:
    answer = read_answer(said(diagnosis), SMALL)
    assert (answer.outcome, answer.node, answer.reason) == ("invalid", None, "two diseases in one diagnosis")
    assert answer.malignancy is None


@pytest.mark.parametrize(
    "diagnosis",
    ["not melanoma", "no melanoma", "unlikely melanoma", "melanoma or something", "eruptive zoster", "B", "?"],
)
def test_what_names_no_disease_is_unresolved(diagnosis: str) -> None:
    answer = read_answer(said(diagnosis), SMALL)
    assert (answer.outcome, answer.node) == ("unresolved", None)
    assert answer.reason == "no such disease in the taxonomy"


def test_prose_in_the_diagnosis_line_is_unresolved() -> None:
    answer = read_answer(said("melanoma " * 50), SMALL)
    assert (answer.outcome, answer.reason) == ("unresolved", "the diagnosis is longer than a name")


def test_undetermined_is_ok_without_a_node() -> None:
    for options, nodes in (((), ()), (OPTIONS, NODES)):
        answer = read_answer(said("undetermined", "undetermined"), SMALL, options=options, option_nodes=nodes)
        assert (answer.outcome, answer.node, answer.undetermined) == ("ok", None, True)
        assert answer.malignancy is None


def test_an_option_stands_for_its_node() -> None:
    for diagnosis in ("B", "B. melanoma", "melanoma"):
        answer = read_answer(said(diagnosis), SMALL, options=OPTIONS, option_nodes=NODES)
        assert (answer.outcome, answer.node, answer.parsed.option) == ("ok", "melanoma", "B")
        assert answer.text == "melanoma"


def test_an_option_is_not_looked_up_by_its_name() -> None:
    answer = read_answer(said("A"), SMALL, options=["psoriasis", "melanoma"], option_nodes=["nevus", None])
    assert answer.node == "nevus"
    answer = read_answer(said("B"), SMALL, options=["psoriasis", "melanoma"], option_nodes=["nevus", None])
    assert (answer.outcome, answer.node, answer.reason) == ("unresolved", None, "the option has no node")


def test_a_synonym_of_an_option_is_not_offered() -> None:
    answer = read_answer(said("mole"), SMALL, options=OPTIONS, option_nodes=NODES)
    assert (answer.outcome, answer.reason) == ("invalid", "option not offered")


def test_letter_and_name_that_disagree_are_invalid() -> None:
    answer = read_answer(said("A. melanoma"), SMALL, options=OPTIONS, option_nodes=NODES)
    assert (answer.outcome, answer.reason) == ("invalid", "letter and name disagree")


def test_the_parsers_outcomes_pass_through() -> None:
    assert read_answer("melanoma", SMALL).outcome == "invalid"
    cut = read_answer(said("melanoma"), SMALL, finished=False)
    assert (cut.outcome, cut.node, cut.text) == ("truncated", None, "")


def test_a_prefilled_tag_and_a_style_reach_the_parser() -> None:
    text = said("melanoma").removeprefix(prefill())
    assert read_answer(text, SMALL, prefilled=prefill()).node == "melanoma"
    text = DiagnosticReport("melanoma", "malignant").render("skin_r1")
    assert read_answer(text, SMALL, style="skin_r1").node == "melanoma"
    assert read_answer(text, SMALL).outcome == "invalid"


def test_options_without_their_nodes_are_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="3 options but 0 option nodes"):
        read_answer(said("B"), SMALL, options=OPTIONS)


def test_every_name_and_synonym_that_ships_is_its_own_node(taxonomy: Taxonomy) -> None:
    for id in sorted(set(taxonomy.ids) - {taxonomy.root}):  # "skin disease" names none
        node = taxonomy.node(id)
        for name in (node.name, *node.synonyms):
            answer = read_answer(said(name), taxonomy)
            assert (answer.outcome, answer.node) == ("ok", id), name


LINES = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(["melanoma", "or", "mole", ",", "not", "psoriasis", "(", ")", "B.", "/"])).map(" ".join),
)


@given(LINES, st.sampled_from(STYLES), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_text_raises(line: str, style: str, closed: bool) -> None:
    options, nodes = (OPTIONS, NODES) if closed else ((), ())
    for text in (line, said(line), f"<thinking>x</thinking>\n<final diagnosis>{line}</final diagnosis>"):
        answer = read_answer(text, SMALL, options=options, option_nodes=nodes, style=style)
        assert answer.outcome in ANSWER_OUTCOMES
        assert answer.node is None or (answer.outcome == "ok" and answer.node in SMALL)
        assert (answer.outcome == "ok") == (answer.reason == "")
