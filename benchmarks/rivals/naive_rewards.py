"""The straightforward way to the same four scores: regular expressions, a dictionary of names, and networkx.

It is what one writes in an afternoon: each reward reads the completion by itself, and every question about the
hierarchy is asked of networkx anew. It knows exact names and one certain gold, no variants and no weighted golds;
where it has an answer, the answer is ours (`rewards.py` compares before it times).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx

from skinrl.rewards.facts import is_reviewed
from skinrl.taxonomy import Taxonomy

Reward = Callable[..., list[float | None]]
_REPORT = re.compile(
    r"\s*<think>\n(?P<think>.*)\n</think>\n<answer>\nDiagnosis: (?:[A-Z]\. )?(?P<diagnosis>.+)\n"
    r"Malignancy: (?P<malignancy>.+)\nConfidence: \d+\n</answer>\s*",
    re.DOTALL,
)
_MALIGNANT, _BENIGN = ("malignant", "precancerous or in situ"), ("benign", "non-neoplastic")


class Naive:
    """The four rewards of one taxonomy."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.graph = nx.DiGraph(taxonomy.graph)
        self.root = taxonomy.root
        nodes = [taxonomy.node(id) for id in taxonomy.ids]
        self.names = {name.lower(): node.id for node in nodes for name in (node.name, *node.synonyms)}
        self.behaviour = {node.id: node.behaviour for node in nodes}
        self.edges = [
            (node.id, edge.node)
            for node in nodes
            for edge in node.differential
            if is_reviewed(taxonomy, node.id, f"differential.{edge.node}")
        ]

    def rewards(self) -> dict[str, Reward]:
        """By the names that `rewards.py` uses."""
        return {
            "format": self.format,
            "hierarchy": self._each(self.hierarchy),
            "malignancy": self._each(self.malignancy),
            "differential": self._each(self.differential),
        }

    def format(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return [float(_REPORT.fullmatch(completion[0]["content"]) is not None) for completion in completions]

    def _each(self, score: Callable[[re.Match[str], str, str], float | None]) -> Reward:
        def reward(completions: Sequence[Any], gold_nodes: Sequence[Any], **columns: Any) -> list[float | None]:
            scores: list[float | None] = []
            for completion, (gold,) in zip(completions, gold_nodes, strict=True):
                match = _REPORT.fullmatch(completion[0]["content"])
                node = self.names.get(match["diagnosis"].lower()) if match else None
                if score == self.malignancy and self._side({self.behaviour[gold]}) is None:
                    scores.append(None)
                else:
                    scores.append(score(match, node, gold) if match and node else 0.0)
            return scores

        return reward

    def hierarchy(self, match: re.Match[str], node: str, gold: str) -> float:
        sides = {self._side(self._behaviours(node)), self._side(self._behaviours(gold))}
        if sides == {"malignant", "benign"}:
            return 0.0
        common = nx.lowest_common_ancestor(self.graph, node, gold)
        if common == gold:
            return 1.0
        if common == self.root:
            return 0.0
        above_node, above_gold = self._above(node), self._above(gold)
        return 2 * len(above_node & above_gold) / (len(above_node) + len(above_gold))

    def malignancy(self, match: re.Match[str], node: str, gold: str) -> float:
        said, expected, known = match["malignancy"], self.behaviour[gold], self._behaviours(node) - {None}
        if known and said not in known:
            return 0.0
        if said == expected:
            return 1.0
        if self._side({said}) == self._side({expected}):
            return 0.5
        return 0.2 if self._side({said}) == "malignant" else 0.0

    def differential(self, match: re.Match[str], node: str, gold: str) -> float:
        line = re.search(r"^Differential: (.*)$", match["think"], re.MULTILINE)
        items = [item.split(": ")[0] for item in re.split(r"(?:^| )\d+\. ", line[1])[1:]] if line else []
        listed = [self.names.get(item.lower()) for item in items]
        if gold not in listed:
            return 0.0
        high = 1 / (1 + listed.index(gold))
        family = self._above(gold) | nx.descendants(self.graph, gold)
        near = {b for a, b in self.edges if a in family} | {a for a, b in self.edges if b in family}
        if not near - family:
            return high
        others = [item for item in listed if item != gold]
        real = {item for item in others if item and self._above(item) & (near - family)}
        return high * (0.75 + 0.25 * (len(real) / len(others) if others else 0.0))

    def _above(self, node: str) -> set[str]:
        return (nx.ancestors(self.graph, node) | {node}) - {self.root}

    def _behaviours(self, node: str) -> set[str | None]:
        below = nx.descendants(self.graph, node) | {node}
        return {self.behaviour[one] for one in below if not self.graph.out_degree(one)}

    def _side(self, behaviours: set[str | None]) -> str | None:
        if behaviours <= set(_MALIGNANT):
            return "malignant"
        return "benign" if behaviours <= set(_BENIGN) else None
