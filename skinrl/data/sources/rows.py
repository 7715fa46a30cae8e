"""From the tables of a dataset to rows: which file, which columns, what is joined; and what a cell says."""

from __future__ import annotations

import string
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.data.images import some
from skinrl.data.labels import RawLabel
from skinrl.data.sources.files import Row, is_blank, read_rows, require_columns
from skinrl.errors import DataError

if TYPE_CHECKING:
    from skinrl.data.sources.table import SourceTable

Cell = str | Callable[[Row], Any]
File = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Join:
    """A further table whose columns are added to the rows.

    Args:
        table: the file, or other names that it goes by; a mapping from split to file where each split has its own
            (a split that is not named has none, and its cells are blank).
        on: column of that table, filled and different in each of its rows.
        to: cell of the main row that says the same; default: the column `on`.
    """

    table: File | Mapping[str, File]
    on: str
    to: Cell | None = None


# --- files -----------------------------------------------------------------------------------------------------


def by_split(table: File | Mapping[str, File]) -> Mapping[Any, File]:
    """Split -> file; the split is `None` where one table holds all."""
    return {None: table} if isinstance(table, (str, tuple)) else table


def main_files(source: SourceTable) -> Mapping[Any, File]:
    """Split -> main table of a source; empty where a function gives the rows."""
    return {} if callable(source.table) else by_split(source.table)


def names_of(file: File) -> tuple[str, ...]:
    """The names that a file goes by, the usual one first."""
    return (file,) if isinstance(file, str) else file


def present(root: Path, file: File) -> Path | None:
    """The first of the file's names that is there."""
    return next((root / name for name in names_of(file) if (root / name).is_file()), None)


def files_of(source: SourceTable, root: Path) -> list[Path]:
    """All files that a source would read from a folder; where one is absent, its usual name."""
    tables = [*main_files(source).values(), *(f for join in source.joins for f in by_split(join.table).values())]
    return [present(root, file) or root / names_of(file)[0] for file in tables]


def chosen_files(source: SourceTable, parts: Sequence[str] | None) -> Mapping[Any, File]:
    """Split -> main table, as far as `parts` names the splits.

    Raises:
        DataError: parts of a source that is not published in parts, or one that it does not have.
    """
    tables = main_files(source)
    if parts is None:
        return tables
    if None in tables or not tables or not parts:
        raise DataError(f"{source.name}: parts {list(parts)} are named, but its table is not published in parts")
    unknown = [part for part in parts if part not in tables]
    if unknown:
        raise DataError(f"{source.name}: no part {unknown[0]!r}; expected {', '.join(tables)}")
    return {split: tables[split] for split in parts}


# --- rows ------------------------------------------------------------------------------------------------------


def rows_of(
    source: SourceTable, root: Path, parts: Sequence[str] | None = None
) -> Iterator[tuple[Row, str, str | None]]:
    """(row, its place, split of its file) of every table; the columns are checked first.

    Args:
        source: what the folder looks like.
        root: the folder.
        parts: splits to read, where each has its own table; default: all.

    Raises:
        DataError: a file or a column is missing, a joined table lacks a row or has one twice.
    """
    files = chosen_files(source, parts)
    if callable(source.table):
        yield from ((row, place, None) for place, row in source.table(root))
        return
    joined = {split: [_Joined(source, join, root, split) for join in source.joins] for split in files}
    for split, file in files.items():
        path = present(root, file) or _missing(root, file, source, split)
        rows, header = _with_header(path)
        if not header:
            continue
        whole = dict.fromkeys([*(name for one in joined[split] for name in one.header), *header])
        require_columns(whole, needed_columns(source), str(path))
        for line, row in rows:
            place = f"{path}:{line}"
            full: dict[str, Any] = dict.fromkeys(whole)
            for one in joined[split]:
                full.update(one.partner(row))
            full.update(row)
            yield full, place, split
        for one in joined[split]:
            one.refuse_missing(str(path))


def _missing(root: Path, file: File, source: SourceTable, split: str | None) -> Path:
    """The file as it was expected: reading it tells what is there instead.

    Raises:
        DataError: another part is there; the message says how to take that alone.
    """
    path = root / names_of(file)[0]
    others = [str(part) for part, other in main_files(source).items() if part and present(root, other)]
    if split and others:
        raise DataError(
            f"{path} is missing ({source.name}, part {split}); the folder has {', '.join(others)}. Add it, or take "
            f"the parts that are there (kwargs: {{parts: [{', '.join(others)}]}})"
        )
    return path


