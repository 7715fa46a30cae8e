"""One entry of a recipe's data list, and the loader that its source names."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from skinrl.data import sources as _sources
from skinrl.data.images import some
from skinrl.data.labels import as_label_map
from skinrl.data.record import Record
from skinrl.data.sources.table import SourceTable, load_table
from skinrl.data.splits import split_name
from skinrl.errors import DataError
from skinrl.plugins import resolve
from skinrl.taxonomy import Taxonomy

# Sources that live in a room of their own, by import path: this room does not import them until they are asked for.
ELSEWHERE = {"phantom": "skinrl.phantom.dataset:load"}
_NO_SOURCES = ("cells", "files", "rows", "table", "warnings")  # modules beside the datasets' own

Loader = Callable[..., Sequence[Record]]


@dataclass(frozen=True)
class DataSpec:
    """One entry of a recipe's `data` list; the recipe's own section has the same fields.

    Args:
        source: name of a dataset (`source_names()`), `folder`, `phantom`, or `package.module:name` of a loader or
            a `SourceTable`.
        path: folder of the dataset.
        split: use this split alone; default: all of them.
        labels: label map instead of the dataset's own: name, file or mapping.
        weight: how many times the training records stand in the mixture (2.5: all twice, half a third time).
        cap_per_class: at most so many records of a class.
        fraction: share of the records. `fraction` and `cap_per_class` apply to `split`, and where none is named
            to the training split alone, so that results stay comparable.
        on_missing_image: `"error"` or `"skip"`: a file that the table names is absent.
        on_broken_image: `"error"` or `"skip"`: a file cannot be read.
        on_conflict: `"error"` or `"drop"`: one image under two labels that contradict each other.
        kwargs: further arguments of the loader.
        as_test: the records chosen by `split` (all, where none is named) count as test records: an evaluation on
            another split than the test split.
    """

    source: str
    path: str | None = None
    split: str | None = None
    labels: Any = None
    weight: float = 1.0
    cap_per_class: int | None = None
    fraction: float = 1.0
    on_missing_image: str = "error"
    on_broken_image: str = "error"
    on_conflict: str = "error"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    as_test: bool = False


def source_names() -> tuple[str, ...]:
    """Names that `DataSpec.source` takes beside import paths."""
    found = {m.name for m in pkgutil.iter_modules(_sources.__path__) if not m.ispkg}
    return tuple(sorted((found - set(_NO_SOURCES)) | set(ELSEWHERE)))


def find_loader(name: str, base: Path | None = None) -> Loader:
    """The loader of a source: a function `load(path, taxonomy, **kwargs)`, or one made from a `SourceTable`.

    Raises:
        DataError: a name that no source has, with the nearest; an object that is neither function nor table.
        PluginError: an import path that leads nowhere.
    """
    if ":" in name:
        found = resolve(name, base)
    elif name in ELSEWHERE:
        found = resolve(ELSEWHERE[name])
    elif name in source_names():
        module = importlib.import_module(f"{_sources.__name__}.{name}")
        found = getattr(module, "load", None) or module.SOURCE
    else:
        near = difflib.get_close_matches(name, source_names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(
            f"unknown source {name!r}{hint}; expected one of {', '.join(source_names())}, or package.module:name"
        )
    if isinstance(found, SourceTable):
        table = found

        def load(
            path: Path,
            taxonomy: Taxonomy,
            *,
            labels: Any = None,
            on_missing_image: str = "error",
            parts: Sequence[str] | None = None,
            official_split: bool = True,
        ) -> Any:
            return load_table(
                table,
                path,
                taxonomy,
                labels=labels,
                on_missing_image=on_missing_image,
                parts=parts,
                official_split=official_split,
            )

        return load
    if not callable(found):
        raise DataError(f"source {name!r} is {type(found).__name__}; expected a function or a SourceTable")
    return found


def as_spec(entry: DataSpec | Mapping[str, Any] | Any) -> DataSpec:
    """The entry, checked, from a `DataSpec`, a mapping, or an object with its fields (a recipe's section).

    Raises:
        DataError: an unknown key or a value out of its range.
    """
    names = [f.name for f in fields(DataSpec)]
    if isinstance(entry, Mapping):
        unknown = [key for key in entry if key not in names]
        if unknown:
            raise DataError(f"data entry has the unknown key {unknown[0]!r}; expected {', '.join(names)}")
        spec = DataSpec(**entry)
    else:
        spec = DataSpec(**{name: getattr(entry, name) for name in names if hasattr(entry, name)})
    for name, allowed in (("on_missing_image", "skip"), ("on_broken_image", "skip"), ("on_conflict", "drop")):
        if getattr(spec, name) not in ("error", allowed):
            raise DataError(
                f"data entry {spec.source}: {name} is {getattr(spec, name)!r}; expected error or {allowed}"
            )
    if not 0 < spec.fraction <= 1 or not spec.weight > 0 or (spec.cap_per_class or 1) < 1:
        raise DataError(
            f"data entry {spec.source}: fraction {spec.fraction}, weight {spec.weight}, cap_per_class "
            f"{spec.cap_per_class}; expected 0 < fraction <= 1, weight > 0, cap_per_class >= 1"
        )
    if spec.split is not None:
        spec = replace(spec, split=split_name(spec.split, where=f"data entry {spec.source}"))
        if spec.split != "train" and spec.weight != 1:
            raise DataError(
                f"data entry {spec.source}: weight {spec.weight} on the {spec.split} split, where it would "
                "count cases several times; leave it out"
            )
    return spec


def load_entry(spec: DataSpec, taxonomy: Taxonomy, seed: int, base: Path | None) -> Sequence[Record]:
    """The records of one entry, as its loader gives them, checked against the taxonomy.

    Args:
        spec: the entry.
        taxonomy: the nodes.
        seed: offered to loaders that draw something (the phantom).
        base: folder that `./file.py:name` starts from.

    Raises:
        DataError: no path, an argument that the loader does not take, records with unknown nodes or doubled ids.
        PluginError: an import path that leads nowhere.
    """
    if spec.path is None:
        raise DataError(f"data entry {spec.source} has no path; name the folder of the dataset (path: or DATA=)")
    loader = find_loader(spec.source, base)
    takes = inspect.signature(loader).parameters
    # A loader gets of these what it names, so that a user's own needs no parameter that it does not use.
    offered = {"labels": as_label_map(spec.labels, taxonomy), "on_missing_image": spec.on_missing_image, "seed": seed}
    if spec.split is not None:
        offered["split"] = spec.split
    given = {key: value for key, value in offered.items() if key in takes and value is not None}
    unknown = [key for key in spec.kwargs if key not in takes]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        raise DataError(f"source {spec.source} takes no argument {unknown[0]!r}; it takes {', '.join(takes)}")
    if spec.labels is not None and "labels" not in takes:
        raise DataError(f"source {spec.source} takes no label map; leave `labels` out")
    records = loader(Path(spec.path), taxonomy, **{**given, **spec.kwargs})
    if not records or not all(isinstance(record, Record) for record in records):
        raise DataError(
            f"source {spec.source} gave {len(records)} records from {spec.path}; expected a list of Record"
        )
    unknown_nodes = sorted({node for record in records for node in record.nodes if node not in taxonomy})
    if unknown_nodes:
        raise DataError(f"source {spec.source} gave nodes that are not in {taxonomy.name!r}: {some(unknown_nodes)}")
    doubles = [name for (_, name), n in Counter((r.source, r.id) for r in records).items() if n > 1]
    if doubles:
        raise DataError(f"source {spec.source} gave {len(doubles)} ids twice: {some(doubles)}")
    return records
