"""Two rewards for the differential: is the gold in it beside real neighbours, and does the diagnosis head it?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from skinrl.errors import PluginError
from skinrl.rewards.base import AnswerReward, Gold, Row
from skinrl.rewards.facts import differential_edges, neighbours
from skinrl.taxonomy.graph import Taxonomy

LONGEST = 5  # items that are read; a longer list is a bet on everything
_LONGEST_NAME = 200  # characters


def listed_nodes(taxonomy: Taxonomy, row: Row, style: str) -> list[str | None]:
    """Node of each item of a readable report's differential, at most `LONGEST`; `None` for a name that has none."""
    names = [item.name for item in row.report(style).differential[:LONGEST]]
    resolve = taxonomy.resolve
    found = [match.node if len(name) <= _LONGEST_NAME and (match := resolve(name)) else None for name in names]
    if row.options:
        offered = _offered(tuple(row.options), tuple(row.option_nodes))
        found = [offered.get(_plain(name), node) for name, node in zip(names, found, strict=True)]
    return found


@lru_cache(maxsize=1024)
def _offered(options: tuple[str, ...], nodes: tuple[str | None, ...]) -> Mapping[str, str | None]:
    """Node of each option by its plain name; the completions of a group share it."""
    return {_plain(name): node or None for name, node in zip(options, nodes, strict=True)}


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def score_listed(taxonomy: Taxonomy, listed: Sequence[str | None], gold: Gold) -> float:
    """How high the golds stand: the weighted mean of 1/rank, divided by that of the best order.

    An item is a gold if it is the gold or lies below it; its first place counts. Golds of equal weight may stand in
    any order. The root says nothing and is left out.
    """
    golds = [(node, weight) for node, weight in gold if weight and node != taxonomy.root]
    if len(golds) == 1:  # as almost always
        only = golds[0][0]
        ranks = (rank for rank, item in enumerate(listed, start=1) if item and only in taxonomy.ancestors(item))
        return 1.0 / next(ranks, math.inf)
    earned = []
    for node, weight in golds:
        ranks = (rank for rank, item in enumerate(listed, start=1) if item and node in taxonomy.ancestors(item))
        rank = next(ranks, None)
        earned.append(weight / rank if rank else 0.0)
    weights = sorted((weight for _, weight in golds), reverse=True)[:LONGEST]
    best = math.fsum(weight / rank for rank, weight in enumerate(weights, start=1))
    return min(math.fsum(earned) / best, 1.0) if best else 0.0


def get_differential_reward(
    taxonomy: Taxonomy, alternatives: float = 0.25, unreviewed: bool = False, style: str = "report"
) -> DifferentialReward:
    """Reward for a differential with the gold in it, high up, and real neighbours beside it.

    ``listed·(1 - alternatives + alternatives·real)``: ``listed`` is `score_listed`; ``real`` is the share of the other
    items that are neighbours of a gold (`skinrl.rewards.facts.neighbours`), 0 where there is no other item. A gold of
    which no neighbour is known earns ``listed`` alone.

    0 where no gold is listed, and for an invalid, truncated or unresolved answer. `None` where the gold has no node.

    Args:
        taxonomy: injected by the command line.
        alternatives: share of the reward that real neighbours earn, from 0 to 1.
        unreviewed: take neighbours that no reviewed source states, too.
        style: one of `skinrl.report.STYLES`.

    Raises:
        PluginError: ``alternatives`` outside 0 to 1.
    """
    return DifferentialReward(taxonomy, alternatives, unreviewed, style)


class DifferentialReward(AnswerReward):
    """Made by `get_differential_reward`."""

    __name__ = "differential_reward"

    def __init__(self, taxonomy: Taxonomy, alternatives: float, unreviewed: bool, style: str) -> None:
        if not 0.0 <= alternatives <= 1.0:
            raise PluginError(f"the share of real neighbours must lie from 0 to 1, found {alternatives!r}")
        super().__init__(taxonomy, style)
        self.alternatives = alternatives
        self._edges = differential_edges(taxonomy, unreviewed=unreviewed)
        self._neighbours: dict[str, frozenset[str]] = {}

    def score(self, row: Row) -> float | None:
        if not any(weight and node != self.taxonomy.root for node, weight in row.gold):
            return None
        if not row.readable:
            return 0.0
        listed = listed_nodes(self.taxonomy, row, self.style)
        high = score_listed(self.taxonomy, listed, row.gold)
        real = self._real(listed, row.gold) if high else None
        return high if real is None else high * (1.0 - self.alternatives + self.alternatives * real)

    def _real(self, listed: Sequence[str | None], gold: Gold) -> float | None:
        """Share of the items beside the golds that are real neighbours; `None` where none is known."""
        known = frozenset[str]().union(*(self._near(node) for node, weight in gold if weight))
        if not known:
            return None
        golds = {node for node, weight in gold if weight}
        others = [item for item in listed if item is None or golds.isdisjoint(self.taxonomy.ancestors(item))]
        real = {item for item in others if item and not known.isdisjoint(self.taxonomy.ancestors(item))}
        return len(real) / len(others) if others else 0.0

    def _near(self, node: str) -> frozenset[str]:
        found = self._neighbours.get(node)
        if found is None:
            found = self._neighbours[node] = neighbours(self.taxonomy, node, self._edges)
        return found

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        listed = listed_nodes(self.taxonomy, row, self.style) if row.readable else []
        return {"listed": ", ".join(node or "[unknown]" for node in listed)}

    def metrics(self, rows: Sequence[Row], scores: Sequence[float | None]) -> Mapping[str, float]:
        known = sum(any(self._near(node) for node, weight in row.gold if weight) for row in rows)
        return {"neighbours_known": known / len(rows)}


def get_consistency_reward(taxonomy: Taxonomy, style: str = "report") -> ConsistencyReward:
    """1 if the first item of the differential is the diagnosis or a kind of it, else 0; never `None`.

    0 for an empty differential, for ``undetermined``, and for an invalid, truncated or unresolved answer. It asks only
    whether a report agrees with itself, so give it a small weight; it never looks at textbook morphology.

    Args:
        taxonomy: injected by the command line.
        style: one of `skinrl.report.STYLES`.
    """
    return ConsistencyReward(taxonomy, style)


class ConsistencyReward(AnswerReward):
    """Made by `get_consistency_reward`."""

    __name__ = "consistency_reward"

    def score(self, row: Row) -> float | None:
        if not row.readable or row.answer.node is None:
            return 0.0
        head = next(iter(listed_nodes(self.taxonomy, row, self.style)), None)
        return float(head is not None and row.answer.node in self.taxonomy.ancestors(head))

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        listed = listed_nodes(self.taxonomy, row, self.style) if row.readable else []
        return {"head": next(iter(listed), None) or ""}
