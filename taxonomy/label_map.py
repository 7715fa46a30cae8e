"""From a dataset's raw labels to nodes, and where the dataset sees the world differently."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from skinrl.errors import DataError, TaxonomyError
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.loader import find_file
from skinrl.taxonomy.validate import raise_faults
from skinrl.yamlfile import Lines, read_yaml

#: How the list of labels came to be known: from the dataset's own files, from its paper, site or published code, or
#: from what others say of it, which may be incomplete.
MADE_FROM = ("published files", "documentation", "unverified")
LABELS_ARE = ("names", "file names")
FOLDER = Path(__file__).parent / "labels"

_KEYS = (
    "dataset", "source", "made_from", "published", "labels_are", "files", "cases", "labels", "not_a_disease",
    "disagreements", "note",
)  # fmt: skip
_DISAGREEMENT_KEYS = ("label", "theirs", "ours", "note")
_FILE_KEYS = ("label", "cases", "one_hot")
_IMAGE = re.compile(r"\.(?:jpe?g|png|bmp|gif|tiff?|webp)$", re.IGNORECASE)
_NUMBERS = re.compile(r"^[\W\d_]+|[\W\d_]+$")

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
    disease ("remove from labelling tool"), ``reasons`` says why. Labels are compared without regard to case and outer
    space. With ``file_names`` a label is the name of an image: folder, ending, numbers around and signs between the
    words do not count, and a name that is not listed means the longest listed one that it begins with
    ("07RosaceaNose12.jpg" is "rosacea").

    ``made_from`` is one of :data:`MADE_FROM`, ``published`` how many labels the dataset says that it has, ``cases``
    how many cases each published label has (a case with several labels counts at each), ``files`` in which published
    file and column the labels stand; see :mod:`skinrl.taxonomy.coverage`.
    """

    dataset: str
    labels: Mapping[str, Weights]
    excluded: frozenset[str]
    disagreements: tuple[Disagreement, ...]
    taxonomy: Taxonomy = field(repr=False)
    reasons: Mapping[str, str] = field(default_factory=dict, repr=False)
    made_from: str = "unverified"
    published: int | None = None
    cases: Mapping[str, int] = field(default_factory=dict, repr=False)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    file_names: bool = False
    _folded: Mapping[str, Weights] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        folded: dict[str, Weights] = {self._fold(raw): weights for raw, weights in self.labels.items()}
        folded |= {self._fold(raw): () for raw in self.excluded}
        object.__setattr__(self, "_folded", folded)

    def _fold(self, raw: str) -> str:
        return fold(raw, file_names=self.file_names)

    def _find(self, raw: str) -> Weights | None:
        text = self._fold(raw)
        found = self._folded.get(text)
        if found is None and self.file_names:
            starts = (text[:end] for end in range(len(text) - 1, 2, -1))
            found = next((self._folded[start] for start in starts if start in self._folded), None)
        return found

    def __contains__(self, raw: object) -> bool:
        return isinstance(raw, str) and self._find(raw) is not None

    def is_excluded(self, raw: str) -> bool:
        """Whether the label is listed as naming no disease."""
        return self._find(raw) == ()

    def map(self, raw: str) -> Weights:
        """Nodes and weights of one label; ``()`` for one that names no disease.

        Raises:
            DataError: the map does not know the label; the message names the nearest nodes.
        """
        found = self._find(raw)
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


def fold(raw: str, *, file_names: bool = False) -> str:
    """What two labels have in common that mean the same: no case, no outer space; of a file's name its words alone."""
    if not file_names:
        return " ".join(raw.split()).casefold()
    name = _IMAGE.sub("", raw.replace("\\", "/").rsplit("/", 1)[-1])
    return "".join(filter(str.isalnum, _NUMBERS.sub("", name))).casefold()


