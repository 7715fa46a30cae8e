"""How well names and free text are read: precision and recall on a gold set of strings that people wrote.

A row of ``tests/gold/resolve_{dev,dev2,dev3,test}.tsv`` holds no text: it says where in the shared data the string
stands, a hash of it, and the nodes that it names. docs/resolve_gold.md says how the strings were drawn and labelled.

Over pairs of a string and a node: precision is correct returned / returned, recall is correct returned / gold. A
string that names no disease costs precision when a node is returned for it. 95 % intervals are Wilson's (1927, J. Am.
Stat. Assoc. 22:209); strings of one case are not quite independent, so they are a little too narrow.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from skinrl.errors import DataError
from skinrl.taxonomy.graph import Taxonomy

HALVES = ("dev", "test")
TUNING = ("dev", "dev2", "dev3")
"""Sets that may be looked at. ``dev2`` and ``dev3`` were drawn later and are none of the halves."""
KINDS = (
    "exact", "synonym", "abbreviation", "spelling", "british", "plural", "word order", "run-together",
    "parenthesised", "slash", "qualified", "several", "negated", "unknown",
)  # fmt: skip
MODES = ("single", "mentions")
HEADER = ("kind", "file", "locator", "span", "sha256", "mode", "gold", "comment")
_Z = 1.959963984540054


@dataclass(frozen=True)
class Row:
    """One string of the gold set, by place.

    ``locator`` is ``CASE#3`` (answer 3), ``CASE#title``, ``DOC#focus``, ``DOC#synonyms/2``, ``DOC#qa/1`` (an answer)
    or ``L20`` (a line of a text file); ``span`` the first character in that field and the one after the last.
    """

    where: str
    kind: str
    file: str
    locator: str
    span: tuple[int, int]
    sha256: str
    mode: str
    gold: tuple[str, ...]

    @property
    def source(self) -> str:
        return self.file.partition("/")[0]


@dataclass(frozen=True)
class Counts:
    """Pairs of string and node. ``coarser`` and ``finer``: wrong ones above and below a gold node of the string."""

    strings: int = 0
    gold: int = 0
    returned: int = 0
    correct: int = 0
    coarser: int = 0
    finer: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + theirs for mine, theirs in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, ...]:
        return (self.strings, self.gold, self.returned, self.correct, self.coarser, self.finer)

    @property
    def precision(self) -> float | None:
        """``None`` where nothing was returned."""
        return self.correct / self.returned if self.returned else None

    @property
    def recall(self) -> float | None:
        """``None`` where no string names a disease."""
        return self.correct / self.gold if self.gold else None

    def as_dict(self) -> dict[str, object]:
        return {
            "strings": self.strings,
            "gold": self.gold,
            "returned": self.returned,
            "correct": self.correct,
            "coarser": self.coarser,
            "finer": self.finer,
            "precision": self.precision,
            "precision_95": wilson(self.correct, self.returned),
            "recall": self.recall,
            "recall_95": wilson(self.correct, self.gold),
        }


def wilson(count: int, n: int) -> tuple[float, float] | None:
    """The 95 % score interval of ``count / n``; ``None`` for ``n`` = 0."""
    if not n:
        return None
    share, scale = count / n, 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def read_gold(path: str | Path, taxonomy: Taxonomy) -> list[Row]:
    """The rows of one file.

    Raises:
        DataError: every fault of the file at once, with its line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); expected a gold set of strings") from problem
    if not lines or tuple(lines[0].split("\t")) != HEADER:
        raise DataError(f"{path}:1: expected the columns {' '.join(HEADER)}, separated by tabs")
    rows, faults = [], []
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}:{number}"
        cells = line.split("\t")
        found = list(_faults(cells, taxonomy))
        faults += [f"{where}: {fault}" for fault in found]
        if not found:
            kind, file, locator, span, digest, mode, gold, _ = cells
            start, end = map(int, span.split(":"))
            nodes = tuple(gold.split(";")) if gold else ()
            rows.append(Row(where, kind, file, locator, (start, end), digest, mode, nodes))
    if faults:
        raise DataError("\n".join(faults))
    return rows


