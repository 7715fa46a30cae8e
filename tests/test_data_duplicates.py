"""Identical images under two ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skinrl.data.duplicates import find_duplicates, settle_conflicts
from skinrl.data.images import check_images
from skinrl.data.record import Record
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

Draw = Callable[..., str]


def record(path: str, label: str | None, split: str | None = None) -> Record:
    return Record(
        id=Path(path).stem,
        images=(path,),
        modality="clinical",
        source="s",
        labels=((label, 1.0),) if label else (),
        split=split,
        raw_label=label or "",
    )


def found(records: list[Record], taxonomy: Taxonomy) -> list[tuple[set[str], bool]]:
    facts = check_images(path for r in records for path in r.images)
    return [({r.id for r in d.records}, d.conflict) for d in find_duplicates(records, facts, taxonomy)]


def test_one_image_as_naevus_and_as_carcinoma_is_a_conflict(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    # The published PAD-UFES-20 has this pair as one file.
    a = record(draw(tmp_path / "PAT_759_1433_914.png", 1), "melanocytic_nevus")
    b = record(draw(tmp_path / "PAT_759_1538_566.bmp", 1), "basal_cell_carcinoma")
    other = record(draw(tmp_path / "PAT_1_1_1.png", 2), "melanoma")
    records = [a, other, b]
    assert found(records, taxonomy) == [({a.id, b.id}, True)]
    facts = check_images(path for r in records for path in r.images)
    duplicates = find_duplicates(records, facts, taxonomy)
    assert settle_conflicts(records, duplicates) == ([other], [a, b])
    with pytest.raises(DataError, match=r"PAT_759_1433_914 \(melanocytic_nevus\) = s:PAT_759_1538_566 \(basal_cell"):
        settle_conflicts(records, duplicates, refuse=["s"])


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        ("melanoma", "melanoma", False),
        ("melanoma", "melanocytic_neoplasm", False),  # the class contains the disease
        ("melanocytic_neoplasm", "melanoma", False),
        ("melanoma", "melanocytic_nevus", True),  # siblings in a wider sense
        ("melanoma", None, False),
    ],
)
def test_labels_conflict_unless_one_contains_the_other(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, first: str, second: str | None, conflict: bool
) -> None:
    records = [record(draw(tmp_path / "a.png", 1), first), record(draw(tmp_path / "b.png", 1), second)]
    assert found(records, taxonomy) == [({"a", "b"}, conflict)]


def test_all_records_of_a_disputed_image_go_even_those_that_agree(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    labels = ["melanoma", "melanoma", "melanocytic_nevus"]
    records = [record(draw(tmp_path / f"{n}.png", 1), label) for n, label in enumerate(labels)]
    facts = check_images(path for r in records for path in r.images)
    assert settle_conflicts(records, find_duplicates(records, facts, taxonomy))[1] == records


def test_overlapping_differentials_agree(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    a = record(draw(tmp_path / "a.png", 1), "melanoma")
    b = Record(
        id="b",
        images=(draw(tmp_path / "b.png", 1),),
        modality="clinical",
        source="s",
        labels=(("basal_cell_carcinoma", 0.6), ("melanoma", 0.4)),
    )
    assert found([a, b], taxonomy) == [({"a", "b"}, False)]


def test_an_identical_image_in_two_splits_is_told(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    records = [
        record(draw(tmp_path / "a.png", 1), "melanoma", "train"),
        record(draw(tmp_path / "b.png", 1), "melanoma", "test"),
    ]
    facts = check_images(path for r in records for path in r.images)
    (duplicate,) = find_duplicates(records, facts, taxonomy)
    assert duplicate.splits == ("test", "train")


def test_one_record_with_the_same_image_twice_is_no_duplicate(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    path = draw(tmp_path / "a.png", 1)
    twice = Record(id="a", images=(path, path), modality="clinical", source="s", labels=(("melanoma", 1.0),))
    assert found([twice], taxonomy) == []
