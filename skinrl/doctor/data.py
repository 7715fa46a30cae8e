"""Checks of the taxonomy and of records that were loaded from it: what loads, and is wrong all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from skinrl.data.record import Record
from skinrl.doctor.finding import Finding, ok, skipped
from skinrl.taxonomy import Taxonomy

_FEW = 30  # cases, below which an accuracy has an interval of about 18 points either way


def check_taxonomy(taxonomy: Taxonomy) -> Finding:
    """Whether the taxonomy says of every leaf how it behaves: the malignancy reward cannot score the others."""
    silent = [leaf for leaf in taxonomy.leaves if taxonomy.behaviour(leaf) is None]
    what = f"{taxonomy.name}: {len(taxonomy.ids)} nodes, {len(taxonomy.leaves)} leaves"
    if silent:
        why = "neither the malignancy reward nor the rule against opposite behaviour can judge them"
        said = f"{what}, {len(silent)} leaves without behaviour: {_some(silent)}"
        return Finding("taxonomy", "warn", said, why, "give each leaf a `behaviour`")
    return ok("taxonomy", what)


def check_labels(records: Sequence[Record], taxonomy: Taxonomy) -> Finding:
    """Whether the gold labels let the hierarchy reward tell answers apart."""
    if not records:
        return skipped("labels", "no records")
    unlabelled = sum(not record.labels for record in records)
    at_root = sum(any(node == taxonomy.root for node, _ in record.labels) for record in records)
    counted = Counter(node for record in records for node, _ in record.labels)
    what = f"{len(records)} records, {len(counted)} different labels, {unlabelled} without one"
    if unlabelled == len(records):
        return Finding("labels", "fail", what, "no answer can be scored", "mend the label map (`labels:`)")
    if at_root:
        why = "the root stands for every disease: no answer to them can be scored"
        return Finding(
            "labels", "warn", f"{what}, {at_root} at the root", why, "map them to a class, or leave them out"
        )
    if len(counted) == 1:
        why = "one answer is always right: there is nothing to learn"
        return Finding("labels", "warn", f"{what}: {next(iter(counted))}", why, "add data of other diseases")
    if unlabelled > len(records) / 2:
        why = "GRPO learns nothing from a case without a label"
        return Finding("labels", "warn", what, why, "mend the label map (`labels:`)")
    return ok("labels", what)


def check_images(records: Sequence[Record], broken: Sequence[str], missing: Sequence[str]) -> Finding:
    """Whether the image files are there and can be read. ``broken`` and ``missing`` are paths."""
    count = sum(len(record.images) for record in records)
    bad = [
        f"{len(paths)} {word} ({_some(paths)})"
        for paths, word in ((missing, "missing"), (broken, "unreadable"))
        if paths
    ]
    if bad:
        what, why = f"of {count} images: {', '.join(bad)}", "the run stops there, unless the recipe says `skip`"
        return Finding("images", "fail", what, why, "mend them, or set on_missing_image and on_broken_image: skip")
    if not count:
        return Finding(
            "images", "warn", "no record has an image", "a vision model learns from text alone", "check `path`"
        )
    return ok("images", f"{count} images")


def check_groups(records: Sequence[Record]) -> Finding:
    """Whether splits keep patients apart, as far as the data names them."""
    if not records:
        return skipped("patients", "no records")
    splits: dict[tuple[str, str], set[str]] = {}
    for record in records:
        if record.split is not None:
            splits.setdefault((record.source, record.group), set()).add(record.split)
    shared = [group for (_, group), found in splits.items() if len(found) > 1]
    kinds = Counter(record.group_kind for record in records)
    what = ", ".join(f"{count} records by {kind}" for kind, count in kinds.most_common())
    if shared:
        why = "a model that has seen a patient in training is flattered by the test"
        said = f"{len(shared)} groups stand in several splits: {_some(shared)}"
        return Finding(
            "patients", "fail", said, why, "split by patient: leave the split to skinrl, or mend the column"
        )
    if kinds["image"]:
        why = "two photographs of one person may lie on both sides of a split, and intervals are too narrow"
        return Finding("patients", "warn", what, why, "name the patient column in the source, if there is one")
    return ok("patients", what)


def check_splits(sizes: Mapping[str, int], needed: Iterable[str]) -> Finding:
    """Whether every split that the stages need has cases, and enough of them to measure something."""
    empty = [split for split in needed if not sizes.get(split)]
    what = ", ".join(f"{split}: {count}" for split, count in sizes.items()) or "no records"
    if empty:
        why = "a stage would have nothing to work on"
        return Finding("splits", "fail", f"{what}; empty: {', '.join(empty)}", why, "mend `split`, or give more data")
    if sizes.get("test", _FEW) < _FEW:
        why = f"with fewer than {_FEW} cases a 95 % interval is about 18 points wide on either side"
        return Finding("splits", "warn", what, why, "evaluate on more cases")
    return ok("splits", what)


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
