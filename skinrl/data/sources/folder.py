"""Any folder: a CSV, TSV or JSONL table with the columns that the recipe names, or one sub-folder per class.

data:
  - source: folder
    path: /data/our_clinic
    labels: our_clinic_labels.yaml
    kwargs:
      table: cases.csv
      columns: {image: photo, label: dx, patient: patient_no}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skinrl.data.record import MODALITIES
from skinrl.data.sources.cells import tone
from skinrl.data.sources.files import TABLE_SUFFIXES, folder_per_class
from skinrl.data.sources.table import LoadedRecords, SourceTable, load_table
from skinrl.errors import DataError
from skinrl.taxonomy import LabelMap, Taxonomy

COLUMNS = ("image", "label", "id", "case", "patient", "lesion", "split", "skin_tone")


def load(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    labels: LabelMap | str | Path | Mapping[str, Any] | None = None,
    on_missing_image: str = "error",
    table: str | Mapping[str, str] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    name: str | None = None,
    images: str | Sequence[str] = ("images", "."),
    modality: str = "clinical",
    skin_tone_scale: str = "fitzpatrick",
    skin_tone_source: str = "recorded",
    slices: Mapping[str, str] | Sequence[str] = (),
    concepts: Mapping[str, str] | Sequence[str] = (),
) -> LoadedRecords:
    """The records of a folder of the user's own.

    Args:
        path: the folder.
        taxonomy: the nodes of the labels.
        labels: label map (name, file or mapping). Without one a label must be the exact name of a node.
        on_missing_image: `"error"` or `"skip"`.
        table: file in the folder, or a mapping from split to file; default: the only table there, and where there
            is none, one sub-folder per class.
        columns: what stands in which column: keys of `COLUMNS`; `image` and `label` have these very names by
            default. `image` may be several columns, or a pattern such as `"{photo}.jpg"`; rows with one `case`
            are one record.
        name: of the dataset in results; default: the folder's.
        images: sub-folders with the images, tried in turn.
        modality: of all images.
        skin_tone_scale, skin_tone_source: of the column `skin_tone`; see `SkinTone`.
        slices, concepts: name -> column, or a list of columns under their own names.

    Raises:
        DataError: as `load_table`; several tables and none named; an unknown key in `columns`.
    """
    source = describe(
        Path(path),
        table=table,
        columns=columns,
        name=name,
        images=images,
        modality=modality,
        skin_tone_scale=skin_tone_scale,
        skin_tone_source=skin_tone_source,
        slices=slices,
        concepts=concepts,
    )
    return load_table(source, path, taxonomy, labels=labels, on_missing_image=on_missing_image)


def describe(
    root: Path,
    *,
    table: str | Mapping[str, str] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    name: str | None = None,
    images: str | Sequence[str] = ("images", "."),
    modality: str = "clinical",
    skin_tone_scale: str = "fitzpatrick",
    skin_tone_source: str = "recorded",
    slices: Mapping[str, str] | Sequence[str] = (),
    concepts: Mapping[str, str] | Sequence[str] = (),
) -> SourceTable:
    """The folder as a `SourceTable`; arguments and errors as in `load`."""
    given = dict(columns or {})
    for key in given:
        if key not in COLUMNS:
            near = difflib.get_close_matches(key, COLUMNS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DataError(f"folder {root}: unknown key columns.{key}; expected {', '.join(COLUMNS)}{hint}")
    if modality not in MODALITIES:
        raise DataError(f"folder {root}: modality {modality!r}; expected one of {', '.join(MODALITIES)}")
    table = table or only_table(root)
    title = name or root.resolve().name
    if table is None:
        return SourceTable(
            name=title,
            table=folder_per_class,
            image="image",
            label="label",
            id="id",
            split="split",
            folders=(".",),
            modality=modality,
        )
    image = given.pop("image", "image")
    tone_column = given.pop("skin_tone", None)
    return SourceTable(
        name=title,
        table=table,
        image=image if isinstance(image, str) else tuple(image),
        folders=(images,) if isinstance(images, str) else tuple(images),
        modality=modality,
        skin_tone=tone(skin_tone_scale, str(tone_column), skin_tone_source) if tone_column else None,
        slices=_named(slices),
        concepts=_named(concepts),
        **{"label": "label", **{key: str(column) for key, column in given.items()}},  # type: ignore[arg-type]
    )


def only_table(root: Path) -> str | None:
    """Name of the one table in a folder; `None` where there is none.

    Raises:
        DataError: no such folder, or several tables.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; expected a folder with images and a table, or one sub-folder per class")
    found = sorted(p.name for p in root.iterdir() if p.suffix in TABLE_SUFFIXES)
    if len(found) > 1:
        raise DataError(f"{root} has several tables ({', '.join(found)}); name one (kwargs: table)")
    return found[0] if found else None


def _named(columns: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    return dict(columns) if isinstance(columns, Mapping) else {column: column for column in columns}
