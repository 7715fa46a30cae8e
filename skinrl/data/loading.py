"""From the recipe's list of data to records with splits: load, check the images, settle duplicates, split, mix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from skinrl.data.duplicates import Duplicate, find_duplicates, settle_conflicts
from skinrl.data.entries import DataSpec, as_spec, load_entry
from skinrl.data.images import ImageFacts, check_images, refuse_broken, some
from skinrl.data.mixture import cap_classes, repeat, take_fraction
from skinrl.data.questions import Pool, pools_of
from skinrl.data.record import Record
from skinrl.data.splits import DEFAULT_FRACTIONS, assign_splits, refuse_shared_groups, split_name
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy


@dataclass(frozen=True)
class LoadedData:
    """What a data list gives.

    Args:
        records: every record once, each with a split.
        train: the training records in the mixture: repeated or thinned by `weight`.
        pools: options for questions, by source, from all records before any thinning.
        counts: source -> what was loaded and what was left out, with the reason.
        duplicates: identical images that were kept (labels agree).
        dropped: records dropped because their image also stands under a contradicting label.
        pixels: path -> checksum of its upright pixels, of every image of `records`.
        warnings: what the sources say that the user should know: an unverified layout, counts other than published.
    """

    records: tuple[Record, ...]
    train: tuple[Record, ...]
    pools: Mapping[str, Pool]
    counts: Mapping[str, Mapping[str, int]]
    duplicates: tuple[Duplicate, ...] = ()
    dropped: tuple[Record, ...] = ()
    pixels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def leaks(self) -> tuple[Duplicate, ...]:
        """Identical images that stand in two splits."""
        return tuple(duplicate for duplicate in self.duplicates if len(duplicate.splits) > 1)

    def split(self, name: str) -> tuple[Record, ...]:
        """Records of a split; `train` in its mixture.

        Raises:
            DataError: the split is empty.
        """
        chosen = self.train if name == "train" else tuple(r for r in self.records if r.split == split_name(name))
        if not chosen:
            have = Counter(record.split for record in self.records)
            raise DataError(f"the {name} split is empty; the data has {dict(have)}")
        return chosen

    def lines(self) -> list[str]:
        """The counts, for a person: one line a source, then what was dropped or is suspicious."""
        lines = [
            f"{source}: " + ", ".join(f"{n} {what}" for what, n in c.items()) for source, c in self.counts.items()
        ]
        if self.dropped:
            lines.append(f"dropped for contradicting labels: {some((f'{r.source}:{r.id}' for r in self.dropped), 20)}")
        if self.leaks:
            lines.append(f"identical images in two splits: {some((str(d) for d in self.leaks), 20)}")
        return lines + [f"warning: {warning}" for warning in self.warnings]


def load_records(
    entries: Iterable[DataSpec | Mapping[str, Any] | Any],
    taxonomy: Taxonomy,
    *,
    seed: int,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    cache: Path | None = None,
    base: Path | None = None,
) -> LoadedData:
    """Load a data list. Every image is decoded once; with a cache, once for all runs.

    Args:
        entries: `DataSpec`s, mappings, or objects with the same fields (a recipe's section).
        taxonomy: the nodes.
        seed: of the experiment: splits, fractions and caps follow from it.
        fractions: shares of the splits where a source has none of its own.
        cache: file that remembers image hashes (`check_images`).
        base: folder that a source's `./file.py:name` starts from; the recipe's.

    Raises:
        DataError: whatever is wrong with the data, all of one kind at once; see the parts of this room.
        PluginError: a source's import path leads nowhere.
    """
    specs = [as_spec(entry) for entry in entries]
    if not specs:
        raise DataError("the data list is empty; name at least one source")
    loaded = [load_entry(spec, taxonomy, seed, base) for spec in specs]
    counts = _count_loaded(loaded)
    warnings = tuple(dict.fromkeys(warning for found in loaded for warning in getattr(found, "warnings", ())))
    facts = check_images((path for records in loaded for r in records for path in r.images), cache=cache)
    loaded = [_without_broken(spec, list(records), facts, counts) for spec, records in zip(specs, loaded, strict=True)]
    everything = [record for records in loaded for record in records]
    duplicates = find_duplicates(everything, facts, taxonomy)
    strict = {r.source for spec, rs in zip(specs, loaded, strict=True) if spec.on_conflict == "error" for r in rs}
    kept, dropped = settle_conflicts(everything, duplicates, refuse=strict)
    gone = {(record.source, record.id) for record in dropped}
    together = [[(r.source, r.id) for r in d.records] for d in duplicates if not d.conflict]
    parts: list[list[Record]] = []
    train: list[Record] = []
    for spec, records in zip(specs, loaded, strict=True):
        whole = [record for record in records if (record.source, record.id) not in gone]
        if spec.as_test and spec.split is None:  # nothing is dealt: three patients may be a test set too
            whole = [replace(record, split="test") for record in whole]
        split = assign_splits(whole, seed=seed, fractions=fractions, together=together)
        part = _choose(*_as_test(spec, split), seed)
        parts.append(part)
        train += repeat([r for r in part if r.split == "train"], spec.weight, seed)
    records, train = _unique_ids([record for part in parts for record in part], train)
    refuse_shared_groups(records)
    for record in dropped:
        counts[record.source]["contradicting labels"] += 1
    for record in records:
        counts[record.source][str(record.split)] += 1
    return LoadedData(
        records=tuple(records),
        train=tuple(train),
        pools=pools_of(kept, taxonomy),
        counts={source: dict(c) for source, c in counts.items()},
        duplicates=tuple(find_duplicates(records, facts, taxonomy)),
        dropped=tuple(dropped),
        pixels={path: facts[path].pixels for record in records for path in record.images},
        warnings=warnings,
    )


# --- one entry -------------------------------------------------------------------------------------------------


def _count_loaded(loaded: Sequence[Sequence[Record]]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for records in loaded:
        for record in records:
            counter = counts.setdefault(record.source, Counter(records=0, images=0))
            counter["records"] += 1
            counter["images"] += len(record.images)
        counts[records[0].source].update(getattr(records, "left_out", {}))
    return counts


def _without_broken(
    spec: DataSpec, records: list[Record], facts: Mapping[str, ImageFacts], counts: Mapping[str, Counter[str]]
) -> list[Record]:
    """The records without the images that cannot be read, and without those that have no other image."""
    own = {path: facts[path] for record in records for path in record.images}
    broken = set(refuse_broken(own, allow=spec.on_broken_image == "skip"))
    if not broken:
        return records
    mended = []
    for record in records:
        whole = tuple(path for path in record.images if path not in broken)
        if whole or record.text_only:
            mended.append(replace(record, images=whole))
        if len(whole) < len(record.images):
            counts[record.source]["images broken"] += len(record.images) - len(whole)
    if not mended:
        raise DataError(f"source {spec.source}: none of {len(own)} images can be read; first: {some(sorted(broken))}")
    return mended


def _as_test(spec: DataSpec, records: Sequence[Record]) -> tuple[DataSpec, Sequence[Record]]:
    """For an entry that is evaluated as a test set whatever its splits: the records that it names, as test records."""
    if not spec.as_test:
        return spec, records
    named = [replace(record, split="test") for record in records if spec.split in (None, record.split)]
    return replace(spec, split="test"), named


def _choose(spec: DataSpec, records: Sequence[Record], seed: int) -> list[Record]:
    """The split that the entry names, thinned as it says; the order is kept."""
    thinned = spec.split or "train"
    part = take_fraction([record for record in records if record.split == thinned], spec.fraction, seed)
    part = cap_classes(part, spec.cap_per_class, seed) if spec.cap_per_class else part
    kept = {record.id for record in part}
    chosen = [record for record in records if (record.id in kept if record.split == thinned else spec.split is None)]
    if not chosen:
        have = dict(Counter(record.split for record in records))
        raise DataError(f"data entry {spec.source}: the {spec.split} split is empty; the source has {have}")
    return chosen


def _unique_ids(records: list[Record], train: list[Record]) -> tuple[list[Record], list[Record]]:
    """Ids that two sources share get the source's name in front; rows, results and predictions go by id.

    Raises:
        DataError: one record comes from two entries.
    """
    doubles = [key for key, n in Counter((r.source, r.id) for r in records).items() if n > 1]
    if doubles:
        raise DataError(
            f"{len(doubles)} records come from two entries of the data list: {some(f'{s}:{i}' for s, i in doubles)}. "
            "Let the entries name different splits, or use weight to have records several times"
        )
    shared = {name for name, n in Counter(record.id for record in records).items() if n > 1}
    if not shared:
        return records, train

    def rename(record: Record) -> Record:
        return replace(record, id=f"{record.source}/{record.id}") if record.id in shared else record

    return [rename(record) for record in records], [rename(record) for record in train]
