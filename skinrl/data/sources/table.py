"""What a dataset looks like on disk, said as a table; and one loader for all such tables.

A public dataset is one small file in this folder with a `SOURCE = SourceTable(...)`. Where a column cannot say it,
a function of the row does: every field that takes a text also takes `Callable[[Row], ...]`.

    SOURCE = SourceTable(
        name="pad_ufes_20", table="metadata.csv", image="{img_id}", label="diagnostic", patient="patient_id", ...
    )

A text is the name of a column, or a pattern with columns in braces (`"{isic_id}.jpg"`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from skinrl.data.images import some
from skinrl.data.labels import LabelReader, RawLabel, as_label_map
from skinrl.data.record import TWO_MODALITIES, Record, SkinTone
from skinrl.data.sources.files import ImageFolder, Row, without_suffix
from skinrl.data.sources.rows import (
    Cell,
    File,
    Join,
    image_names,
    label_of,
    main_files,
    names_of,
    rows_of,
    text_of,
    words_of,
)
from skinrl.data.sources.warnings import count_warnings, layout_warnings
from skinrl.data.splits import split_name
from skinrl.errors import DataError
from skinrl.taxonomy import LabelMap, Taxonomy

LAYOUTS = ("published files", "documentation", "unverified")
NO_LABEL, NOT_A_DISEASE, MISSING, LEFT_OUT = (
    "no label",
    "not a disease",
    "image missing",
    "left out by the source's table",
)


@dataclass(frozen=True, kw_only=True)
class SourceTable:
    """Where the facts of a dataset stand.

    Args:
        name: of the dataset; becomes `Record.source`.
        table: file of rows (CSV, TSV or JSONL), relative to the dataset's folder, or several names that this one
            file goes by; a mapping from split to file where every split has its own; or a function from the folder
            to `(place, row)` pairs, such as `skinrl.data.sources.files.folder_per_class`.
        joins: further tables whose columns are added to the rows.
        image: cell with the image's file name, or several for a case with several images. A JSONL cell may hold
            a list. A file of the same stem and another image suffix is found too.
        label: cell with the raw label: text, a list, or a mapping from label to weight (a differential).
        labels: the label map of `taxonomy/labels/`; a recipe's own replaces it. `None`: labels are names of nodes.
        names_too: a label that the map lacks may be the exact name of a node.
        separator: between several labels in one cell.
        folders: where the images lie, tried in turn; columns in braces.
        id: cell; default: the name of the first image without its suffix.
        case: cell; rows with the same value are one record with all their images.
        patient, lesion: cells; the first that a row fills is the group that a split keeps together.
        split: cell with the official split, in usual words.
        modality: one of `MODALITIES`, or a function of the row. Rows of one case that differ make `TWO_MODALITIES`.
        skin_tone: function of the row; see `skinrl.data.sources.cells.tone`.
        further_tones: functions of the row: other scales, or the same scale by other raters.
        options: cells with the options that the dataset itself offers, in its order.
        slices: name -> cell. An empty cell leaves the slice out.
        concepts: kind -> cell: recorded morphology; text, or a list.
        keep: rows for which this is false are left out and counted.
        unknown: words that mean an empty cell, in lower case.
        layout: how this layout came to be known, one of `LAYOUTS`; empty for a table of the user's own. An
            `"unverified"` one warns whenever it is used.
        layout_from: where it is written down.
        published: how many rows the dataset says that it has: `"rows"`, or those of a split by its name.
        recognised: whether `skinrl data inspect` may take a folder for this dataset because of its columns alone.
    """

    name: str
    table: File | Mapping[str, File] | Callable[[Path], Iterable[tuple[str, Row]]]
    image: Cell | tuple[Cell, ...]
    label: Cell
    joins: tuple[Join, ...] = ()
    labels: str | None = None
    names_too: bool = False
    separator: str = ""
    folders: tuple[str, ...] = ("images", ".")
    id: Cell | None = None
    case: Cell | None = None
    patient: Cell | None = None
    lesion: Cell | None = None
    split: Cell | None = None
    modality: str | Callable[[Row], str] = "clinical"
    skin_tone: Callable[[Row], SkinTone | None] | None = None
    further_tones: tuple[Callable[[Row], SkinTone | None], ...] = ()
    options: tuple[Cell, ...] = ()
    slices: Mapping[str, Cell] = field(default_factory=dict)
    concepts: Mapping[str, Cell] = field(default_factory=dict)
    keep: Callable[[Row], bool] | None = None
    unknown: tuple[str, ...] = ("", "unk", "unknown", "na", "n/a", "nan", "none")
    layout: str = ""
    layout_from: str = ""
    published: Mapping[str, int] = field(default_factory=dict)
    recognised: bool = True

    def __post_init__(self) -> None:
        if self.layout not in ("", *LAYOUTS):
            raise DataError(f"source {self.name}: layout {self.layout!r}; expected one of {', '.join(LAYOUTS)}")
        if self.layout and not self.layout_from:
            raise DataError(f"source {self.name}: layout_from is empty; say where the layout is written down")


class LoadedRecords(list[Record]):
    """Records, what was left out on the way (`left_out`: reason -> count), and `warnings` for the user."""

    def __init__(
        self, records: Sequence[Record] = (), left_out: Mapping[str, int] | None = None, warnings: Sequence[str] = ()
    ) -> None:
        super().__init__(records)
        self.left_out = {reason: count for reason, count in (left_out or {}).items() if count}
        self.warnings = tuple(warnings)


def load_table(
    source: SourceTable,
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    labels: LabelMap | str | Path | Mapping[str, Any] | None = None,
    on_missing_image: str = "error",
    parts: Sequence[str] | None = None,
    official_split: bool = True,
) -> LoadedRecords:
    """The records of a dataset.

    Args:
        source: what its folder looks like.
        path: the folder.
        taxonomy: the nodes of the labels.
        labels: a label map instead of the source's own.
        on_missing_image: `"error"`, or `"skip"`: rows whose image is absent are left out and counted; of a case
            with several images the others stay.
        parts: of a dataset published in parts (training, test, ...): those that are there. One part alone has no
            official split: skinrl deals it out.
        official_split: whether the dataset's own split is kept; without it whole patients or lesions are dealt out.

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
    known = as_label_map(labels if labels is not None else source.labels, taxonomy)
    reader = LabelReader(taxonomy, known, source.name, names_too=source.names_too, separator=source.separator)
    dealt = not official_split or (parts is not None and len(parts) == 1)
    left_out: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    missing: list[str] = []
    named = 0
    cases: dict[str, Record] = {}
    for row, where, split in rows_of(source, root, parts):
        counts.update(("rows",) if split is None else ("rows", split))
        if source.keep is not None and not source.keep(row):
            left_out[LEFT_OUT] += 1
            continue
        names = image_names(source, row, where)
        found = [(name, images.find(name, row)) for name in names]
        named += len(names)
        missing += [name for name, file in found if file is None]
        raw = label_of(source, row, where)
        nodes = reader.read(raw)
        if not any(file for _, file in found):
            left_out[MISSING] += 1
        elif not nodes:
            left_out[NOT_A_DISEASE if raw or isinstance(raw, str) else NO_LABEL] += 1
        else:
            view = _View(source, row, where, split, dealt, found, nodes, raw, reader)
            record = view.record()
            cases[record.id] = _join(cases.get(record.id), record, source, where)
    reader.finish()
    if missing and on_missing_image == "error":
        raise DataError(
            f"{source.name}: {len(missing)} images that the table names are missing under {root} "
            f"(looked in {', '.join(source.folders)}): {some(missing)}. Add them, or set on_missing_image: skip"
        )
    if not cases:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "its table has no row"
        raise DataError(f"{source.name}: nothing to load from {root}: {reasons}")
    warnings = [*layout_warnings(source), *count_warnings(source, counts, parts, named, len(missing))]
    return LoadedRecords(list(cases.values()), left_out, warnings)


