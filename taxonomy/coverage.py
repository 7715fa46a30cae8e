"""How much of a dataset the taxonomy takes in: labels, and the share of its cases."""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from skinrl.errors import DataError
from skinrl.taxonomy.label_map import LabelMap

_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

Case = tuple[Mapping[str, float], int | None]  # labels with their weights; how many cases, None where that is unknown


@dataclass(frozen=True)
class Coverage:
    """What a label map makes of a dataset's labels.

    Attributes:
        dataset: its name.
        made_from: how the list of labels came to be known (:data:`skinrl.taxonomy.label_map.MADE_FROM`).
        published: how many labels the dataset says that it has, where that is known.
        labels: how many labels were looked at.
        labels_resolved: those that lead to one or more nodes.
        not_a_disease: those that are listed, with a reason, as naming no disease.
        unresolved: the others, sorted. A label map is complete where this is empty.
        cases: number of cases, None where it is unknown.
        cases_resolved_share: share of the cases whose labels lead to nodes, in [0, 1]; a case with several labels
            counts by their weights; what names no disease is not resolved. None where ``cases`` is.
    """

    dataset: str
    made_from: str
    published: int | None
    labels: int
    labels_resolved: int
    not_a_disease: int
    unresolved: tuple[str, ...]
    cases: int | None
    cases_resolved_share: float | None


def coverage(labels: LabelMap, data: Path | None = None) -> Coverage:
    """Look up every label of a dataset.

    Args:
        labels: the dataset's label map.
        data: where the labels are read: one of the dataset's tables, a text file with a label a line, or the
            dataset's folder, where the tables that the map names are looked for, else the images themselves (a folder
            for each label, or file names that are labels). Without it, the labels are those of ``cases:`` in the map
            (the published list with its counts), else all that the map lists.

    Raises:
        DataError: nothing readable at ``data``, or no column with labels.
    """
    rows: Iterable[Case]
    if data is not None:
        rows = read_cases(data, labels)
    elif labels.cases:
        rows = [({raw: 1.0}, count) for raw, count in labels.cases.items()]
    else:
        rows = [({raw: 1.0}, None) for raw in (*labels.labels, *sorted(labels.excluded))]
    seen: set[str] = set()
    known = True
    cases, resolved = 0, 0.0
    for weights, count in rows:
        seen.update(weights)
        if count is None:
            known = False
            continue
        total = sum(weights.values())
        cases += count
        resolved += count * sum(weight for raw, weight in weights.items() if _resolves(labels, raw)) / total
    if not seen:
        raise DataError(f"{data}: no labels; expected the labels of {labels.dataset}")
    unresolved = labels.unknown(seen)
    excluded = sum(labels.is_excluded(raw) for raw in seen)
    known = known and cases > 0
    return Coverage(
        dataset=labels.dataset,
        made_from=labels.made_from,
        published=labels.published,
        labels=len(seen),
        labels_resolved=len(seen) - excluded - len(unresolved),
        not_a_disease=excluded,
        unresolved=tuple(unresolved),
        cases=cases if known else None,
        cases_resolved_share=round(resolved / cases, 6) if known else None,
    )


def _resolves(labels: LabelMap, raw: str) -> bool:
    return raw in labels and not labels.is_excluded(raw)


def read_cases(path: Path, labels: LabelMap) -> Iterator[Case]:
    """The cases of a dataset as (labels with weights, how many such cases); cases without a label are left out.

    Raises:
        DataError: see :func:`coverage`.
    """
    if path.is_dir():
        return _folder(path, labels)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder; expected the table, or the folder, of {labels.dataset}")
    if path.suffix.lower() in (".csv", ".tsv"):
        return _table(path, labels)
    return (({line.strip(): 1.0}, None) for line in _text(path).splitlines() if line.strip())


def _folder(path: Path, labels: LabelMap) -> Iterator[Case]:
    tables = [found for name in labels.files for found in sorted(path.rglob(name))]
    if tables:
        yield from _table(tables[0], labels)
        return
    images = sorted(file for file in path.rglob("*") if file.suffix.lower() in _IMAGES)
    if not images:
        names = ", ".join(labels.files) or "a table (give its path)"
        raise DataError(f"{path}: found neither images nor {names}; expected the folder of {labels.dataset}")
    for file in images:
        yield {file.name if labels.file_names else file.parent.name: 1.0}, 1


def _table(path: Path, labels: LabelMap) -> Iterator[Case]:
    stream = io.StringIO(_text(path), newline="")
    reader = csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    header = list(reader.fieldnames or ())
    read = _reader_of(path, header, labels)
    for row in reader:
        try:
            weights, count = read(row)
        except (ValueError, SyntaxError, TypeError) as problem:
            raise DataError(f"{path}:{reader.line_num}: a label or a count cannot be read ({problem})") from problem
        if weights and sum(weights.values()) > 0:
            yield weights, count


def _reader_of(path: Path, header: list[str], labels: LabelMap) -> Callable[[dict[str, str]], Case]:
    """How a row of this table is read: as the map says for a file of this name, else for one with such a column."""
    layouts = [labels.files[path.name]] if path.name in labels.files else list(labels.files.values())
    layouts.append({"label": "label", "cases": "n"})
    for layout in layouts:
        if layout.get("one_hot"):
            columns = [name for name in header if name in labels]
            if len(columns) > 1:
                return partial(_one_hot, columns=columns)
        elif layout["label"] in header:
            column, count = layout["label"], layout.get("cases")
            if count not in header:  # a row a case, or, with `cases:` empty, a row a label
                each = None if "cases" in layout and count is None else 1
                return lambda row: (_cell(row[column] or ""), each)
            return lambda row: (_cell(row[column] or ""), int(row[count]))
    wanted = ", ".join(sorted({str(layout.get("label", "a column for each label")) for layout in layouts}))
    raise DataError(f"{path}:1: no column with labels; found {', '.join(header)}; expected one of: {wanted}")


def _one_hot(row: Mapping[str, str], columns: Sequence[str]) -> Case:
    return {name: 1.0 for name in columns if float(row[name] or 0) > 0.5}, 1


def _cell(text: str) -> dict[str, float]:
    """One label, or several as a Python literal: ``{'Eczema': 0.41, 'Scabies': 0.59}`` or ``['a', 'b']``."""
    text = text.strip()
    if text[:1] not in ("{", "["):
        return {text: 1.0} if text else {}
    value: Any = ast.literal_eval(text)
    if isinstance(value, dict):
        return {str(raw): float(weight) for raw, weight in value.items()}
    return {str(raw): 1.0 for raw in value}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); expected text in UTF-8") from problem
