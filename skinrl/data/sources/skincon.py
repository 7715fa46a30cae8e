"""SkinCon: 48 concepts, as dermatologists saw them, on images of Fitzpatrick17k and DDI (Daneshjou et al. 2022).

`annotations_fitzpatrick17k.csv` and `annotations_ddi.csv` from skincon-dataset.github.io, each with the table of its
dataset (`fitzpatrick17k.csv`, `ddi_metadata.csv`) beside it, which has the diagnoses, and the images of that dataset.
What is there of the two is read. Images that the annotators said not to consider are left out.

The concepts of a case stand in `Record.concepts` under the kind `skincon`. A reward for findings can check what they
do not name as well when it is given all of them: `vocabulary: {skincon: [...]}`, `skinrl.data.sources.skincon.WORDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skinrl.data.sources import ddi, fitzpatrick17k
from skinrl.data.sources.files import Row
from skinrl.data.sources.rows import Join, files_of, main_files, names_of
from skinrl.data.sources.table import LoadedRecords, SourceTable, load_table
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

# Column -> word of a report. Of a pair the first stands for both.
CONCEPTS = {
    name: name.split("/")[0].split("(")[0].lower()
    for name in (
        "Vesicle", "Papule", "Macule", "Plaque", "Abscess", "Pustule", "Bulla", "Patch", "Nodule", "Ulcer", "Crust",
        "Erosion", "Excoriation", "Atrophy", "Exudate", "Purpura/Petechiae", "Fissure", "Induration", "Xerosis",
        "Telangiectasia", "Scale", "Scar", "Friable", "Sclerosis", "Pedunculated", "Exophytic/Fungating",
        "Warty/Papillomatous", "Dome-shaped", "Flat topped", "Brown(Hyperpigmentation)", "Translucent",
        "White(Hypopigmentation)", "Purple", "Yellow", "Black", "Erythema", "Comedo", "Lichenification", "Blue",
        "Umbilicated", "Poikiloderma", "Salmon", "Wheal", "Acuminate", "Burrow", "Gray", "Pigmented", "Cyst",
    )
}  # fmt: skip
WORDS = tuple(CONCEPTS.values())
_SKIP = "Do not consider this image"


def concepts(row: Row) -> list[str]:
    """Words of the concepts that the annotators saw."""
    return [word for column, word in CONCEPTS.items() if _yes(row.get(column))]


concepts.columns = tuple(CONCEPTS)  # type: ignore[attr-defined]


def _yes(value: Any) -> bool:
    return str(value).strip() in ("1", "1.0")


def _annotated(of: SourceTable, table: str, on: str, suffix: str) -> SourceTable:
    """SkinCon's part on a dataset: its own table, joined with the dataset's."""

    def keep(row: Row) -> bool:
        return not _yes(row.get(_SKIP)) and (of.keep is None or of.keep(row))

    def key(row: Row) -> str:
        return str(row["ImageID"]).removesuffix(suffix)

    key.columns = ("ImageID", _SKIP)  # type: ignore[attr-defined]
    return replace(
        of,
        name="skincon",
        table=table,
        joins=(Join(table=main_files(of)[None], on=on, to=key),),
        image="ImageID",
        concepts={"skincon": concepts},
        keep=keep,
        layout="documentation",
        layout_from="skincon-dataset.github.io; Daneshjou et al. 2022, arXiv 2302.00785; public code that reads it",
        published={},
    )


FITZPATRICK17K = replace(
    _annotated(fitzpatrick17k.SOURCE, "annotations_fitzpatrick17k.csv", "md5hash", ".jpg"), published={"rows": 3690}
)
DDI = replace(_annotated(ddi.SOURCE, "annotations_ddi.csv", "DDI_file", ""), published={"rows": 656})
SOURCE = FITZPATRICK17K
PARTS = {"fitzpatrick17k": FITZPATRICK17K, "ddi": DDI}


def load(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    of: Sequence[str] | None = None,
    labels: Any = None,
    on_missing_image: str = "error",
) -> LoadedRecords:
    """The records of both parts; of those that `of` names; by default of those whose annotations are there.

    Raises:
        DataError: a part that does not exist, or neither is there; else as `load_table`.
    """
    unknown = [name for name in of or () if name not in PARTS]
    if unknown:
        raise DataError(f"skincon: no part {unknown[0]!r}; expected {' or '.join(PARTS)}")
    root = Path(path)
    wanted = of or [name for name, part in PARTS.items() if files_of(part, root)[0].is_file()]
    if not wanted:
        names = " nor ".join(names_of(main_files(part)[None])[0] for part in PARTS.values())
        raise DataError(f"skincon: {root} has neither {names}; expected at least one")
    found = [
        load_table(PARTS[name], root, taxonomy, labels=labels, on_missing_image=on_missing_image) for name in wanted
    ]
    left_out = {why: sum(part.left_out.get(why, 0) for part in found) for part in found for why in part.left_out}
    return LoadedRecords(
        [record for part in found for record in part],
        left_out,
        [warning for part in found for warning in part.warnings],
    )
