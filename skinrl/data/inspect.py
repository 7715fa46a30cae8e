"""A look at a folder before anything is trained on it: what is there, what is broken, and which labels are known."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skinrl.data.images import SUFFIXES, ImageFacts, check_images
from skinrl.data.labels import LabelReader, Labels, as_label_map
from skinrl.data.recognise import choose_source
from skinrl.data.sources.files import ImageFolder
from skinrl.data.sources.rows import (
    columns_of,
    files_of,
    image_names,
    label_of,
    main_files,
    present,
    rows_of,
    text_of,
)
from skinrl.data.sources.table import SourceTable
from skinrl.data.sources.warnings import layout_warnings
from skinrl.taxonomy import Taxonomy


@dataclass(frozen=True)
class Inspection:
    """What `inspect_data` found.

    Args:
        path: the folder.
        source: the name for a recipe's `source`: a published dataset that was recognised, else `folder`.
        tables: files of rows; empty for one sub-folder per class.
        columns: what is taken from which column.
        rows: of its tables. Those that a published dataset's source leaves out count here and nowhere else.
        images: image files that the table names and that are there.
        missing: names of those that are not there.
        broken: `(path, why)` of those that cannot be read.
        unused: image files in the image folders that the table does not name.
        duplicates: sets of paths with identical pixels.
        label_conflicts: those of the sets whose raw labels differ; whether they contradict each other in the
            taxonomy is decided when the data is loaded.
        sizes: smallest, median and largest width and height in pixels, and the most frequent ones.
        patients: number of patients (lesions where no patient column is known); 0 where neither is known.
        labels: raw label -> rows.
        splits: split as written -> rows.
        label_map: text of a label map; a complete one where every label is known, else a skeleton with `"?"`.
        unknown_labels: labels that are no exact name of a node.
        layout: where the layout of a published dataset was taken from; empty for a table of the user's own.
        warnings: what the user should know before trusting it.
    """

    path: str
    source: str
    tables: tuple[str, ...]
    columns: Mapping[str, str]
    rows: int
    images: int
    missing: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]
    unused: int
    duplicates: tuple[tuple[str, ...], ...]
    label_conflicts: tuple[tuple[str, ...], ...]
    sizes: Mapping[str, Any]
    patients: int
    labels: Mapping[str, int]
    splits: Mapping[str, int]
    label_map: str
    unknown_labels: tuple[str, ...]
    layout: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def inspect_data(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    source: str | None = None,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    cache: Path | None = None,
) -> Inspection:
    """Look at a folder; nothing in it is changed and nothing is refused but a folder that cannot be understood.

    Args:
        path: the folder.
        taxonomy: its nodes are proposed for the labels.
        source: name of a published dataset; default: the one whose tables lie there, else a folder of the user's own.
        table: where the folder has several.
        columns: as in `sources/folder.py`; what is not given is guessed from the names and contents.
        cache: of the image hashes (`check_images`).

    Raises:
        DataError: no such folder, several tables and none named, or no column that could hold images or labels;
            of a named source, a file or a column that is missing.
    """
    root = Path(path)
    name, described = choose_source(root, source, table, dict(columns or {}), taxonomy)
    return _look(root, name, described, taxonomy, cache)


def _look(root: Path, name: str, source: SourceTable, taxonomy: Taxonomy, cache: Path | None) -> Inspection:
    images = ImageFolder(root, source.folders)
    known = as_label_map(source.labels, taxonomy)
    reader = LabelReader(taxonomy, known, source.name, names_too=source.names_too, separator=source.separator)
    labels: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    groups: set[str] = set()
    missing: list[str] = []
    labels_of: dict[str, set[str]] = defaultdict(set)
    rows = 0
    parts = [part for part, file in main_files(source).items() if part and present(root, file)]
    for row, where, split in rows_of(source, root, parts or None):
        rows += 1
        if source.keep is not None and not source.keep(row):
            continue
        raw = label_of(source, row, where)
        several = reader.parts(raw)
        label = " + ".join(several)
        labels.update(list(several))
        splits[text_of(source, source.split, row) or split or ""] += 1
        groups.add(text_of(source, source.patient, row) or text_of(source, source.lesion, row))
        for image in image_names(source, row, where):
            file = images.find(image, row)
            if file is None:
                missing.append(image)
            else:
                labels_of[file].add(label)
    facts = check_images(labels_of, cache=cache)
    same = _identical(facts)
    text, unknown = label_map_skeleton(labels, taxonomy, dataset=source.name, labels=source.labels)
    published = source.published.get("rows")
    counted = [f"{rows:,} rows, but {published:,} are published"] if published not in (None, rows) else []
    return Inspection(
        path=str(root),
        source=name,
        tables=tuple(str(file.relative_to(root)) for file in files_of(source, root) if file.is_file()),
        columns=_used_columns(source),
        rows=rows,
        images=len(facts),
        missing=tuple(missing),
        broken=tuple((fact.path, fact.error) for fact in facts.values() if fact.error),
        unused=len(_image_files(root, source) - {os.path.realpath(file) for file in facts}),
        duplicates=same,
        label_conflicts=tuple(s for s in same if len(set().union(*(labels_of[p] for p in s))) > 1),
        sizes=_sizes(facts),
        patients=len(groups - {""}),
        labels=dict(labels.most_common()),
        splits={split: n for split, n in splits.items() if split},
        label_map=text,
        unknown_labels=unknown,
        layout=f"{source.layout}: {source.layout_from}" if source.layout else "",
        warnings=(*layout_warnings(source), *counted),
    )


def label_map_skeleton(
    counts: Mapping[str, int], taxonomy: Taxonomy, *, dataset: str, labels: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """A label map as YAML, and the labels that a person must still decide.

    Exact names, synonyms and codes of nodes are filled in; what is no such name gets `"?"`, which the loader
    refuses, with the nearest nodes beside it.

    Args:
        counts: raw label -> rows.
        taxonomy: the nodes.
        dataset: its name.
        labels: the dataset's own label map, if it has one.
    """
    known = as_label_map(labels, taxonomy)
    lines, unknown, excluded = [f"dataset: {json.dumps(dataset)}", "labels:"], [], []
    for raw, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if known and known.is_excluded(raw):
            excluded.append(raw)
            continue
        weights: Labels = known.map(raw) if known and raw in known else ()
        match = taxonomy.resolve(raw) if not weights else None
        if len(weights) == 1:
            value, note = weights[0][0], ""
        elif weights:
            value, note = json.dumps(dict(weights)), ""
        elif match is not None and match.listed:
            value, note = match.node, f", by its {match.how}"
        else:
            near = ", ".join(f"{m.node} ({m.score:.2f})" for m in taxonomy.nearest(raw)) or "nothing"
            value, note = '"?"', f"; nearest: {near}"
            unknown.append(raw)
        lines.append(f"  {json.dumps(raw, ensure_ascii=False)}: {value}  # {count} rows{note}")
    lines.append(f"not_a_disease: {json.dumps(excluded, ensure_ascii=False)}  # move labels here that name no disease")
    return "\n".join(lines) + "\n", tuple(unknown)


def _used_columns(source: SourceTable) -> dict[str, str]:
    cells: dict[str, Any] = {"image": source.image, "label": source.label}
    cells |= {"patient": source.patient, "lesion": source.lesion}
    used = {what: columns_of(cell) for what, cell in {**cells, "split": source.split}.items() if cell is not None}
    return {what: ", ".join(map(_one_name, columns)) for what, columns in used.items() if columns}


def _one_name(column: str | frozenset[str]) -> str:
    return column if isinstance(column, str) else " or ".join(sorted(column))


def _image_files(root: Path, source: SourceTable) -> set[str]:
    """Real paths of all image files in the image folders, however deep in them."""
    places = {os.path.realpath(root / place.split("{")[0]) for place in source.folders}
    found = set()
    for place in places:
        for at, _, names in os.walk(place):
            found |= {os.path.realpath(os.path.join(at, n)) for n in names if n.lower().endswith(SUFFIXES)}
    return found


def _identical(facts: Mapping[str, ImageFacts]) -> tuple[tuple[str, ...], ...]:
    paths: dict[str, list[str]] = defaultdict(list)
    for fact in facts.values():
        if fact.pixels:
            paths[fact.pixels].append(fact.path)
    return tuple(tuple(same) for same in paths.values() if len(same) > 1)


def _sizes(facts: Mapping[str, ImageFacts]) -> dict[str, Any]:
    whole = [fact for fact in facts.values() if not fact.error]
    if not whole:
        return {}
    sides = {"width": [f.width for f in whole], "height": [f.height for f in whole]}
    summary: dict[str, Any] = {
        side: {"min": min(v), "median": statistics.median(v), "max": max(v)} for side, v in sides.items()
    }
    common = Counter(f"{f.width}x{f.height}" for f in whole).most_common(5)
    return {**summary, "most_common": dict(common)}
