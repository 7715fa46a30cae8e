"""DermNet as distributed for machine learning: about 19,500 clinical photographs in 23 folders.

From Kaggle (shubhamgoel27/dermnet): `train/<folder>/*.jpg` and `test/<folder>/*.jpg`. A folder is a chapter of an
atlas, not a disease; with `names: files` the disease is read from the file's name instead (label map `dermnet_files`).
The official split knows no patients: photographs of one may stand on both sides. DermNet's own terms restrict training
and testing on its images: read them first.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from skinrl.data.sources.files import folder_per_class
from skinrl.data.sources.table import LoadedRecords, SourceTable, load_table
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

NAMES = ("folders", "files")

SOURCE = SourceTable(
    name="dermnet",
    table=folder_per_class,
    image="image",
    label="label",
    labels="dermnet",
    folders=(".",),
    id="id",
    split="split",
    layout="documentation",
    layout_from="the page of the copy, kaggle.com/datasets/shubhamgoel27/dermnet, and public code that reads it",
    published={"rows": 15557 + 4002},
)


def load(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    names: str = "folders",
    labels: Any = None,
    on_missing_image: str = "error",
    official_split: bool = True,
) -> LoadedRecords:
    """The records; `names`: `"folders"` or `"files"`, what the label is read from. Else as `load_table`."""
    if names not in NAMES:
        raise DataError(f"dermnet: names is {names!r}; expected {' or '.join(NAMES)}")
    source = SOURCE if names == "folders" else replace(SOURCE, label="image", labels="dermnet_files")
    return load_table(
        source, path, taxonomy, labels=labels, on_missing_image=on_missing_image, official_split=official_split
    )
