"""What rewards and trainer are told of a whole dataset: recorded concepts, label counts, groups to be fair to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from skinrl.data.record import Record
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy


class ConceptShares:
    """Counts of recorded words by label, over a dataset.

    Args:
        records: the whole dataset; cases without concepts count for nothing.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._cases: Counter[tuple[object, ...]] = Counter()  # that record a kind, by label, and by label and group
        self._shown: Counter[tuple[object, ...]] = Counter()  # that show a word, likewise
        for record in records:
            for label in (record.nodes, None):
                for group in (record.group, None):
                    for kind, words in record.concepts.items():
                        self._cases[label, group, kind] += 1
                        self._shown.update((label, group, kind, word) for word in set(words))

    def column(self, record: Record) -> list[dict[str, Any]]:
        """``{"kind", "word", "share"}`` for each recorded word of a case, in the record's order.

        ``share`` is the share of cases of other groups (patients) with the same label that show the word, of those
        that record the kind; over all labels where the label has no other case; 1 where there is none at all, since
        nothing then says that the word is more than the label's.
        """
        return [
            {"kind": kind, "word": word, "share": self._share(record, kind, word)}
            for kind, words in record.concepts.items()
            for word in words
        ]

    def _share(self, record: Record, kind: str, word: str) -> float:
        for label in (record.nodes, None):
            others = self._cases[label, None, kind] - self._cases[label, record.group, kind]
            if others:
                shown = self._shown[label, None, kind, word] - self._shown[label, record.group, kind, word]
                return shown / others
        return 1.0


def gold_counts(records: Iterable[Record]) -> dict[str, float]:
    """Node to the sum of its weights over the labels of all records, by node."""
    counts: dict[str, list[float]] = {}
    for record in records:
        for node, weight in record.labels:
            counts.setdefault(node, []).append(weight)
    return {node: math.fsum(counts[node]) for node in sorted(counts)}


def group_values(records: Sequence[Record], column: str, taxonomy: Taxonomy) -> list[str]:
    """The group of each record by what ``column`` names; empty where the record does not say.

    ``skin_tone`` (scale and value: scales are not merged), ``source``, ``modality``, ``label`` (the gold node of the
    largest weight), ``disease_class`` (the class of the taxonomy that it stands under), or the name of a slice.

    Raises:
        DataError: another name; the message lists those that there are.
    """
    known: dict[str, Callable[[Record], str]] = {
        "skin_tone": lambda record: f"{record.skin_tone.scale} {record.skin_tone.value}" if record.skin_tone else "",
        "source": lambda record: record.source,
        "modality": lambda record: record.modality,
        "label": lambda record: record.top_node or "",
        "disease_class": lambda record: next(iter(taxonomy.path(record.top_node)), "") if record.top_node else "",
    }
    slices = {name for record in records for name in record.slices}
    if column in known:
        return [known[column](record) for record in records]
    if column in slices:
        return [record.slices.get(column, "") for record in records]
    names = ", ".join([*known, *sorted(slices - known.keys())])
    raise DataError(f"records cannot be grouped by {column!r}; expected one of {names}")
