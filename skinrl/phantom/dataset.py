"""The phantom as a dataset: images on disk, a manifest beside them, records out of it.

Two domains as in life. *Textbook*: few, clean, balanced over the diseases, concepts recorded. *Clinical*: many,
every skin tone, long-tailed, a label alone; about half of the training labels name only an inner node, while the
validation and test splits are curated, that is labelled at the leaf.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skinrl.data.record import SPLITS, Record, SkinTone
from skinrl.errors import DataError, TaxonomyError
from skinrl.phantom.diseases import DISEASES, TYPICAL_SHARE
from skinrl.phantom.render import DOMAINS, draw_tone, render
from skinrl.taxonomy import Taxonomy

#: The commonest clinical disease is this many times as frequent as the rarest.
HEAD_TO_TAIL = 10.0
#: Share of the clinical training labels that stop at an inner node.
INNER_SHARE = 0.5
#: Raise it when the same parameters draw other pixels, so that folders on disk are drawn anew.
_VERSION = 1
_IMAGES_PER_PATIENT = (1, 4)


def load(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    domain: str = "clinical",
    split: str = "train",
    count: int = 600,
    seed: int = 0,
    size: int = 84,
    inner_share: float | None = None,
    labels: object = None,
) -> list[Record]:
    """Records of one domain and split; draws the images under `path` first where they are not there yet.

    The folder `path/<domain>_<split>_<digest>` holds the PNGs, `manifest.jsonl` (one record a line) and
    `parameters.json`. The digest is one of the parameters, so that another seed never draws over the images of a run;
    the folder is there whole or not at all.

    Args:
        path: folder of the phantom; made where absent.
        taxonomy: must know every leaf of `DISEASES`; inner labels are taken from it.
        domain: `"textbook"` or `"clinical"`.
        split: `"train"`, `"validation"` or `"test"`: other patients, other random numbers.
        count: number of images, one image a record.
        seed: everything follows from it.
        size: side of the images in pixels.
        inner_share: share of labels that stop at an inner node; default `INNER_SHARE` for clinical training
            images and 0 elsewhere.
        labels: not used: the phantom's labels are nodes already.

    Raises:
        DataError: an unknown domain or split, a count or size that is too small.
        TaxonomyError: the taxonomy lacks a disease of the phantom.
    """
    _check(domain, split, count, size, taxonomy)
    if inner_share is None:
        inner_share = INNER_SHARE if (domain, split) == ("clinical", "train") else 0.0
    paths = {leaf: list(taxonomy.path(leaf)) for leaf in DISEASES}
    parameters: dict[str, Any] = {
        "domain": domain,
        "split": split,
        "count": count,
        "seed": seed,
        "size": size,
        "inner_share": inner_share,
        "drawn_by": _fingerprint(paths),
    }
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(path) / f"{domain}_{split}_{digest}"
    if not _is_current(folder, parameters):
        _write(folder, parameters, paths)
    return [_read(json.loads(line), folder) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]


def clinical_weights() -> np.ndarray:
    """Frequency of each disease of `DISEASES`, in its order, in the clinical domain: a geometric long tail."""
    weights = HEAD_TO_TAIL ** (-np.arange(len(DISEASES)) / (len(DISEASES) - 1))
    return weights / weights.sum()


def _check(domain: str, split: str, count: int, size: int, taxonomy: Taxonomy) -> None:
    if domain not in DOMAINS:
        raise DataError(f"phantom domain {domain!r} is not one of {', '.join(DOMAINS)}")
    if split not in SPLITS:
        raise DataError(f"phantom split {split!r} is not one of {', '.join(SPLITS)}")
    if count < 1 or size < 28:
        raise DataError(f"phantom with count {count} and size {size}; expected at least 1 image of 28 pixels")
    missing = [leaf for leaf in DISEASES if leaf not in taxonomy]
    if missing:
        raise TaxonomyError(
            f"taxonomy {taxonomy.name!r} lacks {len(missing)} disease(s) of the phantom: {', '.join(missing)}; "
            "use the taxonomy 'dermatology' or an overlay that extends it"
        )


def _fingerprint(paths: dict[str, list[str]]) -> str:
    """Changes with the morphologies, the scenes and the taxonomy's paths: what the images and labels depend on."""
    drawn = [_VERSION, HEAD_TO_TAIL, TYPICAL_SHARE, repr(DISEASES), repr(DOMAINS), paths]
    return hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()[:16]


def _is_current(folder: Path, parameters: dict[str, Any]) -> bool:
    file = folder / "parameters.json"
    return file.is_file() and json.loads(file.read_text("utf-8")) == parameters


def _write(folder: Path, parameters: dict[str, Any], paths: dict[str, list[str]]) -> None:
    """Draw into a temporary folder beside `folder` and rename it, so that a crash leaves no half a dataset."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with (temporary / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
            for record in _draw(temporary, parameters, paths):
                manifest.write(json.dumps(record.to_dict()) + "\n")
        (temporary / "parameters.json").write_text(json.dumps(parameters, indent=1, sort_keys=True), "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _draw(folder: Path, parameters: dict[str, Any], paths: dict[str, list[str]]) -> Iterator[Record]:
    domain, split, count = parameters["domain"], parameters["split"], parameters["count"]
    stream = [parameters["seed"], list(DOMAINS).index(domain), SPLITS.index(split)]
    patients = np.random.default_rng(stream)
    leaves = list(DISEASES)
    weights = clinical_weights()
    drawn = patient = 0
    while drawn < count:
        tone = draw_tone(patients, domain)
        # A textbook shows every disease equally often; a clinic sees what comes.
        common = int(patients.choice(len(leaves), p=weights))
        leaf = leaves[patient % len(leaves) if domain == "textbook" else common]
        # One plate a patient in a textbook; several photographs of a patient in the clinic.
        several = int(patients.integers(_IMAGES_PER_PATIENT[0], _IMAGES_PER_PATIENT[1] + 1))
        images = 1 if domain == "textbook" else several
        for _ in range(min(images, count - drawn)):
            rng = np.random.default_rng([*stream, drawn])
            shown = DISEASES[leaf].draw(rng)
            name = f"{drawn:05d}.png"
            render(shown, tone, domain, rng, parameters["size"]).save(folder / name, compress_level=1)
            node = leaf
            if rng.random() < parameters["inner_share"] and len(paths[leaf]) > 1:
                node = paths[leaf][int(rng.integers(len(paths[leaf]) - 1))]
            yield Record(
                id=f"{domain}-{split}-{drawn:05d}",
                images=(name,),
                modality="clinical",
                source="phantom",
                labels=((node, 1.0),),
                concepts=shown.words() if domain == "textbook" else {},
                skin_tone=SkinTone("fitzpatrick", str(tone + 1), "rendered"),
                group=f"{domain}-{split}-patient-{patient:05d}",
                group_kind="patient",
                split=split,
                raw_label=node,
            )
            drawn += 1
        patient += 1


def _read(line: dict[str, Any], folder: Path) -> Record:
    line["images"] = [str(folder / name) for name in line["images"]]
    return Record.from_dict(line)
