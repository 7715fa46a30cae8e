"""Splits: by patient, stratified, and blind to the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl.data.mixture import cap_classes, repeat, take_fraction
from skinrl.data.record import Record
from skinrl.data.splits import assign_splits, refuse_shared_groups, split_name
from skinrl.errors import DataError


def record(name: str, label: str, patient: str = "", split: str | None = None, source: str = "s") -> Record:
    return Record(
        id=name,
        images=(f"{name}.png",),
        modality="clinical",
        source=source,
        labels=((label, 1.0),),
        group=patient,
        group_kind="patient" if patient else "image",
        split=split,
    )


def cohort(seed: int, patients: int = 60) -> list[Record]:
    rng = random.Random(seed)
    return [
        record(f"{p}_{n}", rng.choice("aaaabbbccd"), f"p{p}")
        for p in range(patients)
        for n in range(rng.randint(1, 4))
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5))
def test_no_patient_in_two_splits_and_the_order_of_rows_does_not_matter(data: int, seed: int) -> None:
    records = cohort(data)
    placed = assign_splits(records, seed=seed)
    by_patient: dict[str, set[str | None]] = {}
    for r in placed:
        by_patient.setdefault(r.group, set()).add(r.split)
    assert all(len(splits) == 1 for splits in by_patient.values())
    assert [r.id for r in placed] == [r.id for r in records]
    shuffled = list(records)
    random.Random(data).shuffle(shuffled)
    assert {r.id: r.split for r in assign_splits(shuffled, seed=seed)} == {r.id: r.split for r in placed}


def test_every_split_has_its_share_of_every_class() -> None:
    placed = assign_splits(cohort(3, patients=400), seed=0)
    total = Counter(r.top_node for r in placed)
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        found = Counter(r.top_node for r in placed if r.split == split)
        for label, n in total.items():
            assert abs(found[label] - share * n) <= max(2, 0.03 * n), (split, label)


def test_singletons_of_three_classes_are_dealt_exactly() -> None:
    records = [record(f"{c}{n}", c) for c in "abc" for n in range(10)]
    placed = assign_splits(records, seed=5)
    assert Counter((r.top_node, r.split) for r in placed) == Counter(
        {(c, s): n for c in "abc" for s, n in (("train", 7), ("validation", 1), ("test", 2))}
    )


def test_a_long_tail_of_classes_does_not_starve_the_small_splits() -> None:
    tail = [record(f"t{n}", f"rare{n}") for n in range(100)]
    head = [record(f"h{n}", "common") for n in range(100)]
    for records in (tail, [*head, *tail]):
        sizes = Counter(r.split for r in assign_splits(records, seed=0))
        for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
            assert abs(sizes[split] - share * len(records)) <= 0.02 * len(records), (split, sizes)


def test_another_seed_gives_another_split() -> None:
    records = cohort(1)
    assert [r.split for r in assign_splits(records, seed=0)] != [r.split for r in assign_splits(records, seed=1)]


def test_an_official_split_is_kept_beside_a_source_without_one() -> None:
    official = [record(str(n), "a", split="test" if n % 2 else "train", source="official") for n in range(10)]
    placed = assign_splits([*official, *cohort(0)], seed=0)
    assert [r.split for r in placed[:10]] == ["train", "test"] * 5


def test_a_patient_in_two_official_splits_is_refused_by_name() -> None:
    records = [record("1", "a", "p7", "train"), record("2", "a", "p7", "test"), record("3", "a", "p8", "test")]
    with pytest.raises(DataError, match=r"1 patients or lesions .* patient p7 of s \(test and train\)"):
        assign_splits(records, seed=0)
    refuse_shared_groups([records[0], records[2]])


def test_the_same_patient_number_in_two_datasets_is_another_person() -> None:
    refuse_shared_groups([record("1", "a", "p7", "train"), record("2", "a", "p7", "test", source="other")])


def test_a_half_filled_split_column_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 records have no split"):
        assign_splits([record("1", "a", split="train"), record("2", "a")], seed=0)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="leave the validation and test split empty"):
        assign_splits([record(str(n), "a", "only") for n in range(9)], seed=0)


def test_a_split_that_is_not_wanted_is_not_made() -> None:
    placed = assign_splits(cohort(0), seed=0, fractions={"train": 0.8, "validation": 0, "test": 0.2})
    assert {r.split for r in placed} == {"train", "test"}


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"train": 1.2, "test": -0.2}, {"train": 0.5, "dev": 0.5}])
def test_fractions_that_are_no_shares_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(DataError, match="sum to 1"):
        assign_splits(cohort(0), seed=0, fractions=fractions)


def test_identical_images_of_two_patients_stay_together() -> None:
    records = [record(str(n), "a", f"p{n}") for n in range(20)]
    pairs = [[("s", str(n)), ("s", str(n + 1))] for n in range(0, 20, 2)]
    splits = {r.id: r.split for r in assign_splits(records, seed=0, together=pairs)}
    assert all(splits[a] == splits[b] for (_, a), (_, b) in pairs)
    elsewhere = [[("t", a), ("s", b)] for (_, a), (_, b) in pairs]  # another dataset's records of the same ids
    assert assign_splits(records, seed=0, together=elsewhere) == assign_splits(records, seed=0)


def test_usual_words_for_splits_are_understood_and_others_are_not() -> None:
    assert [split_name(word) for word in ("Train", " val", "TEST", "valid", "dev")] == [
        "train",
        "validation",
        "test",
        "validation",
        "validation",
    ]
    with pytest.raises(DataError, match=r"table.csv:3: split 'holdout'"):
        split_name("holdout", where="table.csv:3")


def test_smaller_fractions_lie_within_larger_ones() -> None:
    records = cohort(2)
    ids = [{r.id for r in take_fraction(records, f, seed=4)} for f in (0.05, 0.2, 0.9, 1)]
    assert ids[0] < ids[1] < ids[2] < ids[3] == {r.id for r in records}
    hundred = [record(str(n), "a") for n in range(100)]
    assert [len(take_fraction(hundred, f, 0)) for f in (0.07, 0.29, 0.001)] == [7, 29, 1]


def test_a_cap_holds_for_every_class_and_ignores_the_order_of_rows() -> None:
    records = cohort(2)
    capped = cap_classes(records, 5, seed=1)
    assert max(Counter(r.top_node for r in capped).values()) == 5
    assert {r.id for r in cap_classes(records[::-1], 5, seed=1)} == {r.id for r in capped}


def test_weights_repeat_and_thin() -> None:
    records = [record(str(n), "a") for n in range(10)]
    assert Counter(Counter(r.id for r in repeat(records, 2.5, 0)).values()) == {2: 5, 3: 5}
    assert len(repeat(records, 0.3, 0)) == 3
    assert repeat(records, 1, 0) == records
