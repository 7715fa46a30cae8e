"""What changes for data and for rewards between two versions of a taxonomy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.label_map import LabelMap
from skinrl.taxonomy.measures import credit

SMALLEST_CHANGE = 1e-9  # of a credit: below it, two sums in another order


def diff(old: Taxonomy, new: Taxonomy, label_maps: Mapping[str, tuple[LabelMap, LabelMap]]) -> dict[str, Any]:
    """Nodes that come, go or move, names and labels that lead elsewhere, and credits that change.

    Arguments:
        label_maps: for each dataset its label map on ``old`` and on ``new``. A label *moves* if its nodes, their
            place in the tree or their behaviour differ. Credits are compared between all diagnoses of one dataset.

    Returns:
        ``added`` and ``removed`` (node ids); ``parents`` and ``behaviour`` (id -> [old, new]); ``names`` (name ->
        [old node, new node], None where it had or has none); ``labels`` (dataset -> label -> [old, new]); ``credits``
        (dataset -> rows of answer, gold, old, new; the largest changes first).
    """
    shared = [id for id in old.ids if id in new]
    parents = [{id: list(tree.parents(id)) for id in shared} for tree in (old, new)]
    behaviours = [{id: tree.behaviour(id) for id in shared} for tree in (old, new)]
    return {
        "old": {"name": old.name, "checksum": old.checksum, "nodes": len(old)},
        "new": {"name": new.name, "checksum": new.checksum, "nodes": len(new)},
        "added": [id for id in new.ids if id not in old],
        "removed": [id for id in old.ids if id not in new],
        "parents": _changed(shared, *parents),
        "behaviour": _changed(shared, *behaviours),
        "names": _changed(sorted({*_names(old), *_names(new)}), _names(old), _names(new)),
        "labels": {dataset: _labels(old, new, *maps) for dataset, maps in label_maps.items()},
        "credits": {dataset: _credits(old, new, _diagnoses(*maps)) for dataset, maps in label_maps.items()},
    }


def _changed(keys: Iterable[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {key: [old.get(key), new.get(key)] for key in keys if old.get(key) != new.get(key)}


def _names(taxonomy: Taxonomy) -> dict[str, str]:
    return {name: id for id in taxonomy.ids for name in (taxonomy.node(id).name, *taxonomy.node(id).synonyms)}


def _place(taxonomy: Taxonomy, labels: LabelMap, raw: str) -> Any:
    """Where a label stands: its nodes with weight, way from the root and behaviour; None without a node."""
    if raw not in labels.labels:
        return None
    return [
        {"node": node, "weight": weight, "path": list(taxonomy.path(node)), "behaviour": taxonomy.behaviour(node)}
        for node, weight in labels.map(raw)
    ]


def _labels(old: Taxonomy, new: Taxonomy, before: LabelMap, after: LabelMap) -> dict[str, list[Any]]:
    labels = sorted({*before.labels, *after.labels})
    return _changed(
        labels, {raw: _place(old, before, raw) for raw in labels}, {raw: _place(new, after, raw) for raw in labels}
    )


def _diagnoses(before: LabelMap, after: LabelMap) -> list[str]:
    both = [{node for raw in labels.labels for node, _ in labels.map(raw)} for labels in (before, after)]
    return sorted(both[0] & both[1])


def _credits(old: Taxonomy, new: Taxonomy, diagnoses: list[str]) -> list[dict[str, Any]]:
    rows = []
    for answer in diagnoses:
        for gold in diagnoses:
            before, after = credit(old, answer, gold), credit(new, answer, gold)
            if abs(after - before) > SMALLEST_CHANGE:
                rows.append({"answer": answer, "gold": gold, "old": round(before, 6), "new": round(after, 6)})
    return sorted(rows, key=lambda row: (-abs(row["new"] - row["old"]), row["answer"], row["gold"]))
