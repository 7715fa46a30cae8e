"""From a dataset's raw labels to nodes, and where the dataset sees the world differently."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinrl.errors import DataError, TaxonomyError
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.loader import find_file
from skinrl.yamlfile import Lines, read_yaml

_FOLDER = Path(__file__).parent / "labels"
_KEYS = ("dataset", "source", "labels", "not_a_disease", "disagreements", "note")
_DISAGREEMENT_KEYS = ("label", "theirs", "ours", "note")

Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Disagreement:
    """A label whose meaning or place differs between the dataset and this taxonomy."""

    label: str
    theirs: str
    ours: str
    note: str = ""


@dataclass(frozen=True)
class LabelMap:
    """Raw label -> weighted nodes. Make one with :func:`load_label_map`.

    ``labels`` maps each raw label to nodes and weights that sum to 1; ``excluded`` are the labels that name no
    disease ("remove from labelling tool"). Labels are compared without regard to case and outer space.
    """

    dataset: str
    labels: Mapping[str, Weights]
    excluded: frozenset[str]
    disagreements: tuple[Disagreement, ...]
    taxonomy: Taxonomy = field(repr=False)
    _folded: Mapping[str, Weights] = field(init=False, repr=False, compare=False)
    _excluded: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        folded = {_fold(raw): weights for raw, weights in self.labels.items()}
        object.__setattr__(self, "_folded", folded)
        object.__setattr__(self, "_excluded", frozenset(map(_fold, self.excluded)))

    def __contains__(self, raw: object) -> bool:
        return isinstance(raw, str) and (_fold(raw) in self._folded or self.is_excluded(raw))

    def is_excluded(self, raw: str) -> bool:
        """Whether the label is listed as naming no disease."""
        return _fold(raw) in self._excluded

    def map(self, raw: str) -> Weights:
        """Nodes and weights of one label; ``()`` for one that names no disease.

        Raises:
            DataError: the map does not know the label; the message names the nearest nodes.
        """
        if self.is_excluded(raw):
            return ()
        found: Weights | None = self._folded.get(_fold(raw))
        if found is None:
            raise DataError(self._complaint([raw]))
        return found

    def unknown(self, raws: Iterable[str]) -> list[str]:
        """The labels that the map does not know, each once, sorted."""
        return sorted({raw for raw in raws if raw not in self})

    def require(self, raws: Iterable[str]) -> None:
        """Raise one :class:`DataError` that names all unknown labels with their nearest nodes, or none."""
        unknown = self.unknown(raws)
        if unknown:
            raise DataError(self._complaint(unknown))

    def _complaint(self, unknown: list[str]) -> str:
        rows = []
        for raw in unknown:
            near = ", ".join(match.node for match in self.taxonomy.nearest(raw)) or "nothing"
            rows.append(f"  {raw!r}: nearest nodes: {near}")
        what = "label that" if len(unknown) == 1 else f"{len(unknown)} labels that"
        return (
            f"{what} the label map {self.dataset!r} does not know; add to its 'labels:' or 'not_a_disease:'\n"
            + "\n".join(rows)
        )


def _fold(raw: str) -> str:
    return " ".join(raw.split()).casefold()


def load_label_map(name_or_path: str | Path, taxonomy: Taxonomy) -> LabelMap:
    """Load a label map that ships with skinrl by its dataset's name, or a user's own by its path.

    Raises:
        TaxonomyError: the file is wrong, with its line: unknown key, unknown node, weights that do not sum to 1.
    """
    path = find_file(name_or_path, _FOLDER, "label map")
    data, lines = read_yaml(path, error=TaxonomyError)
    return _Reader(path, lines, taxonomy).read(data)


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: Lines
    taxonomy: Taxonomy

    def fail(self, at: tuple[str | int, ...], message: str) -> TaxonomyError:
        while at not in self.lines:
            at = at[:-1]
        return TaxonomyError(f"{self.path}:{self.lines[at]}: {message}")

    def read(self, data: Any) -> LabelMap:
        if not isinstance(data, dict):
            raise self.fail((), "expected a mapping with 'dataset:' and 'labels:'")
        self.known_keys(data, (), _KEYS)
        labels = data.get("labels")
        if not isinstance(labels, dict) or not labels:
            raise self.fail(("labels",), "expected 'labels:' with a line for each raw label")
        excluded = data.get("not_a_disease") or []
        if not isinstance(excluded, list) or not all(isinstance(raw, str) for raw in excluded):
            raise self.fail(("not_a_disease",), "expected a list of labels, in quotes where they look like numbers")
        mapped: dict[str, Weights] = {}
        first: dict[str, str] = {}
        for raw, value in labels.items():
            if not isinstance(raw, str):
                raise self.fail(("labels", str(raw)), f"expected text as a label, found {raw!r} (put it in quotes)")
            other = first.setdefault(_fold(raw), raw)
            if other != raw or _fold(raw) in map(_fold, excluded):
                raise self.fail(("labels", raw), f"label {raw!r} stands twice (also as {other!r} or not_a_disease)")
            mapped[raw] = self.weights(raw, value)
        disagreements = tuple(self.disagreements(data.get("disagreements") or []))
        dataset = str(data.get("dataset", self.path.stem))
        return LabelMap(dataset, mapped, frozenset(excluded), disagreements, self.taxonomy)

    def known_keys(self, data: Mapping[Any, Any], at: tuple[str | int, ...], keys: tuple[str, ...]) -> None:
        for key in data:
            if key not in keys:
                raise self.fail((*at, str(key)), f"unknown key {key!r}; expected one of: {', '.join(keys)}")

    def weights(self, raw: str, value: Any) -> Weights:
        at = ("labels", raw)
        table = {value: 1.0} if isinstance(value, str) else value
        if not isinstance(table, dict) or not table:
            raise self.fail(at, f"label {raw!r}: expected a node or {{node: weight}}, found {value!r}")
        for node, weight in table.items():
            if node not in self.taxonomy:
                near = ", ".join(match.node for match in self.taxonomy.nearest(str(node).replace("_", " ")))
                raise self.fail((*at, str(node)), f"label {raw!r}: unknown node {node!r}; nearest: {near}")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
                raise self.fail((*at, node), f"label {raw!r}: expected a weight in (0, 1], found {weight!r}")
        if not math.isclose(sum(table.values()), 1.0, abs_tol=1e-6):
            raise self.fail(at, f"label {raw!r}: weights sum to {sum(table.values()):g}; expected 1")
        return tuple((node, float(weight)) for node, weight in table.items())

    def disagreements(self, rows: Any) -> Iterable[Disagreement]:
        if not isinstance(rows, list):
            raise self.fail(("disagreements",), "expected a list")
        for index, row in enumerate(rows):
            at = ("disagreements", index)
            if not isinstance(row, dict):
                raise self.fail(at, f"expected a mapping with {', '.join(_DISAGREEMENT_KEYS)}")
            self.known_keys(row, at, _DISAGREEMENT_KEYS)
            if not {"label", "theirs", "ours"} <= set(row):
                raise self.fail(at, "a disagreement needs 'label', 'theirs' and 'ours'")
            yield Disagreement(**{key: str(text) for key, text in row.items()})
