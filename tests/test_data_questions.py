"""Questions: options at several depths, the same ones every time, and no word about the patient."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinrl.data.prompts import FORM, WORDINGS, question_text
from skinrl.data.questions import Pool, Question, QuestionSpec, ask, pools_of, random_for, user_messages
from skinrl.data.record import Record, SkinTone
from skinrl.errors import DataError
from skinrl.report import STYLES, DiagnosticReport, option_letter, parse_report
from skinrl.taxonomy import Taxonomy

LEAVES = ("melanoma", "melanocytic_nevus", "basal_cell_carcinoma", "seborrheic_keratosis", "actinic_keratosis")


def record(label: str = "melanoma", name: str = "r1", **changes: Any) -> Record:
    parts: dict[str, Any] = {"id": name, "images": (f"{name}.png",), "modality": "clinical", "source": "s"}
    return Record(**{**parts, "labels": ((label, 1.0),), **changes})


def pool(taxonomy: Taxonomy, labels: tuple[str, ...] = LEAVES) -> Pool:
    return pools_of([record(label, label) for label in labels], taxonomy)["s"]


def asked(r: Record, taxonomy: Taxonomy, spec: QuestionSpec, seed: int = 0, offered: Pool | None = None) -> Question:
    return ask(r, taxonomy, spec, random_for(r, seed), offered or pool(taxonomy))


def test_a_pool_holds_the_labels_of_a_dataset_and_the_paths_to_them(taxonomy: Taxonomy) -> None:
    found = pools_of([record(), record("melanocytic_nevus", "r2"), record("psoriasis", "r3", source="t")], taxonomy)
    assert found["s"].labels == ("melanocytic_nevus", "melanoma")
    assert set(found["s"].nodes) == {*taxonomy.path("melanoma"), *taxonomy.path("melanocytic_nevus")}
    assert found["t"].labels == ("psoriasis",)


def test_options_are_one_to_three_of_the_gold_path_and_others_of_the_dataset(taxonomy: Taxonomy) -> None:
    counts: Counter[int] = Counter()
    offered = pool(taxonomy)
    for n in range(300):
        r = record(name=f"r{n}")
        question = asked(r, taxonomy, QuestionSpec("options"), offered=offered)
        right = [node for node in question.option_nodes if node in taxonomy.ancestors("melanoma")]
        wrong = [node for node in question.option_nodes if node not in right]
        assert len(question.options) == len(set(question.options)) == 4
        assert set(wrong) <= set(offered.nodes)
        assert question.options == tuple(taxonomy.node(node).name for node in question.option_nodes)
        counts[len(right)] += 1
    deepest = min(3, len(taxonomy.path("melanoma")))
    assert set(counts) == set(range(1, deepest + 1))
    assert min(counts.values()) > 300 / deepest * 0.6  # drawn evenly


def test_the_right_options_stand_in_every_place(taxonomy: Taxonomy) -> None:
    first = Counter(
        asked(record(name=f"r{n}"), taxonomy, QuestionSpec("options")).option_nodes[0]
        in taxonomy.ancestors("melanoma")
        for n in range(200)
    )
    assert 60 < first[True] < 140


def test_no_option_lies_below_an_inner_gold_node(taxonomy: Taxonomy) -> None:
    # "melanoma" would not be wrong where only "melanocytic neoplasm" is known.
    for n in range(50):
        question = asked(record("melanocytic_neoplasm", f"r{n}"), taxonomy, QuestionSpec("options"))
        assert not set(question.option_nodes) & taxonomy.descendants("melanocytic_neoplasm")


def test_no_wrong_option_fits_any_gold_of_a_differential(taxonomy: Taxonomy) -> None:
    labels = (("melanoma", 0.6), ("basal_cell_carcinoma", 0.4))
    for n in range(50):
        question = asked(record(name=f"r{n}", labels=labels), taxonomy, QuestionSpec("options"))
        fits = taxonomy.ancestors("melanoma") | taxonomy.ancestors("basal_cell_carcinoma")
        assert set(question.option_nodes) & fits <= taxonomy.ancestors("melanoma")


def test_a_small_dataset_gives_fewer_options_rather_than_made_up_ones(taxonomy: Taxonomy) -> None:
    offered = pool(taxonomy, ("melanoma", "melanocytic_nevus"))
    nodes = {
        node
        for n in range(50)
        for node in asked(record(name=f"r{n}"), taxonomy, QuestionSpec("options"), offered=offered).option_nodes
    }
    assert nodes <= set(offered.nodes)
    with pytest.raises(DataError, match="record r1 is melanoma, and the dataset has no node outside its path"):
        asked(record(), taxonomy, QuestionSpec("options"), offered=pool(taxonomy, ("melanoma",)))


def test_the_closed_list_names_every_label_of_the_dataset_in_one_order(taxonomy: Taxonomy) -> None:
    one = asked(record(), taxonomy, QuestionSpec("closed"))
    two = asked(record("actinic_keratosis", "r2"), taxonomy, QuestionSpec("closed"))
    assert one.text == two.text
    assert set(one.option_nodes) == set(LEAVES)
    assert list(one.options) == sorted(one.options)
    assert f"A. {one.options[0]}\nB. {one.options[1]}\n" in one.text
    by_name = asked(record(), taxonomy, QuestionSpec("closed", answer_with="name"))
    assert f"- {one.options[0]}\n- {one.options[1]}\n" in by_name.text
    assert "letter" not in by_name.text


def test_more_than_26_options_have_letters_that_the_parser_reads(taxonomy: Taxonomy) -> None:
    leaves = taxonomy.leaves[:40]
    assert len(leaves) >= 30
    question = asked(record(leaves[0]), taxonomy, QuestionSpec("closed"), offered=pool(taxonomy, leaves))
    lines = re.findall(r"^([A-Z]{1,2})\. (.+)$", question.text, re.MULTILINE)
    assert lines == [(option_letter(i), name) for i, name in enumerate(question.options)]
    assert lines[26][0] == "AA"
    for letter, name in lines[25:]:
        text = DiagnosticReport(letter).render()
        parsed = parse_report(text, options=question.options)
        assert (parsed.option, parsed.report.diagnosis if parsed.report else None) == (letter, name)


@pytest.mark.parametrize("kind", ["open", "closed", "options"])
@pytest.mark.parametrize("wording", WORDINGS)
def test_nothing_about_the_patient_reaches_a_prompt(taxonomy: Taxonomy, kind: str, wording: str) -> None:
    bare = record()
    full = replace(
        bare,
        images=("SECRETPATH/a.png",),
        modality="dermoscopy",
        concepts={"SECRETKIND": ("SECRETWORD",)},
        skin_tone=SkinTone("fitzpatrick", "6", "SECRETSOURCE"),
        slices={name: f"SECRET{name}" for name in ("age", "sex", "site", "biopsied", "smoke", "itch")},
        group="SECRETPATIENT",
        group_kind="patient",
        split="test",
        raw_label="SECRETLABEL",
    )
    spec = QuestionSpec(kind, wording)
    one, two = asked(bare, taxonomy, spec), asked(full, taxonomy, spec)
    assert one == two  # neither what is known nor that it is known
    assert user_messages(one) == [{"role": "user", "content": one.text}]
    assert "SECRET" not in str(user_messages(two))
    assert not re.search(r"\b(age|sex|years|male|female|patient|fitzpatrick|skin type|biops)", two.text, re.IGNORECASE)


def test_a_question_depends_on_the_record_and_the_seed_alone(taxonomy: Taxonomy) -> None:
    spec = QuestionSpec("options")
    one = asked(record(), taxonomy, spec)
    assert one == asked(record(), taxonomy, spec)
    assert one != asked(record(), taxonomy, spec, seed=1)
    assert one != asked(record(name="r2"), taxonomy, spec)


def test_questions_are_the_same_under_every_hash_seed(tmp_path: Path) -> None:
    program = (
        "from skinrl.data.questions import *; from skinrl.data.record import Record\n"
        "from skinrl.taxonomy import load_taxonomy; t = load_taxonomy()\n"
        "rs = [Record(n, ('x.png',), 'clinical', 's', ((n, 1.0),)) for n in t.leaves]\n"
        "p = pools_of(rs, t)['s']\n"
        "print([ask(r, t, QuestionSpec('options'), random_for(r, 3), p).option_nodes for r in rs])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize("style", sorted(FORM))
def test_the_form_that_a_prompt_asks_for_is_the_one_that_the_parser_reads(style: str) -> None:
    # The tags of the request, filled by a report of that style, parse.
    asked_for = question_text("open", style=style)
    text = DiagnosticReport("melanoma", "malignant", findings="a dark plaque").render(style)
    tags = set(re.findall(r"</?[a-z ]+>", text))
    assert tags <= set(re.findall(r"</?[a-z ]+>", asked_for))
    assert parse_report(text, style=style).outcome == "ok"
    assert set(FORM) == set(STYLES)


def test_a_recipes_section_is_taken_as_it_is(taxonomy: Taxonomy) -> None:
    section = SimpleNamespace(kind="open", wording="short", choices=4, prefill_think=True)
    question = ask(record(), taxonomy, section, random.Random(0), pool(taxonomy))
    assert question == Question("open", "What is the diagnosis?", prefilled="<think>\n")


def test_what_cannot_be_asked_is_told(taxonomy: Taxonomy) -> None:
    with pytest.raises(DataError, match="unknown kind of question 'multiple'; expected one of open, closed, options"):
        asked(record(), taxonomy, QuestionSpec("multiple"))
    with pytest.raises(DataError, match="unknown wording 'tiny'; expected one of full, short"):
        asked(record(), taxonomy, QuestionSpec("open", "tiny"))
    with pytest.raises(DataError, match="record r1 has no label"):
        asked(record(labels=()), taxonomy, QuestionSpec("options"))
    with pytest.raises(DataError, match="no request is written for the report style 'essay'"):
        asked(record(), taxonomy, QuestionSpec(style="essay"))
