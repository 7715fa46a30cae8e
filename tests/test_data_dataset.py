"""Rows for the trainers: columns, types, pixels, and what TRL makes of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from skinrl.data.dataset import eval_rows, grpo_rows, question_rows, sft_rows
from skinrl.data.images import open_image
from skinrl.data.questions import Question, QuestionSpec, pools_of
from skinrl.data.record import Record
from skinrl.errors import DataError
from skinrl.report import DiagnosticReport, parse_report
from skinrl.taxonomy import Taxonomy

Draw = Callable[..., str]
COLUMNS = {"prompt", "images", "id", "gold_nodes", "gold_weights", "options", "option_nodes", "prefilled", "concepts"}


@pytest.fixture
def records(tmp_path: Path, draw: Draw) -> list[Record]:
    """One image, two images, none; one of the images lies on its side and carries an EXIF block."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Mrs Example"
    turned = draw(tmp_path / "a.jpg", 1, size=(32, 24), exif=exif)
    pair = (draw(tmp_path / "b.png", 2), draw(tmp_path / "c.png", 3))

    def record(name: str, images: tuple[str, ...], *nodes: str) -> Record:
        labels = tuple((node, 1 / len(nodes)) for node in nodes)
        return Record(name, images, "clinical", "s", labels, text_only=not images)

    return [
        record("one", (turned,), "melanoma"),
        record("two", pair, "melanocytic_nevus", "seborrheic_keratosis"),
        record("text", (), "psoriasis"),
    ]


@pytest.mark.parametrize("kind", ["open", "closed", "options"])
def test_grpo_rows_have_the_columns_that_rewards_and_trainer_read(
    records: list[Record], taxonomy: Taxonomy, kind: str
) -> None:
    rows = grpo_rows(records, taxonomy, QuestionSpec(kind), seed=0)
    assert set(rows.column_names) == COLUMNS
    assert rows["id"][:] == ["one", "two", "text"]
    assert rows[1]["gold_nodes"] == ["melanocytic_nevus", "seborrheic_keratosis"]
    assert rows[1]["gold_weights"] == [0.5, 0.5]
    assert [len(row["images"]) for row in rows] == [1, 2, 0]
    for row in rows:
        assert [message["role"] for message in row["prompt"]] == ["user"]
        assert len(row["options"]) == len(row["option_nodes"])
        assert bool(row["options"]) == (kind != "open")


def test_empty_lists_keep_their_types(records: list[Record], taxonomy: Taxonomy) -> None:
    from datasets import List, Value

    rows = grpo_rows(records[2:], taxonomy, QuestionSpec(), seed=0)
    assert rows.features["options"] == List(Value("string"))
    assert rows.features == grpo_rows(records[:1], taxonomy, QuestionSpec("closed"), seed=0).features
    assert rows[0]["images"] == []
    assert len(grpo_rows([], taxonomy, QuestionSpec(), seed=0)) == 0


def test_images_are_decoded_upright_without_metadata_and_equal_those_of_an_evaluation(
    records: list[Record], taxonomy: Taxonomy
) -> None:
    rows = grpo_rows(records, taxonomy, QuestionSpec(), seed=0)
    for kept in (rows, rows.select([2, 0]).shuffle(seed=1), pickle.loads(pickle.dumps(rows))):
        row = next(row for row in kept if row["id"] == "one")
        image = row["images"][0]
        assert (image.mode, image.size) == ("RGB", (24, 32))  # stored as 32 x 24, to be turned
        assert (image.info, dict(image.getexif())) == ({}, {})
        assert np.array_equal(np.asarray(image), np.asarray(open_image(records[0].images[0])))


def test_no_file_is_read_before_its_row(records: list[Record], taxonomy: Taxonomy) -> None:
    lost = [Record("lost", ("/nowhere/x.png",), "clinical", "s", (("melanoma", 1.0),)), *records]
    rows = grpo_rows(lost, taxonomy, QuestionSpec(), seed=0)
    assert rows[1]["images"][0].size == (24, 32)
    with pytest.raises(FileNotFoundError):
        rows[0]


def test_trl_puts_one_placeholder_an_image_in_front_of_the_text(records: list[Record], taxonomy: Taxonomy) -> None:
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    for row in grpo_rows(records, taxonomy, QuestionSpec(), seed=0):
        assert is_conversational({"prompt": row["prompt"]})
        (message,) = prepare_multimodal_messages(row["prompt"], images=row["images"])
        assert [part["type"] for part in message["content"]] == ["image"] * len(row["images"]) + ["text"]


def test_options_come_from_the_whole_dataset_where_its_pools_are_given(
    records: list[Record], taxonomy: Taxonomy
) -> None:
    pools = pools_of(records, taxonomy)
    (row,) = question_rows(records[:1], taxonomy, QuestionSpec("closed"), seed=0, pools=pools)
    assert len(row["options"]) == 4
    (row,) = question_rows(records[:1], taxonomy, QuestionSpec("closed"), seed=0)
    assert row["options"] == ["melanoma"]


def test_an_evaluation_counts_no_case_twice(records: list[Record], taxonomy: Taxonomy) -> None:
    assert eval_rows(records, taxonomy, QuestionSpec(), seed=0)["id"][:] == ["one", "two", "text"]
    with pytest.raises(DataError, match="stands twice in the evaluation"):
        eval_rows([*records, records[0]], taxonomy, QuestionSpec(), seed=0)


def trajectory(images: tuple[str, ...] = (), question: Question | None = None) -> SimpleNamespace:
    report = DiagnosticReport("melanoma", "malignant", 80, "a dark plaque", (), "typical colours")
    question = question or Question("open", "What is the diagnosis?")
    return SimpleNamespace(images=images, question=question, report=report, record_id="r")


def test_sft_rows_mix_trajectories_and_plain_rows_with_and_without_images(records: list[Record]) -> None:
    plain = {"prompt": "Say A.", "completion": [{"role": "assistant", "content": "A"}], "id": "p"}
    rows = sft_rows([trajectory(records[0].images), plain, trajectory()])
    assert set(rows.column_names) == {"prompt", "completion", "images", "id"}
    assert [len(row["images"]) for row in rows] == [1, 0, 0]
    assert rows[0]["prompt"] == [{"role": "user", "content": "What is the diagnosis?"}]
    assert parse_report(rows[0]["completion"][0]["content"]).outcome == "ok"
    assert rows[1]["completion"] == [{"role": "assistant", "content": "A"}]
    assert rows["id"][:] == ["r", "p", "r"]
    assert rows[0]["images"][0].size == (24, 32)


def test_an_sft_answer_joins_what_the_template_prefilled_and_names_the_letter() -> None:
    options = ("nevus", "melanoma")
    question = Question("options", "Which?\nA. nevus\nB. melanoma", options, options, prefilled="<think>\n")
    (row,) = sft_rows([trajectory(question=question)])
    text = row["completion"][0]["content"]
    assert not text.startswith("<think>")
    parsed = parse_report(text, options=options, prefilled="<think>\n")
    assert (parsed.outcome, parsed.option) == ("ok", "B")
    assert "Diagnosis: B. melanoma\n" in text


def test_an_sft_answer_that_was_not_offered_is_refused() -> None:
    with pytest.raises(DataError, match="answers 'melanoma' to a question that offers nevus, psoriasis"):
        sft_rows([trajectory(question=Question("options", "Which?", ("nevus", "psoriasis")))])
    with pytest.raises(DataError, match="expected prompt, completion and images"):
        sft_rows([{"text": "x"}])
    with pytest.raises(DataError, match="expected a trajectory or a mapping"):
        sft_rows(["x"])