def _with_header(path: Path) -> tuple[Iterator[tuple[int, Row]], dict[str, None]]:
    """The rows and the columns. In a JSONL file lines may differ: a column is there if any line has it."""
    rows = read_rows(path)
    if path.suffix == ".jsonl":
        listed = list(rows)
        return iter(listed), dict.fromkeys(column for _, row in listed for column in row)
    first = next(rows, None)
    return (iter(()), {}) if first is None else (chain([first], rows), dict.fromkeys(first[1]))


class _Joined:
    """A further table in memory, by its key."""

    def __init__(self, source: SourceTable, join: Join, root: Path, split: str | None) -> None:
        self.join = join
        self.header: dict[str, None] = {}
        self._rows: dict[str, Row] | None = None
        self._absent: list[str] = []
        files = by_split(join.table)
        file = files.get(None) or files.get(split)
        if file is None:  # this split has no such table: its columns are blank
            return
        self.path = present(root, file) or root / names_of(file)[0]
        rows, self.header = _with_header(self.path)
        if self.header:
            require_columns(self.header, [join.on], str(self.path))
        self._rows = {}
        for line, row in rows:
            key = str(row.get(join.on) or "").strip()
            if not key or key in self._rows:
                raise DataError(
                    f"{self.path}:{line}: {join.on} {key!r} is empty or stands twice; expected one row each"
                )
            self._rows[key] = row

    def partner(self, row: Row) -> Row:
        if self._rows is None:
            return {}
        key = str(value_of(self.join.to or self.join.on, row) or "").strip()
        found = self._rows.get(key)
        if found is None:
            self._absent.append(key)
        return found or {}

    def refuse_missing(self, main: str) -> None:
        if self._absent:
            raise DataError(
                f"{self.path}: has no row for {len(self._absent)} rows of {main}: {self.join.on} "
                f"{some(self._absent)}; expected both tables of one release"
            )


def needed_columns(source: SourceTable) -> list[str | frozenset[str]]:
    """Columns that a source reads; a set of names of which one is enough stands as a set."""
    cells: list[Any] = [*several(source.image), *source.slices.values(), *source.concepts.values(), *source.options]
    cells += [source.label, source.id, source.case, source.patient, source.lesion, source.split]
    cells += [source.skin_tone, *source.further_tones, source.modality if callable(source.modality) else None]
    return [column for cell in cells for column in columns_of(cell)]


# --- cells -----------------------------------------------------------------------------------------------------


def several(cells: Cell | tuple[Cell, ...]) -> tuple[Cell, ...]:
    """One cell or several, as several."""
    return cells if isinstance(cells, tuple) else (cells,)


def columns_of(cell: Any) -> tuple[str | frozenset[str], ...]:
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


def words_of(source: SourceTable, cell: Cell, row: Row) -> tuple[str, ...]:
    """The cell as words: one, or those of a list."""
    value = value_of(cell, row)
    values: Collection[Any] = value if isinstance(value, (list, tuple)) else [value]
    return tuple(str(v).strip() for v in values if not is_blank(v, source.unknown))


def label_of(source: SourceTable, row: Row, where: str) -> RawLabel:
    """The raw label as text, list or mapping; empty text for an empty cell, which a label map may exclude.

    Raises:
        DataError: a cell that cannot be read as a label, with its place.
    """
    try:
        value = value_of(source.label, row)
    except DataError as problem:
        raise DataError(f"{where}: {problem}") from problem
    if isinstance(value, (list, Mapping)):
        return value
    return "" if value is None else str(value).strip()


def image_names(source: SourceTable, row: Row, where: str) -> list[str]:
    """The file names of a row, at least one.

    Raises:
        DataError: there is none.
    """
    names: list[str] = []
    for cell in several(source.image):
        value = value_of(cell, row)
        values = value if isinstance(value, (list, tuple)) else [value]
        names += [str(v).strip() for v in values if not is_blank(v, source.unknown)]
    if not names:
        raise DataError(f"{where}: names no image; expected a file name (column {source.image!r})")
    return names
