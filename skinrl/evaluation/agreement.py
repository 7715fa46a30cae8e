"""How far several answers of one model to one question agree: whole, and level by level of the hierarchy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from skinrl.errors import DataError
from skinrl.taxonomy.graph import Taxonomy


@dataclass(frozen=True)
class Level:
    """The node of one level that most samples lie at or below, and their share of all samples."""

    level: int
    node: str
    share: float


@dataclass(frozen=True)
class Agreement:
    """What several samples agree on.

    Args:
        samples: how many there were.
        answered: how many named a node.
        node: the node that was named most often; of several equally frequent ones the one with most samples at or
            below it, then the deepest, then the first by name. None where no sample named any.
        share: samples at or below `node`, of all samples; 0 where there is none.
        entropy: Shannon entropy in nats of the samples over the nodes that they named; all samples without a node
            are one kind. 0: all alike; log(samples): no two alike. None where no sample named any: samples that fail
            alike agree on nothing.
        levels: the commonest node of each level, from the top, down to the deepest level that a sample reached.
    """

    samples: int
    answered: int
    node: str | None
    share: float
    entropy: float | None
    levels: tuple[Level, ...]


def agreement(nodes: Sequence[str | None], taxonomy: Taxonomy) -> Agreement:
    """The agreement of samples.

    Args:
        nodes: what each sample named; None where it named nothing (invalid, truncated, unresolved, undetermined).

    Raises:
        DataError: no samples.
    """
    if not nodes:
        raise DataError("no samples to compare; expected at least one")
    total = len(nodes)
    counts = Counter(nodes)
    # A node counts once for every sample at or below it
    covered = Counter(above for node in nodes if node is not None for above in taxonomy.ancestors(node))
    named = [node for node in counts if node is not None]
    top = min(named, key=lambda id: (-counts[id], -covered[id], -taxonomy.level(id), id), default=None)
    return Agreement(
        samples=total,
        answered=total - counts[None],
        node=top,
        share=covered[top] / total if top is not None else 0.0,
        entropy=sum(-n / total * math.log(n / total) for n in counts.values()) + 0.0 if named else None,
        levels=_levels(covered, total, taxonomy),
    )


def _levels(covered: Counter[str], total: int, taxonomy: Taxonomy) -> tuple[Level, ...]:
    best: dict[int, str] = {}
    for node in sorted(covered, key=lambda id: (-covered[id], id)):
        best.setdefault(taxonomy.level(node), node)
    return tuple(Level(level, best[level], covered[best[level]] / total) for level in sorted(best) if level > 0)
