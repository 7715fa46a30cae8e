"""Controls: what the same questions give to someone who cannot see, or who sees the wrong thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from skinrl.evaluation.bootstrap import Measure, mean_measure
from skinrl.evaluation.cases import Case
from skinrl.evaluation.scoring import Target
from skinrl.taxonomy.graph import Taxonomy

ANSWERED_CONTROLS = ("no_image", "shuffled_options", "wrong_image", "metadata_only")
LABEL_PRIOR = "label_prior"


def label_prior(cases: Sequence[Case], targets: Sequence[Target], taxonomy: Taxonomy) -> Measure:
    """Accuracy of the best guess without an image and without a model.

    A question with lettered options is answered by the most specific option (expected value over ties), any
    other by the one diagnosis that is right most often in this very set: no constant answer beats it.
    """
    hits = np.zeros(len(cases))
    free = [index for index, case in enumerate(cases) if case.kind != "options"]
    right = {index: _right_answers(targets[index], taxonomy) for index in range(len(cases))}
    constant = most_common_answer([right[index] for index in free])
    for index, case in enumerate(cases):
        if case.kind != "options":
            hits[index] = constant in right[index]
        else:
            deepest = _most_specific(case, taxonomy)
            hits[index] = np.mean([option in right[index] for option in deepest]) if deepest else 0.0
    return mean_measure("accuracy", hits)


def most_common_answer(right: Sequence[frozenset[str]]) -> str | None:
    """The node that is right in most cases; at a tie the first by name; None without cases."""
    counts = Counter(node for nodes in right for node in nodes)
    return min(counts, key=lambda node: (-counts[node], node)) if counts else None


def _right_answers(target: Target, taxonomy: Taxonomy) -> frozenset[str]:
    return frozenset(target.nodes).union(*(taxonomy.descendants(node) for node in target.nodes))


def _most_specific(case: Case, taxonomy: Taxonomy) -> list[str]:
    offered = [node for node in case.option_nodes if node]
    deepest = max(map(taxonomy.level, offered), default=0)
    return [node for node in offered if taxonomy.level(node) == deepest]
