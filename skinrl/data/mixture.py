"""How much of each source goes into a mixture, chosen by the seed and the ids alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from skinrl.data.record import Record
from skinrl.data.splits import rank


def take_fraction(records: Sequence[Record], fraction: float, seed: int) -> list[Record]:
    """`fraction` of the records, rounded up; smaller fractions of one seed lie within larger ones. Order kept."""
    count = math.ceil(round(fraction * len(records), 9))  # 0.07 * 100 is 7.000000000000001
    chosen = {_key(r) for r in sorted(records, key=lambda r: _rank(r, seed, "fraction"))[:count]}
    return [record for record in records if _key(record) in chosen]


def cap_classes(records: Sequence[Record], cap: int, seed: int) -> list[Record]:
    """At most `cap` records of each class (the gold node of the largest weight). Order kept."""
    by_class: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: _rank(r, seed, "cap")):
        by_class[record.top_node or ""].append(record)
    chosen = {_key(record) for members in by_class.values() for record in members[:cap]}
    return [record for record in records if _key(record) in chosen]


def repeat(records: Sequence[Record], weight: float, seed: int) -> list[Record]:
    """Every record `weight` times over: 2.5 is twice all of them and half of them once more; 0.5 is half."""
    whole, rest = divmod(weight, 1)
    return list(records) * int(whole) + (take_fraction(records, rest, seed) if rest > 1e-9 else [])


def _key(record: Record) -> tuple[str, str]:
    return record.source, record.id


def _rank(record: Record, seed: int, purpose: str) -> str:
    return rank(seed, purpose, record.source, record.id)
