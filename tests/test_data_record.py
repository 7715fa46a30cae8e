"""Records: what they refuse, and that they survive the way to a file and back."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from skinrl.data.record import Record, SkinTone
from skinrl.errors import DataError


def record(**changes: Any) -> Record:
    parts: dict[str, Any] = {
        "id": "a",
        "images": ("a.png",),
        "modality": "clinical",
        "source": "here",
        "labels": (("melanoma", 1.0),),
    }
    return Record(**{**parts, **changes})


def test_a_record_without_a_group_is_its_own_group_and_says_so() -> None:
    assert (record().group, record().group_kind) == ("a", "image")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ()}, "no image"),
        ({"text_only": True}, "text_only but has 1 image"),
        ({"images": "a.png"}, "expected a tuple"),
        ({"modality": "histology"}, "modality 'histology' is not one of clinical, dermoscopy, other"),
        ({"split": "val"}, "split 'val' is not one of None, train, validation, test"),
        ({"group_kind": "patient"}, "no group is given"),
        ({"labels": (("melanoma", 0.5), ("naevus", 0.4))}, "sum to 1"),
        ({"labels": (("melanoma", 1.5), ("naevus", -0.5))}, "positive"),
        ({"labels": (("melanoma", float("nan")),)}, "positive"),
        ({"labels": (("melanoma", 0.5), ("melanoma", 0.5))}, "stands twice"),
        ({"id": ""}, "expected text"),
        ({"source": ""}, "no source"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        record(**changes)


def test_a_text_only_record_may_have_no_image() -> None:
    assert record(images=(), text_only=True).images == ()


@pytest.mark.parametrize(
    ("scale", "value"), [("fitzpatrick", "7"), ("fitzpatrick", "2.0"), ("monk", "0"), ("tan", "2"), ("apparent", "")]
)
def test_a_skin_tone_off_its_scale_is_refused(scale: str, value: str) -> None:
    with pytest.raises(DataError, match="skin tone"):
        SkinTone(scale, value)


def test_the_top_node_is_the_heaviest_and_at_a_tie_the_first_by_name() -> None:
    assert record(labels=(("b", 0.2), ("c", 0.4), ("a", 0.4))).top_node == "a"
    assert record(labels=()).top_node is None


def test_a_record_survives_json_and_pickle() -> None:
    whole = record(
        labels=(("melanoma", 0.75), ("nevus", 0.25)),
        concepts={"colour": ("brown", "black")},
        skin_tone=SkinTone("monk", "10", "rated"),
        slices={"age": "40-59"},
        group="p1",
        group_kind="patient",
        split="test",
    )
    assert Record.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_a_file_with_another_key_is_refused() -> None:
    with pytest.raises(DataError, match=r"unknown keys \['label'\]"):
        Record.from_dict({**record().to_dict(), "label": "x"})