def shipped_label_maps() -> tuple[str, ...]:
    """The names of the label maps that ship with skinrl, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


def load_label_map(name_or_path: str | Path, taxonomy: Taxonomy) -> LabelMap:
    """Load a label map that ships with skinrl by its dataset's name, or a user's own by its path.

    Raises:
        TaxonomyError: everything that is wrong with the file at once, each with its line: unknown keys, unknown nodes
            with the nearest ones, weights that do not sum to 1, labels that stand twice.
    """
    path = find_file(name_or_path, FOLDER, "label map")
    data, lines = read_yaml(path, error=TaxonomyError)
    return _Reader(path, lines, taxonomy).read(data)


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: Lines
    taxonomy: Taxonomy
    faults: list[tuple[int, str]] = field(default_factory=list)

    def fault(self, at: tuple[str | int, ...], message: str) -> None:
        while at not in self.lines:
            at = at[:-1]
        line = self.lines[at]
        self.faults.append((line, f"{self.path}:{line}: {message}"))

    def read(self, data: Any) -> LabelMap:
        if not isinstance(data, dict):
            self.fault((), "expected a mapping with 'dataset:' and 'labels:'")
            data = {}
        self.known_keys(data, (), _KEYS)
        file_names = self.choice(data, "labels_are", LABELS_ARE, "names") == "file names"
        labels = data.get("labels")
        if not self.faults and (not isinstance(labels, dict) or not labels):
            self.fault(("labels",), "expected 'labels:' with a line for each raw label")
        mapped = {
            raw: self.weights(raw, value)
            for raw, value in (labels.items() if isinstance(labels, dict) else ())
            if self.is_text(raw, ("labels", str(raw)))
        }
        reasons = self.reasons(data.get("not_a_disease") or {})
        self.told_once(mapped, reasons, file_names)
        disagreements = tuple(self.disagreements(data.get("disagreements") or []))
        made_from = self.choice(data, "made_from", MADE_FROM, "unverified")
        published = self.number(data["published"], ("published",)) if "published" in data else None
        cases, files = self.cases(data.get("cases") or {}), self.files(data.get("files") or {})
        raise_faults([message for _, message in sorted(self.faults)])
        dataset = str(data.get("dataset", self.path.stem))
        return LabelMap(
            dataset, mapped, frozenset(reasons), disagreements, self.taxonomy, reasons, made_from, published, cases,
            files, file_names,
        )  # fmt: skip

    def known_keys(self, data: Mapping[Any, Any], at: tuple[str | int, ...], keys: tuple[str, ...]) -> None:
        for key in data:
            if key not in keys:
                near = get_close_matches(str(key), keys, 1, 0.0)
                self.fault((*at, str(key)), f"unknown key {key!r}; nearest: {near[0]!r}; all: {', '.join(keys)}")

    def choice(self, data: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str) -> str:
        value = data.get(key, default)
        if value not in choices:
            self.fault((key,), f"{key!r}: expected one of: {', '.join(choices)}; found {value!r}")
            return default
        return str(value)

    def is_text(self, raw: Any, at: tuple[str | int, ...]) -> bool:
        if not isinstance(raw, str):
            self.fault(at, f"expected text as a label, found {raw!r} (put it in quotes)")
        return isinstance(raw, str)

    def number(self, value: Any, at: tuple[str | int, ...]) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fault(at, f"expected a whole number, found {value!r}")
            return 0
        return value

    def weights(self, raw: str, value: Any) -> Weights:
        at = ("labels", raw)
        table = {value: 1.0} if isinstance(value, str) else value
        if not isinstance(table, dict) or not table:
            self.fault(at, f"label {raw!r}: expected a node or {{node: weight}}, found {value!r}")
            return ()
        numbers = []
        for node, weight in table.items():
            if node not in self.taxonomy:
                near = ", ".join(match.node for match in self.taxonomy.nearest(str(node).replace("_", " ")))
                self.fault((*at, str(node)), f"label {raw!r}: unknown node {node!r}; nearest: {near or 'nothing'}")
            elif node == self.taxonomy.root:
                self.fault((*at, str(node)), f"label {raw!r}: {node!r} is every disease; expected one below it")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
                self.fault((*at, node), f"label {raw!r}: expected a weight in (0, 1], found {weight!r}")
            else:
                numbers.append(float(weight))
        if len(numbers) == len(table) and not math.isclose(sum(numbers), 1.0, abs_tol=1e-6):
            self.fault(at, f"label {raw!r}: weights sum to {sum(numbers):g}; expected 1")
        return tuple(zip(map(str, table), numbers, strict=False))

    def reasons(self, data: Any) -> dict[str, str]:
        """Label -> why it names no disease; a list of labels gives no reasons, which is enough for a user's own."""
        if isinstance(data, list) and all(isinstance(raw, str) for raw in data):
            return dict.fromkeys(data, "")
        if not isinstance(data, dict):
            self.fault(
                ("not_a_disease",),
                "expected {label: reason} or a list of labels, in quotes where they look like numbers",
            )
            return {}
        for raw, reason in data.items():
            at = ("not_a_disease", str(raw))
            if self.is_text(raw, at) and (not isinstance(reason, str) or not reason.strip()):
                self.fault(at, f"label {raw!r}: expected the reason as text, found {reason!r}")
        return {raw: str(reason) for raw, reason in data.items() if isinstance(raw, str)}

    def told_once(self, mapped: Mapping[str, Weights], reasons: Mapping[str, str], file_names: bool) -> None:
        first: dict[str, str] = {}
        for key, raws in (("labels", mapped), ("not_a_disease", reasons)):
            for raw in raws:
                other = first.setdefault(fold(raw, file_names=file_names), f"{key}: {raw!r}")
                if other != f"{key}: {raw!r}":
                    self.fault((key, raw), f"label {raw!r} stands twice (first under {other})")

    def cases(self, data: Any) -> dict[str, int]:
        if not isinstance(data, dict):
            self.fault(("cases",), "expected {label: number of cases}")
            return {}
        return {
            raw: self.number(count, ("cases", raw))
            for raw, count in data.items()
            if self.is_text(raw, ("cases", str(raw)))
        }

    def files(self, data: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(data, dict) or not all(isinstance(row, dict) for row in data.values()):
            self.fault(
                ("files",), "expected {file name: {label: column, cases: column}} or {file name: {one_hot: true}}"
            )
            return {}
        for name, row in data.items():
            self.known_keys(row, ("files", str(name)), _FILE_KEYS)
            if ("label" in row) == bool(row.get("one_hot")):
                self.fault(("files", str(name)), "expected either 'label:' (a column) or 'one_hot: true'")
        return {str(name): row for name, row in data.items()}

    def disagreements(self, rows: Any) -> Iterable[Disagreement]:
        if not isinstance(rows, list):
            self.fault(("disagreements",), "expected a list")
            return
        for index, row in enumerate(rows):
            at = ("disagreements", index)
            if not isinstance(row, dict):
                self.fault(at, f"expected a mapping with {', '.join(_DISAGREEMENT_KEYS)}")
                continue
            self.known_keys(row, at, _DISAGREEMENT_KEYS)
            if not {"label", "theirs", "ours"} <= set(row):
                self.fault(at, "a disagreement needs 'label', 'theirs' and 'ours'")
                continue
            yield Disagreement(**{key: str(text) for key, text in row.items() if key in _DISAGREEMENT_KEYS})
