"""What a dataset looks like on disk, said as a table; and one loader for all such tables.

A public dataset is one small file in this folder with a `SOURCE = SourceTable(...)`. Where a column cannot say it,
a function of the row does: every field that takes a text also takes `Callable[[Row], ...]`.

    SOURCE = SourceTable(
        name="pad_ufes_20", table="metadata.csv", image="{img_id}", label="diagnostic", patient="patient_id", ...
    )

A text is the name of a column, or a pattern with columns in braces (`"{isic_id}.jpg"`).
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from skinrl.data.images import some
from skinrl.data.labels import LabelReader, RawLabel, as_label_map
from skinrl.data.record import Record, SkinTone
from skinrl.data.sources.files import ImageFolder, Row, is_blank, read_rows, require_columns, without_suffix
from skinrl.data.splits import split_name
from skinrl.errors import DataError
from skinrl.taxonomy import LabelMap, Taxonomy

Cell = str | Callable[[Row], Any]


@dataclass(frozen=True, kw_only=True)
class SourceTable:
    """Where the facts of a dataset stand.

    Args:
        name: of the dataset; becomes `Record.source`.
        table: file of rows (CSV, TSV or JSONL), relative to the dataset's folder; a mapping from split to file
            where every split has its own; or a function from the folder to `(place, row)` pairs, such as
            `skinrl.data.sources.files.folder_per_class`.
        image: cell with the image's file name, or several for a case with several images. A JSONL cell may hold
            a list. A file of the same stem and another image suffix is found too.
        label: cell with the raw label: text, a list, or a mapping from label to weight (a differential).
        labels: the label map of `taxonomy/labels/`; a recipe's own replaces it. `None`: labels are names of nodes.
        folders: where the images lie, tried in turn.
        id: cell; default: the name of the first image without its suffix.
        case: cell; rows with the same value are one record with all their images.
        patient, lesion: cells; the first that a row fills is the group that a split keeps together.
        split: cell with the official split, in usual words.
        modality: one of `MODALITIES`, or a function of the row.
        skin_tone: function of the row; see `skinrl.data.sources.cells.tone`.
        slices: name -> cell. An empty cell leaves the slice out.
        concepts: kind -> cell: recorded morphology; text, or a list.
        keep: rows for which this is false are left out and counted.
        unknown: words that mean an empty cell, in lower case.
    """

    name: str
    table: str | Mapping[str, str] | Callable[[Path], Iterable[tuple[str, Row]]]
    image: Cell | tuple[Cell, ...]
    label: Cell
    labels: str | None = None
    folders: tuple[str, ...] = ("images", ".")
    id: Cell | None = None
    case: Cell | None = None
    patient: Cell | None = None
    lesion: Cell | None = None
    split: Cell | None = None
    modality: str | Callable[[Row], str] = "clinical"
    skin_tone: Callable[[Row], SkinTone | None] | None = None
    slices: Mapping[str, Cell] = field(default_factory=dict)
    concepts: Mapping[str, Cell] = field(default_factory=dict)
    keep: Callable[[Row], bool] | None = None
    unknown: tuple[str, ...] = ("", "unk", "unknown", "na", "n/a", "nan", "none")


class LoadedRecords(list[Record]):
    """Records, and what was left out on the way (`left_out`: reason -> count)."""

    def __init__(self, records: Sequence[Record] = (), left_out: Mapping[str, int] | None = None) -> None:
        super().__init__(records)
        self.left_out = {reason: count for reason, count in (left_out or {}).items() if count}


def load_table(
    source: SourceTable,
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    labels: LabelMap | str | Path | Mapping[str, Any] | None = None,
    on_missing_image: str = "error",
) -> LoadedRecords:
    """The records of a dataset.

    Args:
        source: what its folder looks like.
        path: the folder.
        taxonomy: the nodes of the labels.
        labels: a label map instead of the source's own.
        on_missing_image: `"error"`, or `"skip"`: rows whose image is absent are left out and counted; of a case
            with several images the others stay.

    Raises:
        DataError: a missing folder, table, column or image; labels that no map knows (all of them); two rows
            with one id.
    """
    if on_missing_image not in ("error", "skip"):
        raise DataError(f"on_missing_image is {on_missing_image!r}; expected error or skip")
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{source.name}: no folder {root}; expected the dataset's folder, with {_tables(source)}")
    images = ImageFolder(root, source.folders)
    reader = LabelReader(
        taxonomy, as_label_map(labels if labels is not None else source.labels, taxonomy), source.name
    )
    left_out: Counter[str] = Counter()
    missing: list[str] = []
    cases: dict[str, Record | None] = {}
    for row, where, split in rows_of(source, root):
        if source.keep is not None and not source.keep(row):
            left_out["left out by the source's table"] += 1
            continue
        names = image_names(source, row, where)
        found = [(name, images.find(name)) for name in names]
        missing += [name for name, file in found if file is None]
        files = tuple(file for _, file in found if file is not None)
        name = text_of(source, source.case or source.id, row) or without_suffix(names[0])
        raw = label_of(source, row)
        nodes = reader.read(raw)
        if not files:
            left_out["image missing"] += 1
        elif not nodes:
            left_out["not a disease"] += 1
        else:
            record = _record(source, row, where, split, name, files, nodes, raw)
            cases[name] = _join(cases.get(name), record, source, where)
    reader.finish()
    if missing and on_missing_image == "error":
        raise DataError(
            f"{source.name}: {len(missing)} images that the table names are missing under {root} "
            f"(looked in {', '.join(source.folders)}): {some(missing)}. Add them, or set on_missing_image: skip"
        )
    records = [record for record in cases.values() if record is not None]
    if not records:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "its table has no row"
        raise DataError(f"{source.name}: nothing to load from {root}: {reasons}")
    return LoadedRecords(records, left_out)


# --- one row ---------------------------------------------------------------------------------------------------


def _tables(source: SourceTable) -> str:
    if callable(source.table):
        return "its images"
    return source.table if isinstance(source.table, str) else ", ".join(source.table.values())


def rows_of(source: SourceTable, root: Path) -> Iterator[tuple[Row, str, str | None]]:
    """(row, its place, split of its file) of every table; the columns are checked first."""
    if callable(source.table):
        yield from ((row, place, None) for place, row in source.table(root))
        return
    tables: Mapping[Any, str] = {None: source.table} if isinstance(source.table, str) else source.table
    cells: list[Any] = [*_several(source.image), *source.slices.values(), *source.concepts.values()]
    cells += [source.label, source.id, source.case, source.patient, source.lesion, source.split, source.skin_tone]
    needed = [column for cell in cells for column in columns_of(cell)]
    for split, name in tables.items():
        rows = list(read_rows(root / name))
        if not rows:
            continue
        # Every line of a JSONL file may have other keys: a column is there if any line has it.
        header = dict.fromkeys(column for _, row in rows for column in row)
        require_columns(header, needed, str(root / name))
        for line, row in rows:
            yield {**header, **row}, f"{root / name}:{line}", split


def _several(cells: Cell | tuple[Cell, ...]) -> tuple[Cell, ...]:
    return cells if isinstance(cells, tuple) else (cells,)


def columns_of(cell: Any) -> tuple[str, ...]:
    """The columns that a cell reads, as far as it says so: a function does by its attribute `columns`."""
    if cell is None:
        return ()
    if callable(cell):
        return tuple(getattr(cell, "columns", ()))
    if "{" in cell:
        return tuple(name for _, name, _, _ in string.Formatter().parse(cell) if name)
    return (cell,)


def value_of(cell: Cell, row: Row) -> Any:
    """What stands in the cell."""
    if callable(cell):
        return cell(row)
    return cell.format_map(row) if "{" in cell else row.get(cell)


def text_of(source: SourceTable, cell: Cell | None, row: Row) -> str:
    """The cell as text; empty where it is blank or has no column."""
    if cell is None:
        return ""
    value = value_of(cell, row)
    return "" if is_blank(value, source.unknown) else str(value).strip()


def label_of(source: SourceTable, row: Row) -> RawLabel:
    """The raw label as text, list or mapping; empty text for an empty cell, which a label map may exclude."""
    value = value_of(source.label, row)
    if isinstance(value, (list, Mapping)):
        return value
    return "" if value is None else str(value).strip()


def image_names(source: SourceTable, row: Row, where: str) -> list[str]:
    """The file names of a row, at least one.

    Raises:
        DataError: there is none.
    """
    names: list[str] = []
    for cell in _several(source.image):
        value = value_of(cell, row)
        values = value if isinstance(value, (list, tuple)) else [value]
        names += [str(v).strip() for v in values if not is_blank(v, source.unknown)]
    if not names:
        raise DataError(f"{where}: names no image; expected a file name (column {source.image!r})")
    return names


def _words(source: SourceTable, cell: Cell, row: Row) -> tuple[str, ...]:
    value = value_of(cell, row)
    values = value if isinstance(value, (list, tuple)) else [value]
    return tuple(str(v).strip() for v in values if not is_blank(v, source.unknown))


def _record(
    source: SourceTable,
    row: Row,
    where: str,
    split: str | None,
    name: str,
    files: tuple[str, ...],
    nodes: tuple[tuple[str, float], ...],
    raw: RawLabel,
) -> Record:
    patient, lesion = text_of(source, source.patient, row), text_of(source, source.lesion, row)
    stated = text_of(source, source.split, row)
    slices = {key: text_of(source, cell, row) for key, cell in source.slices.items()}
    concepts = {kind: _words(source, cell, row) for kind, cell in source.concepts.items()}
    try:
        return Record(
            id=name,
            images=files,
            modality=source.modality(row) if callable(source.modality) else source.modality,
            source=source.name,
            labels=nodes,
            concepts={kind: words for kind, words in concepts.items() if words},
            skin_tone=source.skin_tone(row) if source.skin_tone else None,
            slices={key: value for key, value in slices.items() if value},
            group=patient or lesion or name,
            group_kind="patient" if patient else "lesion" if lesion else "image",
            split=split_name(stated, where=where) if stated else split,
            raw_label=raw if isinstance(raw, str) else str(raw),
        )
    except DataError as problem:
        raise DataError(f"{where}: {problem}") from problem


def _join(known: Record | None, new: Record, source: SourceTable, where: str) -> Record:
    """The case with one more row's images.

    Raises:
        DataError: the same id twice where rows are no parts of a case, or parts that disagree.
    """
    if known is None:
        return new
    if source.case is None:
        raise DataError(
            f"{where}: id {new.id!r} stands twice; every row needs its own, or name the column of the case"
        )
    if (known.labels, known.group, known.split) != (new.labels, new.group, new.split):
        raise DataError(f"{where}: the rows of case {new.id!r} disagree in label, group or split")
    return replace(known, images=(*known.images, *(i for i in new.images if i not in known.images)))
