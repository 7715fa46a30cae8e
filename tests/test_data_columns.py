"""Columns that tell rewards about the whole dataset."""

from __future__ import annotations

from skinrl.data.columns import ConceptShares, gold_counts
from skinrl.data.record import Record


def record(id: str, node: str, group: str, **concepts: tuple[str, ...]) -> Record:
    return Record(id, (f"{id}.png",), "clinical", "test", ((node, 1.0),), concepts, group=group, group_kind="patient")


RECORDS = [
    record("a", "psoriasis", "p1", colour=("red",), scale=("silvery scale",)),
    record("b", "psoriasis", "p1", colour=("red",)),
    record("c", "psoriasis", "p2", colour=("pink", "red")),
    record("d", "psoriasis", "p3", colour=("pink",)),
    record("e", "melanoma", "p4", colour=("black",), scale=("smooth",)),
    record("f", "melanoma", "p5"),
]


def shares(one: Record) -> dict[str, float]:
    return {f"{row['kind']} {row['word']}": row["share"] for row in ConceptShares(RECORDS).column(one)}


def test_a_share_counts_other_patients_with_the_same_label_that_record_the_kind() -> None:
    # psoriasis of p2 and p3: one of two shows red; p1's own second image is not asked
    assert shares(RECORDS[0]) == {"colour red": 0.5, "scale silvery scale": 0.0}
    # of p1 (twice red, never pink) and p3 (pink): red 2 of 3, pink 1 of 3
    assert shares(RECORDS[2]) == {"colour pink": 1 / 3, "colour red": 2 / 3}


def test_without_another_case_of_the_label_all_labels_count_and_without_any_nothing_is_paid() -> None:
    # scale: of other psoriasis patients nobody records it; of all others melanoma e does, and it is not silvery
    assert shares(RECORDS[0])["scale silvery scale"] == 0.0
    assert shares(RECORDS[4]) == {"colour black": 0.0, "scale smooth": 0.0}
    alone = record("x", "psoriasis", "p", colour=("red",))
    assert ConceptShares([alone]).column(alone) == [{"kind": "colour", "word": "red", "share": 1.0}]
    assert ConceptShares(RECORDS).column(RECORDS[5]) == []


def test_gold_counts_add_the_weights_of_all_labels() -> None:
    mixed = Record("m", ("m.png",), "clinical", "test", (("psoriasis", 0.25), ("eczema", 0.75)))
    assert gold_counts([*RECORDS, mixed]) == {"eczema": 0.75, "melanoma": 2.0, "psoriasis": 4.25}
