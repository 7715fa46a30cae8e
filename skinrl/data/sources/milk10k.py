"""MILK10k: 5,240 lesions, each with a clinical and a dermoscopic photograph (MILK study team 2025).

From the ISIC Archive (doi 10.34970/648456): metadata (a row an image), a supplement with the full diagnosis, and the
images in a folder per lesion. A case is one lesion with both images, unless `view` asks for one kind. The test part
of the challenge has no labels. Skin tone is the dataset's own class, 0 (very dark) to 5 (very light), an apparent tone
and no other scale.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from skinrl.data.record import SkinTone
from skinrl.data.sources.cells import age_band, lower, tone
from skinrl.data.sources.files import Row
from skinrl.data.sources.rows import Join
from skinrl.data.sources.table import LoadedRecords, SourceTable, load_table
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

VIEWS = {"clinical": "clinical: close-up", "dermoscopy": "dermoscopic"}
_PARTS = "MILK10k_Training_Input"
_class = tone("apparent", "skin_tone_class", "the dataset's own class")


def _modality(row: Row) -> str:
    found = [modality for modality, written in VIEWS.items() if row["image_type"] == written]
    if not found:
        raise DataError(f"image_type {row['image_type']!r}; expected one of {', '.join(VIEWS.values())}")
    return found[0]


def _tone(row: Row) -> SkinTone | None:
    found = _class(row)
    return found and replace(found, value=f"MILK10k {found.value}")  # a number alone could be taken for another scale


_modality.columns = ("image_type",)  # type: ignore[attr-defined]
_tone.columns = ("skin_tone_class",)  # type: ignore[attr-defined]

SOURCE = SourceTable(
    name="milk10k",
    table="MILK10k_Training_Metadata.csv",
    joins=(Join(table="MILK10k_Training_Supplement.csv", on="isic_id"),),
    image="isic_id",
    label="diagnosis_full",
    labels="milk10k",
    folders=(
        f"{_PARTS}/{{lesion_id}}",
        f"{_PARTS}/{_PARTS}/{{lesion_id}}",
        _PARTS,
        "images/{lesion_id}",
        "images",
        ".",
    ),
    case="lesion_id",
    lesion="lesion_id",
    modality=_modality,
    skin_tone=_tone,
    slices={
        "age": age_band("age_approx"),
        "sex": lower("sex"),
        "site": lower("site"),
        "confirmed_by": "diagnosis_confirm_type",
    },
    layout="published files",
    layout_from="MILK10k_Training_Metadata.csv and MILK10k_Training_Supplement.csv as published; doi 10.34970/648456",
    published={"rows": 10480},
)


def load(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    view: str = "both",
    labels: Any = None,
    on_missing_image: str = "error",
) -> LoadedRecords:
    """The records; `view`: `"both"`, `"clinical"` or `"dermoscopy"`. The rest and errors as in `load_table`."""
    if view not in ("both", *VIEWS):
        raise DataError(f"milk10k: view is {view!r}; expected both, {' or '.join(VIEWS)}")
    source = SOURCE if view == "both" else replace(SOURCE, keep=lambda row: row["image_type"] == VIEWS[view])
    return load_table(source, path, taxonomy, labels=labels, on_missing_image=on_missing_image)