def _faults(cells: list[str], taxonomy: Taxonomy) -> Iterator[str]:
    if len(cells) != len(HEADER):
        yield f"{len(cells)} cells, expected {len(HEADER)}"
        return
    kind, _, _, span, _, mode, gold, _ = cells
    if kind not in KINDS:
        yield f"unknown kind {kind!r}, expected one of: {', '.join(KINDS)}"
    if mode not in MODES:
        yield f"unknown mode {mode!r}, expected one of: {', '.join(MODES)}"
    if not re.fullmatch(r"\d+:\d+", span):
        yield f"span {span!r} is not of the form 0:12"
    for node in gold.split(";") if gold else ():
        if node not in taxonomy:
            near = ", ".join(match.node for match in taxonomy.nearest(node.replace("_", " "))) or "nothing"
            yield f"no node {node!r} in {taxonomy.name}; nearest: {near}"


def read_texts(rows: Sequence[Row], data: str | Path) -> list[str]:
    """The string of each row, from the folder of shared data, checked by its hash.

    Raises:
        DataError: every row at once whose string is not there, or is another one.
    """
    data = Path(data)
    files = {file: _fields(data / file) for file in sorted({row.file for row in rows})}
    texts, faults = [], []
    for row in rows:
        field = files[row.file].get(row.locator)
        text = "" if field is None else field[slice(*row.span)]
        if field is None:
            faults.append(f"{row.where}: no {row.locator} in {data / row.file}")
        elif sha256(text.encode("utf-8")).hexdigest()[: len(row.sha256)] != row.sha256:
            faults.append(f"{row.where}: another text at {row.locator} of {data / row.file} than was labelled")
        texts.append(text)
    if faults:
        raise DataError("\n".join([*faults, "the gold set belongs to another version of the data: see its SOURCE.md"]))
    return texts


def _fields(file: Path) -> dict[str, str]:
    """Locator -> text of every field of a file that a row may point into."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as problem:
        raise DataError(
            f"{file}: cannot be read ({problem.strerror}); expected the text that the gold set points into, "
            "give its folder with --data"
        ) from problem
    if file.suffix != ".jsonl":
        return {f"L{number}": line for number, line in enumerate(lines, start=1)}
    fields = {}
    for line in lines:
        entry = json.loads(line)
        if "encounter_id" in entry:
            key = entry["encounter_id"]
            fields[f"{key}#title"] = entry.get("query_title_en") or ""
            fields |= {f"{key}#{at}": answer["content_en"] for at, answer in enumerate(entry["responses"])}
        else:
            key = entry["doc"]
            fields[f"{key}#focus"] = entry["focus"]
            fields |= {f"{key}#synonyms/{at}": text for at, text in enumerate(entry["synonyms"])}
            fields |= {f"{key}#qa/{at}": pair["answer"] for at, pair in enumerate(entry["qa"])}
    return fields


def most_specific(nodes: Iterable[str], taxonomy: Taxonomy) -> frozenset[str]:
    """The nodes without the root, and without those above another: "tinea manuum, a fungal infection" is one."""
    kept = frozenset(nodes) - {taxonomy.root}
    above = {node for other in kept for node in taxonomy.ancestors(other) if node != other}
    return kept - above


def answer(taxonomy: Taxonomy, row: Row, text: str) -> tuple[str, ...]:
    """What the taxonomy reads: the node of a name (mode ``single``), the nodes that free text asserts otherwise."""
    if row.mode == "mentions":
        return taxonomy.asserted(text)
    match = taxonomy.resolve(text)
    return (match.node,) if match is not None else ()


def count(gold: Iterable[str], returned: Iterable[str], taxonomy: Taxonomy) -> Counts:
    """The counts of one string."""
    wanted, found = most_specific(gold, taxonomy), most_specific(returned, taxonomy)
    wrong = found - wanted
    coarser = {node for node in wrong if any(taxonomy.is_ancestor(node, other) for other in wanted)}
    finer = {node for node in wrong if any(taxonomy.is_ancestor(other, node) for other in wanted)}
    return Counts(1, len(wanted), len(found), len(wanted & found), len(coarser), len(finer - coarser))


Answer = Callable[[Taxonomy, Row, str], Iterable[str]]


def measure(
    taxonomy: Taxonomy, rows: Sequence[Row], texts: Sequence[str], answer: Answer = answer
) -> Mapping[str, Counts]:
    """Counts of all rows under ``all``, of each mode, source (folder of the data) and kind that occurs."""
    sources = sorted({row.source for row in rows})
    counts = {group: Counts() for group in ("all", *MODES, *sources, *KINDS)}
    for row, text in zip(rows, texts, strict=True):
        of_row = count(row.gold, answer(taxonomy, row, text), taxonomy)
        for group in ("all", row.mode, row.source, row.kind):
            counts[group] += of_row
    return {group: found for group, found in counts.items() if found.strings}