# --- one row ---------------------------------------------------------------------------------------------------


def _tables(source: SourceTable) -> str:
    return ", ".join(names_of(file)[0] for file in main_files(source).values()) or "its images"


@dataclass(frozen=True)
class _View:
    """A row with what was found for it."""

    source: SourceTable
    row: Row
    where: str
    split: str | None
    dealt: bool
    found: list[tuple[str, str | None]]
    nodes: tuple[tuple[str, float], ...]
    raw: RawLabel
    reader: LabelReader

    def record(self) -> Record:
        source, row = self.source, self.row
        first = without_suffix(self.found[0][0])
        name = text_of(source, source.case or source.id, row) or first
        patient, lesion = text_of(source, source.patient, row), text_of(source, source.lesion, row)
        stated = "" if self.dealt else text_of(source, source.split, row)
        split = split_name(stated, where=self.where) if stated else None if self.dealt else self.split
        slices = {key: text_of(source, cell, row) for key, cell in source.slices.items()}
        concepts = {kind: words_of(source, cell, row) for kind, cell in source.concepts.items()}
        options = tuple(text for cell in source.options if (text := text_of(source, cell, row)))
        try:
            return Record(
                id=name,
                images=tuple(file for _, file in self.found if file is not None),
                modality=source.modality(row) if callable(source.modality) else source.modality,
                source=source.name,
                labels=self.nodes,
                concepts={kind: words for kind, words in concepts.items() if words},
                skin_tone=source.skin_tone(row) if source.skin_tone else None,
                further_tones=tuple(t for read in source.further_tones if (t := read(row)) is not None),
                slices={key: value for key, value in slices.items() if value},
                # Two questions about one image are two records and one group.
                group=patient or lesion or (name if source.case else first),
                group_kind="patient" if patient else "lesion" if lesion else "image",
                split=split,
                raw_label=self.raw if isinstance(self.raw, str) else str(self.raw),
                options=options,
                option_nodes=tuple(self.reader.node_of(text) for text in options),
            )
        except DataError as problem:
            raise DataError(f"{self.where}: {problem}") from problem


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
    modality = known.modality if known.modality == new.modality else TWO_MODALITIES
    images = (*known.images, *(i for i in new.images if i not in known.images))
    return replace(known, images=images, modality=modality)
