"""Train, validation and test, so that no patient stands in two of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from skinrl.data.images import some
from skinrl.data.record import SPLITS, Record
from skinrl.errors import DataError

DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}
_OTHER_NAMES = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
_Counts = dict[str, float]


def split_name(text: str, *, where: str = "") -> str:
    """`train`, `validation` or `test` for what a table says (`val`, `Training`, ...).

    Raises:
        DataError: another word.
    """
    word = text.strip().lower()
    word = _OTHER_NAMES.get(word, word)
    if word not in SPLITS:
        raise DataError(f"{where + ': ' if where else ''}split {text!r} is not one of {', '.join(SPLITS)}")
    return word


def is_split_name(text: str) -> bool:
    """Whether a word names a split, in one of the usual spellings."""
    word = text.strip().lower()
    return _OTHER_NAMES.get(word, word) in SPLITS


def rank(seed: int, *parts: str) -> str:
    """A number in hexadecimal that depends on the seed and the names alone: an order without row numbers."""
    return hashlib.sha256("\0".join((str(seed), *parts)).encode()).hexdigest()


def assign_splits(
    records: Sequence[Record],
    *,
    seed: int,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    together: Iterable[Sequence[tuple[str, str]]] = (),
) -> list[Record]:
    """The records, each with a split; the order is kept.

    Records that have a split keep it. Where no record of a source has one, its groups (patients, else lesions)
    are dealt out so that every split has its share of every class, as far as whole groups allow. The result
    depends on the seed, the ids and the groups, never on the order of the rows.

    Args:
        records: of one or several sources; each source is split on its own.
        seed: of the experiment.
        fractions: wanted share of the records per split; they sum to 1, and a split of 0 is not made.
        together: sets of `(source, id)` that must not be torn apart, such as identical images. Only those of one
            source can be kept together, since each source is split on its own.

    Raises:
        DataError: fractions that do not sum to 1; a source of which only some records have a split; a split that
            gets no record; a patient or lesion in two splits.
    """
    if (
        set(fractions) - set(SPLITS)
        or any(f < 0 for f in fractions.values())
        or abs(sum(fractions.values()) - 1) > 1e-6
    ):
        raise DataError(f"split fractions {dict(fractions)}; expected shares of {', '.join(SPLITS)} that sum to 1")
    by_source: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_source[record.source].append(record)
    chosen: dict[tuple[str, str], str] = {}
    for source, members in by_source.items():
        unsplit = [record for record in members if record.split is None]
        if unsplit and len(unsplit) < len(members):
            raise DataError(
                f"{source}: {len(unsplit)} of {len(members)} records have no split ({some(r.id for r in unsplit)}); "
                "give one to all of them, or to none"
            )
        if unsplit:
            chosen.update(_deal(source, members, seed, {s: f for s, f in fractions.items() if f > 0}, together))
    placed = [r if r.split else replace(r, split=chosen[r.source, r.id]) for r in records]
    refuse_shared_groups(placed)
    return placed


def refuse_shared_groups(records: Iterable[Record]) -> None:
    """Raise where a patient or lesion of a source stands in two splits.

    Raises:
        DataError: counts and names the groups.
    """
    seen: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for record in records:
        if record.split and record.group_kind != "image":
            seen[record.source, record.group_kind, record.group].add(record.split)
    shared = sorted((key, sorted(splits)) for key, splits in seen.items() if len(splits) > 1)
    if shared:
        named = some(f"{kind} {group} of {source} ({' and '.join(s)})" for (source, kind, group), s in shared)
        raise DataError(
            f"{len(shared)} patients or lesions stand in two splits: {named}. What is learnt from one image would be "
            "tested on another of the same person; move each to one split, or leave the split column out (a published "
            "dataset: kwargs: {official_split: false})"
        )


def _deal(
    source: str,
    records: Sequence[Record],
    seed: int,
    fractions: Mapping[str, float],
    together: Iterable[Sequence[tuple[str, str]]],
) -> dict[tuple[str, str], str]:
    groups = _groups(records, together)
    order = sorted(groups, key=lambda name: (-len(groups[name]), rank(seed, source, name)))
    classes = Counter(_stratum(record) for record in records)
    total = len(records)
    wanted = {s: {c: share * n for c, n in classes.items()} for s, share in fractions.items()}
    have: dict[str, _Counts] = {split: defaultdict(float) for split in fractions}
    size: _Counts = dict.fromkeys(fractions, 0.0)
    chosen: dict[tuple[str, str], str] = {}
    for name in order:
        content = Counter(_stratum(record) for record in groups[name])
        n = len(groups[name])

        def cost(split: str, content: Counter[str] = content, n: int = n) -> tuple[float, float]:
            # Growth of the squared distance to the wanted counts, by class and over all. The latter counts as much as
            # a class of mean size does: else a long tail of classes with one case each would all go to train.
            by_class = sum(k * (k + 2 * (have[split][c] - wanted[split][c])) / classes[c] for c, k in content.items())
            overall = n * (n + 2 * (size[split] - fractions[split] * total)) * len(classes) / total
            return by_class + overall, -fractions[split]

        split = min(fractions, key=cost)
        size[split] += n
        for stratum, count in content.items():
            have[split][stratum] += count
        chosen.update(((source, record.id), split) for record in groups[name])
    empty = [split for split in fractions if not size[split]]
    if empty:
        raise DataError(
            f"{source}: {total} records in {len(groups)} groups leave the {' and '.join(empty)} split empty "
            f"(wanted shares: {dict(fractions)}); add data, or set the share of that split to 0"
        )
    return chosen


def _stratum(record: Record) -> str:
    return record.top_node or ""


def _groups(records: Sequence[Record], together: Iterable[Sequence[tuple[str, str]]]) -> dict[str, list[Record]]:
    """Records by group, groups that share an identical image joined under the smallest of their names."""
    parent = {f"{r.group_kind}\0{r.group}": f"{r.group_kind}\0{r.group}" for r in records}
    of_record = {(r.source, r.id): f"{r.group_kind}\0{r.group}" for r in records}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name] = parent[parent[name]]
        return name

    for keys in together:
        names = sorted(find(of_record[key]) for key in keys if key in of_record)
        for other in names[1:]:
            low, high = sorted((find(names[0]), find(other)))
            parent[high] = low
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[find(of_record[record.source, record.id])].append(record)
    return dict(groups)
