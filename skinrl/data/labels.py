"""Raw labels become nodes: by a label map, or where there is none by the exact names of the taxonomy.

Every label that cannot be read is collected, so that one run of the loader shows all of them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skinrl.errors import DataError
from skinrl.taxonomy import LabelMap, Taxonomy, load_label_map

RawLabel = str | Sequence[str] | Mapping[str, float]
Labels = tuple[tuple[str, float], ...]
_NAMED = 50


def as_label_map(labels: LabelMap | str | Path | Mapping[str, Any] | None, taxonomy: Taxonomy) -> LabelMap | None:
    """A label map from its name, its path, or a mapping: raw label -> node, or the keys of a label-map file.

    Raises:
        DataError: a mapping that names an unknown node or whose weights do not sum to 1.
        TaxonomyError: a file that is wrong.
    """
    if labels is None or isinstance(labels, LabelMap):
        return labels
    if isinstance(labels, (str, Path)):
        return load_label_map(labels, taxonomy)
    whole = isinstance(labels.get("labels"), Mapping)
    table = labels["labels"] if whole else labels
    excluded = labels.get("not_a_disease") or () if whole else ()
    mapped = {str(raw): _weights(str(raw), value, taxonomy) for raw, value in table.items()}
    return LabelMap("of the recipe", mapped, frozenset(map(str, excluded)), (), taxonomy)


def _weights(raw: str, value: Any, taxonomy: Taxonomy) -> Labels:
    nodes = {value: 1.0} if isinstance(value, str) else value
    if not isinstance(nodes, Mapping) or not nodes:
        raise DataError(f"label map: {raw!r} is {value!r}; expected a node, or a mapping of nodes to weights")
    for node in nodes:
        if node not in taxonomy:
            near = ", ".join(match.node for match in taxonomy.nearest(str(node).replace("_", " ")))
            raise DataError(f"label map: {raw!r} names the unknown node {node!r}; nearest: {near}")
    shares = _parts(nodes)
    if abs(math.fsum(shares.values()) - 1) > 1e-6:
        raise DataError(f"label map: the weights of {raw!r} sum to {math.fsum(shares.values()):g}; expected 1")
    return tuple(shares.items())


class LabelReader:
    """Reads the labels of one dataset and remembers those that it cannot read.

    Args:
        taxonomy: the nodes.
        labels: the dataset's label map; `None`: a label must be the name, a synonym or a code of a node.
        source: name of the dataset, for messages.
        names_too: a label that the map lacks may be the exact name, a synonym or a code of a node.
        separator: of several labels in one text; a text that is a label as a whole is not parted.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        labels: LabelMap | None,
        source: str,
        *,
        names_too: bool = False,
        separator: str = "",
    ) -> None:
        self.taxonomy = taxonomy
        self.names_too = names_too
        self.separator = separator
        self.labels = labels
        self.source = source
        self.excluded: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._seen: dict[str, Labels | None] = {}

    def read(self, raw: RawLabel) -> Labels:
        """Nodes and weights of a raw label; empty where it is excluded ("not a disease") or unknown.

        A mapping is a weighted differential, a list one of equal weights. What is excluded leaves the
        differential, and the weights of the rest are brought to a sum of 1.

        Raises:
            DataError: a weight that is not a positive number.
        """
        parts = self.parts(raw)
        sums: dict[str, float] = defaultdict(float)
        for text, weight in parts.items():
            for node, share in self._nodes(text):
                sums[node] += weight * share
        total = math.fsum(sums.values())
        return tuple((node, weight / total) for node, weight in sums.items())

    def parts(self, raw: RawLabel) -> dict[str, float]:
        """The labels in a raw one, with their weights, not yet brought to a sum of 1.

        Raises:
            DataError: a weight that is not a positive number.
        """
        if isinstance(raw, str) and self.separator and self.separator in raw and self._look_up(raw.strip()) is None:
            raw = raw.split(self.separator)
        return _parts(raw)

    def node_of(self, text: str) -> str:
        """The node of a name that is no label, such as an option offered; empty where it means none, or several."""
        found = self._look_up(text) or self._by_name(text)
        return found[0][0] if found and len(found) == 1 else ""

    def finish(self) -> None:
        """Raise for the labels that no map knows.

        Raises:
            DataError: all of them, with how often each occurs and the nearest nodes.
        """
        if not self._unknown:
            return
        listed = sorted(self._unknown.items(), key=lambda item: (-item[1], item[0]))
        lines = [f"  {text!r} ({count}): nearest {self._nearest(text)}" for text, count in listed[:_NAMED]]
        if len(listed) > _NAMED:
            lines.append(f"  and {len(listed) - _NAMED} more")
        where = f"the label map {self.labels.dataset!r}" if self.labels else f"the taxonomy {self.taxonomy.name!r}"
        raise DataError(
            f"{self.source}: {len(listed)} labels are not known to {where}:\n" + "\n".join(lines) + "\n"
            "Give each a node, or list it under not_a_disease, in a label map (labels: FILE); "
            "`skinrl data inspect` writes a skeleton"
        )

    def _nodes(self, text: str) -> Labels:
        if text not in self._seen:
            self._seen[text] = self._look_up(text)
        found = self._seen[text]
        if found is None:
            self._unknown[text] += 1
            return ()
        if not found:
            self.excluded[text] += 1
        return found

    def _look_up(self, text: str) -> Labels | None:
        """Nodes, empty where excluded, `None` where unknown."""
        if self.labels is not None and text in self.labels:
            return self.labels.map(text)
        return self._by_name(text) if self.labels is None or self.names_too else None

    def _by_name(self, text: str) -> Labels | None:
        match = self.taxonomy.resolve(text)
        # A near miss is a suggestion for the label map, never a gold label.
        return ((match.node, 1.0),) if match is not None and match.listed else None

    def _nearest(self, text: str) -> str:
        return ", ".join(match.node for match in self.taxonomy.nearest(text)) or "nothing"


def _parts(raw: RawLabel) -> dict[str, float]:
    if isinstance(raw, str):
        return {raw.strip(): 1.0}
    if isinstance(raw, Mapping):
        for text, weight in raw.items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
                raise DataError(f"label {text!r} has weight {weight!r}; expected a positive number")
        return {str(text).strip(): float(weight) for text, weight in raw.items()}
    return {str(text).strip(): 1.0 for text in raw}
