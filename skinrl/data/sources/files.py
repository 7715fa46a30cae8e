"""Tables and image folders as they lie on a disk."""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skinrl.data.images import SUFFIXES
from skinrl.data.splits import is_split_name
from skinrl.errors import DataError

Row = Mapping[str, Any]
TABLE_SUFFIXES = (".csv", ".jsonl", ".tsv", ".tab")
_SNIFFED = ("", ".tab")  # Harvard Dataverse hands out tables without a suffix, or as .tab, with either separator


def is_blank(value: Any, unknown: Sequence[str] = ("",)) -> bool:
    """Whether a cell says nothing: absent, empty, or one of the words for "unknown"."""
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", *unknown))


def without_suffix(name: str) -> str:
    """A file name without its image suffix: `a/b.jpg` gives `a/b`, `ISIC_1.2` stays."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def read_rows(file: Path) -> Iterator[tuple[int, Row]]:
    """Rows of a CSV, TSV or JSONL file in UTF-8, each with its line number (from 1).

    A file without a suffix, or `.tab`, is separated by tabs where its first line holds one, else by commas.

    Raises:
        DataError: missing file, another suffix, no header, a row with more or fewer cells than the header, a line
            that is no JSON object; with file and line.
    """
    if file.suffix not in (*TABLE_SUFFIXES, *_SNIFFED):
        raise DataError(f"{file}: expected a table that ends in {', '.join(TABLE_SUFFIXES)}")
    try:
        # A byte-order mark, as spreadsheets write it, would otherwise become part of the first column's name.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            yield from _json_rows(file, stream) if file.suffix == ".jsonl" else _csv_rows(file, stream)
    except FileNotFoundError as problem:
        beside = sorted(p.name for p in file.parent.glob("*") if p.suffix in TABLE_SUFFIXES)
        raise DataError(f"{file} is missing; its folder has {', '.join(beside) or 'no table'}") from problem
    except UnicodeDecodeError as problem:
        raise DataError(f"{file}: is not UTF-8 ({problem.reason} at byte {problem.start}); convert it") from problem


def _csv_rows(file: Path, stream: Any) -> Iterator[tuple[int, Row]]:
    tabs = file.suffix == ".tsv"
    if file.suffix in _SNIFFED:
        tabs = "\t" in stream.readline()
        stream.seek(0)
    reader = csv.reader(stream, delimiter="\t" if tabs else ",")
    try:
        header = next(reader, None)
        if not header:
            raise DataError(f"{file}: is empty; expected a header and rows")
        if len(set(header)) < len(header):
            raise DataError(f"{file}:1: a column stands twice in {', '.join(header)}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{file}:{reader.line_num}: {len(cells)} cells; expected {len(header)} as in the header"
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as problem:
        raise DataError(f"{file}:{reader.line_num}: {problem}") from problem


def _json_rows(file: Path, stream: Any) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as problem:
            raise DataError(f"{file}:{number}: is not JSON ({problem.msg})") from problem
        if not isinstance(row, dict):
            raise DataError(f"{file}:{number}: is {type(row).__name__}; expected one JSON object a line")
        yield number, row


def missing_columns(columns: Collection[str], needed: Sequence[str | frozenset[str]]) -> list[str]:
    """What of `needed` a table lacks; of a set of names one is enough."""
    lacking = [
        one for one in dict.fromkeys(needed) if not (one if isinstance(one, frozenset) else {one}) & set(columns)
    ]
    return [one if isinstance(one, str) else " or ".join(sorted(one)) for one in lacking]


def require_columns(columns: Collection[str], needed: Sequence[str | frozenset[str]], where: str) -> None:
    """Raise where a table lacks a column that the source names.

    Raises:
        DataError: names the columns that are missing, the nearest that are there, and all that are there.
    """
    missing = missing_columns(columns, needed)
    if missing:
        near = difflib.get_close_matches(missing[0], list(columns), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DataError(
            f"{where}: no column {', '.join(map(repr, missing))}{hint}; the columns are {', '.join(columns)}"
        )


def folder_per_class(root: Path) -> Iterator[tuple[str, Row]]:
    """Rows of a folder that has one sub-folder per class, with an outer level of splits or without.

    `root/<class>/*.jpg`, or `root/train/<class>/*.jpg` and so on. The row's columns: `image` (path from `root`),
    `label` (name of the class folder), `split` (empty without the outer level). Nothing is known of patients.

    Raises:
        DataError: there is no image in such folders.
    """
    outer = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    by_split = bool(outer) and all(is_split_name(name) for name in outer)
    found = False
    for split in outer if by_split else [""]:
        for folder in sorted(p for p in (root / split).iterdir() if p.is_dir() and not p.name.startswith(".")):
            for file in sorted(folder.rglob("*")):
                if file.suffix.lower() in SUFFIXES:
                    found = True
                    image = str(file.relative_to(root))
                    yield str(file), {"image": image, "label": folder.name, "split": split, "id": image}
    if not found:
        raise DataError(f"{root}: has neither a table ({', '.join(TABLE_SUFFIXES)}) nor a folder of images per class")


class ImageFolder:
    """Finds the files that a table names, in some sub-folders, whatever their suffix.

    Args:
        root: the dataset's folder.
        folders: sub-folders, tried in turn; columns of the row in braces (`"train/{label}"`).
    """

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        self.root = root
        self.folders = tuple(folders)
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, name: str, row: Row = MappingProxyType({})) -> str | None:
        """Path of the file of that name, else of an image of the same stem; `None` where there is neither."""
        inner, file = os.path.split(name)
        for pattern in self.folders:
            folder = pattern.format_map(row) if "{" in pattern else pattern
            # Text, not Path: a table of a million rows asks a million times.
            listing = self._listing(os.path.join(self.root, folder, inner))
            found = listing.get(file) or listing.get(without_suffix(file))
            if found:
                return found
        return None

    def _listing(self, folder: str) -> dict[str, str]:
        """Image names and, for the first image of each, stems in a folder -> path. One look a folder."""
        if folder not in self._listings:
            listing: dict[str, str] = {}
            try:
                names = sorted(entry.name for entry in os.scandir(folder))
            except (FileNotFoundError, NotADirectoryError):
                names = []
            for name in names:
                if name.lower().endswith(SUFFIXES):
                    listing[name] = str(Path(folder) / name)  # `Path` drops the `.` of a folder `.`
                    listing.setdefault(without_suffix(name), listing[name])
            self._listings[folder] = listing
        return self._listings[folder]
