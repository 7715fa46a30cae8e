"""derm7pt: 1,011 cases with a clinical and a dermoscopic image and the seven-point checklist (Kawahara et al. 2019).

From derm.cs.sfu.ca: `release_v0` with `meta/meta.csv`, three files of row numbers (the official split) and `images/`.
Either that folder or the one that holds it. The checklist is what was recorded of each lesion, and goes to
`Record.concepts`. Patients are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skinrl.data.record import TWO_MODALITIES
from skinrl.data.sources.cells import lower
from skinrl.data.sources.files import Row, read_rows, require_columns
from skinrl.data.sources.table import LoadedRecords, SourceTable, load_table
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

CHECKLIST = (
    "pigment_network",
    "streaks",
    "pigmentation",
    "regression_structures",
    "dots_and_globules",
    "blue_whitish_veil",
    "vascular_structures",
)
COLUMNS = ("case_num", "diagnosis", *CHECKLIST, "elevation", "location", "sex", "clinic", "derm")
VIEWS = {"clinical": "clinic", "dermoscopy": "derm"}
_INDEXES = {"train": "train_indexes.csv", "validation": "valid_indexes.csv", "test": "test_indexes.csv"}


def _cases(root: Path) -> Iterator[tuple[str, Row]]:
    """Rows of meta.csv with the split that the files of row numbers give them.

    Raises:
        DataError: a missing file or column, a row number that is none, a row in two splits or in no split.
    """
    meta = (root / "release_v0" if (root / "release_v0").is_dir() else root) / "meta"
    rows = list(read_rows(meta / "meta.csv"))
    if rows:
        require_columns(rows[0][1], COLUMNS, str(meta / "meta.csv"))
    splits: dict[int, str] = {}
    for split, file in _INDEXES.items():
        for line, row in read_rows(meta / file):
            require_columns(row, ("indexes",), str(meta / file))
            number = str(row["indexes"]).strip()
            if not number.isdigit() or int(number) >= len(rows):
                raise DataError(f"{meta / file}:{line}: index {number!r}; expected 0 to {len(rows) - 1}")
            if int(number) in splits:
                raise DataError(f"{meta / file}:{line}: row {number} of meta.csv also stands in {splits[int(number)]}")
            splits[int(number)] = split
    without = [number for number in range(len(rows)) if number not in splits]
    if without:
        raise DataError(f"{meta}: {len(without)} rows of meta.csv stand in none of {', '.join(_INDEXES.values())}")
    for index, (line, row) in enumerate(rows):
        yield f"{meta / 'meta.csv'}:{line}", {**row, "split": splits[index]}


SOURCE = SourceTable(
    name="derm7pt",
    table=_cases,
    image=("clinic", "derm"),
    label="diagnosis",
    labels="derm7pt",
    folders=("images", "release_v0/images"),
    id="case_num",
    lesion="case_num",
    split="split",
    modality=TWO_MODALITIES,
    slices={"sex": lower("sex"), "site": lower("location"), "elevation": lower("elevation")},
    concepts={name: name for name in CHECKLIST},
    layout="published files",
    layout_from="meta/meta.csv as published; the authors' code, github.com/jeremykawahara/derm7pt",
    published={"rows": 1011},
)


def load(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    view: str = "both",
    labels: Any = None,
    on_missing_image: str = "error",
    official_split: bool = True,
) -> LoadedRecords:
    """The records; `view`: `"both"`, `"clinical"` or `"dermoscopy"`. The rest and errors as in `load_table`."""
    if view not in ("both", *VIEWS):
        raise DataError(f"derm7pt: view is {view!r}; expected both, {' or '.join(VIEWS)}")
    source = SOURCE if view == "both" else replace(SOURCE, image=VIEWS[view], modality=view)
    return load_table(
        source, path, taxonomy, labels=labels, on_missing_image=on_missing_image, official_split=official_split
    )
