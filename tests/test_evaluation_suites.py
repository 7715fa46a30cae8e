"""What each suite asks of whom, what counts as right, and which cases it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dataset_folders
import pytest

from skinrl.data.entries import DataSpec
from skinrl.data.loading import load_records
from skinrl.data.questions import QuestionSpec, pools_of
from skinrl.data.record import Record
from skinrl.errors import DataError, InputError
from skinrl.evaluation import Reply, evaluate
from skinrl.evaluation.control_questions import control_questions
from skinrl.evaluation.question_sets import Questions, own_questions, suite_questions
from skinrl.evaluation.suites import SUITES, Asking, Suite, cases_for, find_suite, neighbours_of
from skinrl.taxonomy import Taxonomy, load_taxonomy

LABELS = (
    "melanoma",
    "melanocytic_nevus",
    "basal_cell_carcinoma",
    "psoriasis",
    "bowen_disease",
    "seborrheic_keratosis",
)


def record(number: int, label: str, source: str = "clinic") -> Record:
    labels = ((label, 1.0),) if label else ()
    return Record(id=str(number), images=(f"{number}.png",), modality="clinical", source=source, labels=labels)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [record(number, label) for number, label in enumerate(LABELS)]


def asking(taxonomy: Taxonomy, records: Sequence[Record], wording: str = "full", **more: Any) -> Asking:
    spec = QuestionSpec("open", wording, **more)
    return Asking(taxonomy, spec, 0, pools_of(records, taxonomy), neighbours_of(taxonomy))


def asked(name: str, taxonomy: Taxonomy, records: Sequence[Record], **more: Any) -> Questions:
    return suite_questions(SUITES[name], records, asking(taxonomy, records, **more))


def answer(case: Any, letter: str) -> Reply:
    text = f"<think>\n</think>\n<answer>\nDiagnosis: {letter}\nMalignancy: undetermined\n</answer>"
    return Reply(text)


def letter_of(case: Any, node: str) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[case.option_nodes.index(node)]


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_asks_the_same_of_the_same_record_whatever_its_place(
    name: str, taxonomy: Taxonomy, records: list[Record]
) -> None:
    forwards, backwards = asked(name, taxonomy, records), asked(name, taxonomy, records[::-1])
    assert dict(zip(forwards.ids, forwards.prompts, strict=True)) == dict(
        zip(backwards.ids, backwards.prompts, strict=True)
    )


def test_in_domain_offers_the_gold_path_at_some_depth_and_three_others(
    taxonomy: Taxonomy, records: list[Record]
) -> None:
    for case in asked("in_domain", taxonomy, records).cases:
        path = taxonomy.path(case.gold[0][0])
        assert len(case.options) == 4
        assert 1 <= len(set(case.option_nodes) & set(path)) <= 3


def test_malignancy_is_not_asked_where_the_labels_leave_it_open(taxonomy: Taxonomy, records: list[Record]) -> None:
    open_side = replace(records[0], labels=(("melanoma", 0.5), ("melanocytic_nevus", 0.5)))
    questions = asked("malignancy", taxonomy, [records[0], record(7, ""), replace(open_side, id="8")])
    assert questions.ids == ["0"]
    assert questions.left_out == {"no label, or labels of mixed behaviour": 2}


def test_malignancy_has_three_answers_and_leaves_out_who_has_none_of_them(
    taxonomy: Taxonomy, records: list[Record]
) -> None:
    questions = asked("malignancy", taxonomy, records)
    golds = {case.id: case.gold[0][0] for case in questions.cases}
    assert golds == {
        "0": "malignant",
        "1": "benign",
        "2": "malignant",
        "4": "precancerous_or_in_situ",
        "5": "benign",
    }
    assert questions.left_out == {"behaviour non-neoplastic": 1}
    assert all(case.options == ("benign", "precancerous or in situ", "malignant") for case in questions.cases)
    # all "malignant": 2 of 5 right; F1 of malignant 2*2/(2*2+3+0) = 4/7, of the two others 0
    metrics = evaluate(
        questions.cases, questions.taxonomy, greedy=[answer(case, "C") for case in questions.cases]
    ).metrics(resamples=100)
    assert metrics["accuracy"]["value"] == pytest.approx(2 / 5)
    assert metrics["macro_f1"]["value"] == pytest.approx(4 / 21)
    prior = metrics["controls"]["label_prior"]["value"]
    assert prior == pytest.approx(2 / 5), "the best constant answer, not a guess among three"


def test_hierarchical_offers_the_path_alone_so_that_the_most_specific_name_is_right_unseen(
    taxonomy: Taxonomy, records: list[Record]
) -> None:
    questions = asked("hierarchical", taxonomy, records)
    for case in questions.cases:
        assert set(case.option_nodes) == set(taxonomy.path(case.gold[0][0]))
    deepest = [answer(case, letter_of(case, max(case.option_nodes, key=taxonomy.level))) for case in questions.cases]
    metrics = evaluate(questions.cases, questions.taxonomy, greedy=deepest).metrics(resamples=100)
    assert metrics["accuracy"]["value"] == 1.0
    assert metrics["controls"]["label_prior"]["value"] == 1.0, "the control tells that nobody had to look"
    shallow = [answer(case, letter_of(case, min(case.option_nodes, key=taxonomy.level))) for case in questions.cases]
    assert (
        evaluate(questions.cases, questions.taxonomy, greedy=shallow).metrics(resamples=100)["accuracy"]["value"] == 0
    )


def test_differential_offers_neighbours_in_both_directions_and_never_a_second_right_answer(
    taxonomy: Taxonomy, records: list[Record]
) -> None:
    both = neighbours_of(taxonomy)
    stated = {d.node for d in taxonomy.node("melanoma").differential}
    stating = {id for id in taxonomy.ids if any(d.node == "melanoma" for d in taxonomy.node(id).differential)}
    assert set(both["melanoma"]) == stated | stating
    for case in asked("differential", taxonomy, records).cases:
        gold = case.gold[0][0]
        assert 2 <= len(case.options) <= 26
        assert [node for node in case.option_nodes if gold in taxonomy.ancestors(node)] == [gold]
        assert set(case.option_nodes) - {gold} <= set(both[gold])


def test_a_closed_list_names_every_class_of_the_dataset_without_letters(
    taxonomy: Taxonomy, records: list[Record]
) -> None:
    questions = asked("closed_list", taxonomy, records)
    case, text = questions.cases[0], questions.prompts[0][0]["content"]
    assert sorted(case.option_nodes) == sorted(LABELS)
    assert "- melanoma\n" in text
    assert "A. " not in text


def test_open_questions_offer_nothing(taxonomy: Taxonomy, records: list[Record]) -> None:
    assert all(case.options == () for case in asked("open_ended", taxonomy, records).cases)


def test_the_plain_question_asks_the_same_and_no_form(taxonomy: Taxonomy, records: list[Record]) -> None:
    for name in SUITES:
        questions = asked(name, taxonomy, records)
        for case, prompt, plain in zip(questions.cases, questions.prompts, questions.plain, strict=True):
            long, short = prompt[0]["content"], plain[0]["content"]
            assert long.startswith(short)
            assert "<answer>" in long
            assert "<answer>" not in short
            assert all(option in short for option in case.options)
        short = asked(name, taxonomy, records, wording="short")
        assert short.plain == short.prompts, "the short wording never asks for a form"


def test_options_of_a_suite_can_be_shuffled_as_a_control(taxonomy: Taxonomy, records: list[Record]) -> None:
    for name in ("malignancy", "hierarchical", "closed_list"):
        questions = asked(name, taxonomy, records)
        made = control_questions(
            "shuffled_options",
            questions.cases,
            questions.prompts,
            questions.taxonomy,
            chosen=range(len(questions.cases)),
            seed=0,
        )
        assert len(made) == len(questions.cases)
        assert all(sorted(one.case.options) == sorted(questions.cases[one.number].options) for one in made)


def test_a_prefilled_thinking_block_is_known_to_every_case(taxonomy: Taxonomy, records: list[Record]) -> None:
    for name in SUITES:
        assert {case.prefilled for case in asked(name, taxonomy, records, prefill_think=True).cases} == {"<think>\n"}


def test_sources_that_were_trained_on_are_in_domain_and_the_others_are_not(records: list[Record]) -> None:
    mixed = [*records, record(9, "melanoma", "elsewhere")]
    trained = frozenset({"clinic"})

    def ids(name: str, **more: Any) -> list[str]:
        return [one.id for one in cases_for(SUITES[name], mixed, trained=trained, **more)]

    assert ids("in_domain") == [str(n) for n in range(6)]
    assert ids("out_of_distribution") == ["9"]
    assert ids("closed_list") == [*map(str, range(6)), "9"]
    assert ids("closed_list", sources=["elsewhere"]) == ["9"]
    with pytest.raises(DataError, match=r"no evaluation data of ddi; there is clinic, elsewhere"):
        ids("open_ended", sources=["ddi"])
    with pytest.raises(DataError, match="no evaluation data of a source that no stage was trained on"):
        cases_for(SUITES["out_of_distribution"], records, trained=trained)


def test_a_suite_that_can_ask_nobody_says_why(taxonomy: Taxonomy) -> None:
    unlabelled = [record(0, ""), record(1, "")]
    with pytest.raises(
        DataError, match=r"suite differential: can ask about none of 2 cases \(no label with a node: 2"
    ):
        asked("differential", taxonomy, unlabelled)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("derm12345", "closed_list"),
        ("derm7pt", "closed_list"),
        ("ddi", "open_ended"),
        ("omnimedvqa", "out_of_distribution"),
    ],
)
def test_published_datasets_go_through_the_suites_that_are_theirs(
    source: str, name: str, taxonomy: Taxonomy, tmp_path: Path, draw: Callable[..., str]
) -> None:
    folder = getattr(dataset_folders, source)(tmp_path / source, draw)
    data = load_records([DataSpec(source, str(folder), as_test=True)], taxonomy, seed=0)
    records = cases_for(SUITES[name], data.split("test"), trained=frozenset({"ham10000"}))
    asked = Asking(taxonomy, QuestionSpec(), 0, data.pools, neighbours_of(taxonomy))
    questions = suite_questions(SUITES[name], records, asked)
    assert {case.source for case in questions.cases} == {source}
    for case, one in zip(questions.cases, (r for r in records if r.id in questions.ids), strict=True):
        assert case.id == one.id
        if name == "closed_list":
            assert set(case.option_nodes) == {node for record in data.records for node in record.nodes}
        elif name == "open_ended":
            assert case.options == ()
        else:
            assert case.options == one.options, "as published, in their order"
            assert case.gold[0][0] in case.option_nodes


def test_a_suite_of_ones_own_is_a_function_in_a_file(
    tmp_path: Path, taxonomy: Taxonomy, records: list[Record]
) -> None:
    (tmp_path / "own_suites.py").write_text(
        "from skinrl.evaluation.suites import SUITES\n"
        "def only_melanoma(record, asking):\n"
        "    if record.top_node != 'melanoma':\n"
        "        return 'no melanoma'\n"
        "    return SUITES['open_ended'].ask(record, asking)\n"
    )
    suite = find_suite("./own_suites.py:only_melanoma", tmp_path)
    questions = suite_questions(suite, records, asking(taxonomy, records))
    assert (suite.name, questions.ids, questions.left_out) == ("only_melanoma", ["0"], {"no melanoma": 5})
    with pytest.raises(InputError, match="there is no suite 'in_domian'; expected one of in_domain, malignancy"):
        find_suite("in_domian")
    assert isinstance(find_suite("malignancy"), Suite)


def test_the_classes_of_malignancy_are_a_hierarchy_whose_names_are_those_of_the_reports() -> None:
    behaviours = load_taxonomy("behaviours")
    assert {behaviours.behaviour(leaf) for leaf in behaviours.leaves} == {
        "benign",
        "precancerous or in situ",
        "malignant",
    }
    assert {behaviours.node(leaf).name for leaf in behaviours.leaves} == {
        behaviours.behaviour(leaf) for leaf in behaviours.leaves
    }


def test_the_recipes_own_questions_refuse_a_record_that_stands_twice(
    taxonomy: Taxonomy, records: list[Record]
) -> None:
    with pytest.raises(DataError, match="stands twice"):
        own_questions([*records, records[0]], taxonomy, QuestionSpec(), seed=0, pools={})
