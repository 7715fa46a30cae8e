"""Which published dataset a folder holds, and where none is known, what the columns of its table are likely to be."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from skinrl.data.entries import ELSEWHERE, source_names
from skinrl.data.sources import folder
from skinrl.data.sources.files import ImageFolder, Row, missing_columns, read_rows
from skinrl.data.sources.rows import by_split, files_of, main_files, needed_columns, present
from skinrl.data.sources.table import SourceTable
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

# Names that tables use, most telling first; compared in lower case.
_USUAL = {
    "image": ("image", "image_path", "file", "filename", "file_name", "path", "img", "img_id", "image_id", "photo"),
    "label": ("label", "diagnosis", "diagnostic", "dx", "disease", "class", "condition", "target"),
    "patient": ("patient", "patient_id", "patient_no", "subject", "subject_id", "person_id"),
    "lesion": ("lesion", "lesion_id"),
    "split": ("split", "partition", "subset", "set"),
}
_SOURCES = "skinrl.data.sources"
_PROBE = 200  # rows looked at to guess what a column holds


def choose_source(
    root: Path, name: str | None, table: str | None, columns: dict[str, str], taxonomy: Taxonomy
) -> tuple[str, SourceTable]:
    """Name for a recipe's `source`, and what the folder looks like.

    Args:
        root: the folder.
        name: of a source; default: the published dataset that lies there, else `folder`.
        table, columns: of a folder of the user's own.
        taxonomy: tells labels from other words.

    Raises:
        DataError: an unknown name; a folder that is missing or cannot be understood.
    """
    if name in (None, "folder"):
        found = _recognise(root) if name is None and table is None and not columns else None
        return found or ("folder", _guess(root, table, columns, taxonomy))
    known = [one for one in source_names() if one not in ("folder", *ELSEWHERE)]
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(f"unknown source {name!r}{hint}; expected one of {', '.join(known)}, or folder")
    if table is not None or columns:
        raise DataError(f"source {name} has its own table and columns; leave them out, or use the source folder")
    if not root.is_dir():
        raise DataError(f"{name}: no folder {root}; expected the dataset's folder")
    return str(name), importlib.import_module(f"{_SOURCES}.{name}").SOURCE


def _recognise(root: Path) -> tuple[str, SourceTable] | None:
    """The published dataset whose tables and columns lie in the folder; of several, the one with most tables."""
    found: list[tuple[int, str, SourceTable]] = []
    for name in source_names():
        source = None if name in ELSEWHERE else getattr(importlib.import_module(f"{_SOURCES}.{name}"), "SOURCE", None)
        if not isinstance(source, SourceTable) or callable(source.table) or not source.recognised:
            continue
        files = [file for file in files_of(source, root) if file.is_file()]
        mains = [path for file in main_files(source).values() if (path := present(root, file))]
        joined = [
            path for join in source.joins for file in by_split(join.table).values() if (path := present(root, file))
        ]
        if mains and len(joined) >= len(source.joins):
            header = [column for file in (mains[0], *joined) for column in _header(file)]
            if not missing_columns(header, needed_columns(source)):
                found.append((-len(files), name, source))
    return min(found, key=lambda entry: entry[:2])[1:] if found else None


def _guess(root: Path, table: str | None, columns: dict[str, str], taxonomy: Taxonomy) -> SourceTable:
    file = table or folder.only_table(root)
    if file is None:
        return folder.describe(root)
    rows = [row for _, row in islice(read_rows(root / file), _PROBE)]
    if not rows:
        raise DataError(f"{root / file}: has a header and no rows")
    given_image = "image" in columns
    names = {str(column).lower(): str(column) for column in rows[0]}
    for what, usual in _USUAL.items():
        found = next((names[word] for word in usual if word in names), None)
        if found and what not in columns:
            columns[what] = found
    images = ImageFolder(root, ("images", "."))
    if not given_image and (best := _likely(rows, lambda text: images.find(text) is not None)):
        columns["image"] = best  # files that are there tell more than a column's name
    if "label" not in columns and (best := _likely(rows, lambda text: taxonomy.resolve(text) is not None)):
        columns["label"] = best
    for what in ("image", "label"):
        if what not in columns:
            raise DataError(f"{root / file}: no column looks like the {what}; name it (columns: {', '.join(rows[0])})")
    return folder.describe(root, table=file, columns=columns)


def _likely(rows: Sequence[Row], test: Callable[[str], bool]) -> str | None:
    """The column most of whose cells pass the test; `None` where no cell of any column does."""
    hits = {column: sum(isinstance(row[column], str) and test(row[column]) for row in rows) for column in rows[0]}
    best = max(hits, key=lambda column: hits[column])
    return best if hits[best] else None


def _header(file: Path) -> tuple[str, ...]:
    for _, row in read_rows(file):
        return tuple(row)
    return ()
