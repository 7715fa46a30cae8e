"""Trajectories by template: nothing is said of an image that is not recorded for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skinrl.data.prompts import question_text
from skinrl.data.questions import Question
from skinrl.data.record import Record
from skinrl.phantom.dataset import load
from skinrl.phantom.diseases import DISEASES
from skinrl.phantom.vocabulary import VOCABULARY
from skinrl.report import parse_report
from skinrl.taxonomy import Taxonomy, load_taxonomy
from skinrl.textbook.templates import NONE_RECORDED, closest_neighbour, make_trajectory

QUESTION = Question("open", question_text("open", wording="short"))
WORDS = sorted({word for words in VOCABULARY.values() for word in words}, key=len, reverse=True)


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_taxonomy("dermatology")


@pytest.fixture(scope="module")
def records(taxonomy: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return load(tmp_path_factory.mktemp("phantom"), taxonomy, domain="textbook", count=150, size=28)


def _bare(record: Record) -> Record:
    return Record.from_dict(record.to_dict() | {"concepts": {}})


def _said_of_the_image(text: str) -> set[str]:
    """Words of the vocabulary in a report, less those that follow "typical" within the same phrase."""
    body = re.sub(r"typical [^;\n]*?(?= \d\. |;|\n|$)", "", text.split("</think>")[0])
    names = re.sub(r"\d\. [^:]+", "", body)
    return {word for word in WORDS if re.search(rf"\b{word}\b", names)}


def test_every_report_parses_and_names_the_label(records: list[Record], taxonomy: Taxonomy) -> None:
    for record in records:
        trajectory = make_trajectory(record, QUESTION, taxonomy)
        assert trajectory is not None
        parsed = parse_report(trajectory.report.render())
        assert parsed.outcome == "ok", parsed.reason
        assert parsed.report is not None
        assert taxonomy.resolve(parsed.report.diagnosis).node == record.nodes[0]  # type: ignore[union-attr]
        assert parsed.report.malignancy == taxonomy.behaviour(record.nodes[0])


def test_findings_are_the_recorded_concepts_and_no_others(records: list[Record], taxonomy: Taxonomy) -> None:
    for record in records:
        trajectory = make_trajectory(record, QUESTION, taxonomy)
        assert trajectory is not None
        recorded = {word for words in record.concepts.values() for word in words}
        assert set(trajectory.report.findings.split(", ")) == recorded
        said = _said_of_the_image(trajectory.report.render())
        assert said <= recorded | {part for word in recorded for part in word.split()}


def test_without_concepts_no_finding_is_stated(records: list[Record], taxonomy: Taxonomy) -> None:
    for record in records:
        trajectory = make_trajectory(_bare(record), QUESTION, taxonomy)
        assert trajectory is not None
        assert trajectory.report.findings == NONE_RECORDED
        assert _said_of_the_image(trajectory.report.render()) == set()
        assert all(item.evidence_for == "" for item in trajectory.report.differential)
        assert trajectory.origin["rule"] == "typical_morphology"


def test_evidence_is_recorded_or_called_typical(records: list[Record], taxonomy: Taxonomy) -> None:
    for record in records:
        trajectory = make_trajectory(record, QUESTION, taxonomy)
        assert trajectory is not None
        recorded = {word for words in record.concepts.values() for word in words}
        for item in trajectory.report.differential:
            assert item.evidence_for in recorded | {""}
            assert item.evidence_against == "" or item.evidence_against.startswith("typical ")


def test_the_neighbour_is_a_differential_of_the_diagnosis(records: list[Record], taxonomy: Taxonomy) -> None:
    for record in records:
        trajectory = make_trajectory(record, QUESTION, taxonomy)
        assert trajectory is not None
        allowed = {edge.node for edge in taxonomy.node(record.nodes[0]).differential}
        assert trajectory.origin["neighbour"] in allowed
        assert trajectory.report.differential[1].name == taxonomy.node(trajectory.origin["neighbour"]).name


def test_the_neighbour_that_looks_most_alike_is_chosen(taxonomy: Taxonomy) -> None:
    black = {"primary_lesion": ("plaque",), "border": ("irregular",), "colour": ("black",)}
    rough = {"primary_lesion": ("plaque",), "scale": ("rough",), "colour": ("brown",), "border": ("sharp",)}
    choices = {closest_neighbour(taxonomy, "melanoma", black), closest_neighbour(taxonomy, "melanoma", rough)}
    assert closest_neighbour(taxonomy, "melanoma", rough) == "seborrheic_keratosis"
    assert choices <= {edge.node for edge in taxonomy.node("melanoma").differential}


def test_a_record_without_a_node_gives_no_trajectory(taxonomy: Taxonomy, records: list[Record]) -> None:
    unlabelled = Record.from_dict(records[0].to_dict() | {"labels": []})
    assert make_trajectory(unlabelled, QUESTION, taxonomy) is None


def test_an_inner_label_gives_a_trajectory_too(taxonomy: Taxonomy, records: list[Record]) -> None:
    for node in sorted({taxonomy.path(leaf)[0] for leaf in DISEASES}):
        record = Record.from_dict(_bare(records[0]).to_dict() | {"labels": [[node, 1.0]]})
        trajectory = make_trajectory(record, QUESTION, taxonomy)
        assert trajectory is not None
        assert parse_report(trajectory.report.render()).outcome == "ok"


def test_the_same_record_gives_the_same_report(records: list[Record], taxonomy: Taxonomy) -> None:
    again = load_taxonomy("dermatology")
    for record in records[:30]:
        assert make_trajectory(record, QUESTION, taxonomy) == make_trajectory(record, QUESTION, again)


def test_a_text_only_record_gives_a_text_only_trajectory(taxonomy: Taxonomy, tmp_path: Path) -> None:
    record = Record("t", (), "other", "book", (("psoriasis", 1.0),), text_only=True)
    trajectory = make_trajectory(record, QUESTION, taxonomy)
    assert trajectory is not None
    assert trajectory.text_only
    assert "typical" in trajectory.report.reasoning


def test_a_neighbour_of_which_only_a_count_is_known_is_not_put_into_words(tmp_path: Path) -> None:
    overlay = tmp_path / "counted.yaml"
    neighbours = "{dermatofibroma: '@scin:99', blue_nevus: small and even @scin:2}"
    overlay.write_text(
        f"extends: dermatology\nnodes:\n  spitzoid_melanoma: {{differential: {neighbours}}}\n", encoding="utf-8"
    )
    taxonomy = load_taxonomy(overlay)
    assert {edge.node: edge.why for edge in taxonomy.node("spitzoid_melanoma").differential} == {
        "dermatofibroma": "",
        "blue_nevus": "small and even",
    }
    assert closest_neighbour(taxonomy, "spitzoid_melanoma", {"primary_lesion": ("papule",)}) == "blue_nevus"
