"""Two rewards for the differential: is the gold in it beside real neighbours, and does the diagnosis head it?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from skinrl.errors import PluginError
from skinrl.report import listed_names
from skinrl.rewards.base import AnswerReward, Gold, Row
from skinrl.rewards.facts import differential_edges, neighbours
from skinrl.taxonomy.graph import Taxonomy

LONGEST = 5  # items that are read; a longer list is a bet on everything
_LONGEST_NAME = 200  # characters
_KEPT = 16_384  # golds whose neighbours are remembered
_NONE = frozenset[str]()


def listed_nodes(taxonomy: Taxonomy, rows: Sequence[Row]) -> list[list[str | None]]:
    """Node of each item of each row's differential, at most `LONGEST`; `None` for a name that has none.

    Empty where no report can be read. All names are looked up together, which is quicker than one by one.
    """
    names = [listed_names(row.answer.parsed.thoughts, LONGEST) if row.readable else [] for row in rows]
    found = taxonomy.resolve_many([name if len(name) <= _LONGEST_NAME else "" for row in names for name in row])
    nodes = iter([match.node if match is not None else None for match in found])
    listed = [list(islice(nodes, len(row))) for row in names]
    for at, row in enumerate(rows):
        if row.options and listed[at]:
            offered = _offered(tuple(row.options), tuple(row.option_nodes))
            listed[at] = [offered.get(_plain(name), node) for name, node in zip(names[at], listed[at], strict=True)]
    return listed


@lru_cache(maxsize=1024)
def _offered(options: tuple[str, ...], nodes: tuple[str | None, ...]) -> Mapping[str, str | None]:
    """Node of each option by its plain name; the completions of a group share it."""
    return {_plain(name): node or None for name, node in zip(options, nodes, strict=True)}


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def score_listed(taxonomy: Taxonomy, listed: Sequence[str | None], gold: Gold) -> float:
    """How high the golds stand: the weighted mean of 1/rank, divided by that of the best order.

    An item is a gold if it is the gold or lies below it; its first place counts. Golds of equal weight may stand in
    any order. The root says nothing and is left out.
    """
    golds = [(node, weight) for node, weight in gold if weight and node != taxonomy.root]
    lines = [taxonomy.ancestors(item) if item else _NONE for item in listed]
    if len(golds) == 1:  # as almost always
        return 1.0 / _rank(lines, golds[0][0])
    earned = [weight / _rank(lines, node) for node, weight in golds]
    weights = sorted((weight for _, weight in golds), reverse=True)[:LONGEST]
    best = math.fsum(weight / rank for rank, weight in enumerate(weights, start=1))
    return min(math.fsum(earned) / best, 1.0) if best else 0.0


def _rank(lines: Sequence[frozenset[str]], node: str) -> float:
    """Place of the first item at or below a node, infinite where there is none."""
    for rank, line in enumerate(lines, start=1):
        if node in line:
            return rank
    return math.inf


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
        self._wanted: dict[Gold, _Wanted] = {}

    def score(self, row: Row) -> float | None:
        return self.score_all([row])[0]

    def score_all(self, rows: Sequence[Row]) -> list[float | None]:
        listed = listed_nodes(self.taxonomy, rows)
        return [self._score(row, items) for row, items in zip(rows, listed, strict=True)]

    def _score(self, row: Row, listed: Sequence[str | None]) -> float | None:
        wanted = self._want(row.gold)
        if not wanted.nodes:
            return None
        high = score_listed(self.taxonomy, listed, row.gold) if listed else 0.0
        if not high or not wanted.near:
            return high
        return high * (1.0 - self.alternatives + self.alternatives * self._real(listed, wanted))

    def _real(self, listed: Sequence[str | None], wanted: _Wanted) -> float:
        """Share of the items beside the golds that are real neighbours."""
        above = [(item, self.taxonomy.ancestors(item) if item else _NONE) for item in listed]
        others = [(item, line) for item, line in above if wanted.nodes.isdisjoint(line)]
        real = {item for item, line in others if not wanted.near.isdisjoint(line)}
        return len(real) / len(others) if others else 0.0

    def _want(self, gold: Gold) -> _Wanted:
        found = self._wanted.get(gold)
        if found is None:
            nodes = frozenset(node for node, weight in gold if weight and node != self.taxonomy.root)
            found = _Wanted(nodes, frozenset[str]().union(*(self._near(node) for node in nodes)))
            if len(self._wanted) >= _KEPT:
                self._wanted.clear()
            self._wanted[gold] = found
        return found

    def _near(self, node: str) -> frozenset[str]:
        found = self._neighbours.get(node)
        if found is None:
            found = self._neighbours[node] = neighbours(self.taxonomy, node, self._edges)
        return found

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        return {"listed": ", ".join(node or "[unknown]" for node in listed_nodes(self.taxonomy, [row])[0])}

    def metrics(self, rows: Sequence[Row], scores: Sequence[float | None]) -> Mapping[str, float]:
        return {"neighbours_known": sum(bool(self._want(row.gold).near) for row in rows) / len(rows)}


class _Wanted(NamedTuple):
    """The golds that say something, and their neighbours."""

    nodes: frozenset[str]
    near: frozenset[str]


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
        head = next(iter(listed_nodes(self.taxonomy, [row])[0]), None)
        return float(head is not None and row.answer.node in self.taxonomy.ancestors(head))

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        return {"head": next(iter(listed_nodes(self.taxonomy, [row])[0]), None) or ""}
