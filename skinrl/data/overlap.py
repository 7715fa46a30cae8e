"""What training and test have in common: images that are the same or nearly so, and ids that say so themselves.

Public sets are made from one another: ISIC 2019 holds HAM10000 and BCN20000, the training images of ISIC 2018 task 3
are HAM10000, and collections of questions are built from all of them. A test image that was trained on tells nothing,
and a test of "another distribution" none at all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinrl.data.near_duplicates import THRESHOLD, ImageHash, near_pairs
from skinrl.data.record import Record

REASONS = ("identical", "near", "image_id", "lesion_id", "group")

# Ids of the ISIC archive, which the sets made from it keep in the names of files (ISIC_0024306_downsampled.jpg)
_IMAGE_ID = re.compile(r"ISIC_?(\d{5,8})(?!\d)", re.IGNORECASE)
# Ids of lesions and patients that the archive and the sets that went into it share (HAM_0000118, IL_7080610)
_LESION_ID = re.compile(r"^(?:HAM|BCN|MSK\d?|UDA|IL|IP)_\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Overlap:
    """One case of the test set and one training record that share something.

    Args:
        case, training: the records.
        reason: one of `REASONS`: `identical` pixels; `near`ly the same image; the same public `image_id` or
            `lesion_id`; the same `group` (patient or lesion) of one source.
        image, training_image: the files, where an image is the reason.
        distance: bits in which the hashes differ (`near`).
        turned: the images are the same after mirroring or turning one of them.
    """

    case: Record
    training: Record
    reason: str
    image: str = ""
    training_image: str = ""
    distance: int | None = None
    turned: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The line of `contamination.jsonl`."""
        return {
            "case": self.case.id,
            "source": self.case.source,
            "image": self.image,
            "training_case": self.training.id,
            "training_source": self.training.source,
            "training_image": self.training_image,
            "reason": self.reason,
            "distance": self.distance,
            "turned": self.turned,
        }


def find_overlaps(
    training: Sequence[Record],
    test: Sequence[Record],
    hashes: Mapping[str, ImageHash],
    *,
    pixels: Mapping[str, str] | None = None,
    threshold: int = THRESHOLD,
) -> list[Overlap]:
    """Every pair of a test case and a training record that share something, each with its strongest reason.

    Args:
        hashes: path -> perceptual hashes (`hash_images`); images without are compared by ids alone.
        pixels: path -> checksum of the pixels, where known: tells identical images from nearly identical ones.
        threshold: bits in which two hashes may differ.

    Returns:
        In the order of the test cases, strongest reasons first.
    """
    found: dict[tuple[tuple[str, str], tuple[str, str]], Overlap] = {}
    for overlap in (
        *_same_images(training, test, hashes, pixels or {}, threshold),
        *_same_keys(training, test, "image_id", _image_ids),
        *_same_keys(training, test, "lesion_id", _lesion_ids),
        *_same_keys(training, test, "group", _groups),
    ):
        found.setdefault((_key(overlap.case), _key(overlap.training)), overlap)
    place = {_key(record): number for number, record in enumerate(test)}
    return sorted(
        found.values(), key=lambda one: (place[_key(one.case)], REASONS.index(one.reason), one.distance or 0)
    )


def _key(record: Record) -> tuple[str, str]:
    return record.source, record.id


def _same_images(
    training: Sequence[Record],
    test: Sequence[Record],
    hashes: Mapping[str, ImageHash],
    pixels: Mapping[str, str],
    threshold: int,
) -> Iterator[Overlap]:
    """Identical and nearly identical images, nearest first."""
    learnt, asked = _holders(training), _holders(test)
    pairs = near_pairs(
        {path: hashes[path] for path in learnt if path in hashes},
        {path: hashes[path] for path in asked if path in hashes},
        threshold=threshold,
    )
    for pair in pairs:
        same = bool(pixels.get(pair.first)) and pixels.get(pair.first) == pixels.get(pair.second)
        for one in learnt[pair.first]:
            for case in asked[pair.second]:
                yield Overlap(
                    case,
                    one,
                    "identical" if same else "near",
                    pair.second,
                    pair.first,
                    None if same else pair.distance,
                    pair.turned,
                )


def _holders(records: Iterable[Record]) -> dict[str, list[Record]]:
    holders: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for path in dict.fromkeys(record.images):
            holders[path].append(record)
    return holders


def _same_keys(training: Sequence[Record], test: Sequence[Record], reason: str, keys: Any) -> Iterator[Overlap]:
    learnt: dict[str, list[tuple[Record, str]]] = defaultdict(list)
    for record in training:
        for key, path in keys(record).items():
            learnt[key].append((record, path))
    for case in test:
        for key, path in keys(case).items():
            for record, training_path in learnt.get(key, ()):
                yield Overlap(case, record, reason, path, training_path)


def _image_ids(record: Record) -> dict[str, str]:
    """Number in the ISIC archive -> the file that has it in its name (empty where the record's id has it)."""
    named = {match[1].lstrip("0"): "" for match in _IMAGE_ID.finditer(record.id)}
    for path in record.images:
        named |= {match[1].lstrip("0"): path for match in _IMAGE_ID.finditer(Path(path).name)}
    return named


def _lesion_ids(record: Record) -> dict[str, str]:
    public = record.group_kind != "image" and _LESION_ID.match(record.group)
    return {record.group.upper(): ""} if public else {}


def _groups(record: Record) -> dict[str, str]:
    return {} if record.group_kind == "image" else {f"{record.source}/{record.group_kind}/{record.group}": ""}
