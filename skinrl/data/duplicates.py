"""Identical images: one photograph under two ids.

Under two ids whose labels contradict each other it teaches noise and makes one of two right answers wrong; in two
splits it lets a model be tested on what it was trained on. Both are found by the hash of the upright pixels, so
that another file format or another EXIF block does not hide them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from skinrl.data.images import ImageFacts, some
from skinrl.data.record import Record
from skinrl.errors import DataError


class Hierarchy(Protocol):
    """The part of a taxonomy that is needed here."""

    def is_ancestor(self, a: str, b: str, /) -> bool:
        """Whether `a` contains `b`."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Records that show one identical image.

    Args:
        records: two or more, in the order in which they were given.
        conflict: the labels of two of them contradict each other.
        splits: the splits in which they stand, sorted; more than one is a leak.
    """

    records: tuple[Record, ...]
    conflict: bool
    splits: tuple[str, ...]

    def __str__(self) -> str:
        return " = ".join(
            f"{r.source}:{r.id} ({r.raw_label or ', '.join(r.nodes) or 'no label'})" for r in self.records
        )


def find_duplicates(
    records: Iterable[Record], facts: Mapping[str, ImageFacts], taxonomy: Hierarchy
) -> list[Duplicate]:
    """Every set of records that share an identical image.

    Two images of one record may be identical without being reported. Labels contradict each other when no gold
    node of one equals or contains a gold node of the other; a record without a label contradicts nobody.

    Args:
        records: with or without splits.
        facts: path -> facts, as `check_images` gives them; paths without a hash are left out.
        taxonomy: says which node contains which.
    """
    holders: dict[str, dict[tuple[str, str], Record]] = defaultdict(dict)
    for record in records:
        for path in record.images:
            if path in facts and facts[path].pixels:
                holders[facts[path].pixels][record.source, record.id] = record
    found = {}
    for same in holders.values():
        if len(same) > 1:
            members = tuple(same.values())
            found[tuple(same)] = Duplicate(
                records=members,
                conflict=any(_contradict(a, b, taxonomy) for i, a in enumerate(members) for b in members[:i]),
                splits=tuple(sorted({r.split for r in members if r.split})),
            )
    return list(found.values())


def settle_conflicts(
    records: Sequence[Record], duplicates: Iterable[Duplicate], *, refuse: Iterable[str] = ()
) -> tuple[list[Record], list[Record]]:
    """Drop the records whose image also stands under a contradicting label.

    All records of such an image go: nothing tells which label is the right one.

    Args:
        records: all of them.
        duplicates: as `find_duplicates` gives them.
        refuse: names of the sources in which a conflict is an error (`on_conflict: error`).

    Returns:
        (kept, dropped)

    Raises:
        DataError: a conflict that involves a source of `refuse`; every pair is named.
    """
    conflicts = [duplicate for duplicate in duplicates if duplicate.conflict]
    strict = set(refuse)
    refused = [d for d in conflicts if any(r.source in strict for r in d.records)]
    if refused:
        raise DataError(
            f"{len(refused)} identical images stand under labels that contradict each other: "
            f"{some((str(d) for d in refused), 20)}. Correct the labels, or set on_conflict: drop"
        )
    gone = {(record.source, record.id) for duplicate in conflicts for record in duplicate.records}
    kept = [record for record in records if (record.source, record.id) not in gone]
    dropped = [record for record in records if (record.source, record.id) in gone]
    return kept, dropped


def _contradict(a: Record, b: Record, taxonomy: Hierarchy) -> bool:
    if not a.labels or not b.labels:
        return False
    return not any(
        x == y or taxonomy.is_ancestor(x, y) or taxonomy.is_ancestor(y, x) for x in a.nodes for y in b.nodes
    )
