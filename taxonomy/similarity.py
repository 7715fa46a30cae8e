"""Expected credit on the hierarchy: several golds, with or without options. Rewards and evaluation share it.

The credit of one answer for one gold is a measure of `skinrl.taxonomy.measures`. Pure Python, no torch. Deterministic
in every process and under every hash seed.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from skinrl.errors import TaxonomyError
from skinrl.taxonomy.measures import MEASURES, Measure

if TYPE_CHECKING:
    from skinrl.taxonomy.graph import Taxonomy

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")
_CACHE_LIMIT = 1 << 17  # entries; a full cache is emptied, so that an endless run stays small
_ROWS = 1024  # golds of weighted differentials whose credits over all nodes are kept


def expected_credit(
    taxonomy: Taxonomy,
    answer: str | None,
    gold: Sequence[tuple[str, float]],
    *,
    option_nodes: Sequence[str | None] | None = None,
    measure: str | Measure = "default",
) -> float | None:
    """Credit of an answer for a weighted differential; a certain diagnosis is one gold of weight 1.

    The expectation over the golds, divided (default and exact) by the best that any answer could attain: over the
    options offered for a closed question, over all nodes for an open one. So the best answer available earns 1.

    Args:
        answer: node id, or `None` for an answer without a node (unresolved, undetermined, invalid, truncated).
        gold: pairs of node id and weight. The root says nothing and is left out; weights are scaled to sum to 1.
        option_nodes: nodes of the options offered; `None` or empty for an open question.
        measure: key of `MEASURES`, or a `Measure`.

    Returns:
        A number from 0 to 1, or `None` where no answer can be scored: the gold has no node, or no option offered
        earns anything. `None` never depends on the answer.

    Raises:
        TaxonomyError: unknown measure, an id that the taxonomy does not have, a negative weight.
    """
    tables = _tables(taxonomy)
    key = (measure, tuple((node, weight) for node, weight in gold), tuple(option_nodes or ()))
    question = tables.questions.get(key)
    if question is None:
        question = _remember(tables.questions, key, _prepare(taxonomy, *key))
    if question.best is None:
        return None
    if answer is None:
        return 0.0
    pair = (answer, key)
    value = tables.values.get(pair)
    if value is None:
        taxonomy.node(answer)
        value = _remember(tables.values, pair, min(question.of(taxonomy, answer) / question.best, 1.0))
    return value


@dataclass(frozen=True)
class _Question:
    measure: Measure
    gold: tuple[tuple[str, float], ...]
    offered: tuple[str, ...]
    best: float | None = None

    def of(self, taxonomy: Taxonomy, answer: str) -> float:
        # fsum: the sum must not depend on the order in which the golds are listed
        return math.fsum(w * self.measure.credit(taxonomy, answer, node, self.offered) for node, w in self.gold)


def measure_of(measure: str | Measure) -> Measure:
    """The measure of that name; a `Measure` is returned as it is.

    Raises:
        TaxonomyError: unknown name.
    """
    if isinstance(measure, Measure):
        return measure
    if measure not in MEASURES:
        raise TaxonomyError(f"unknown measure {measure!r}; expected one of: {', '.join(MEASURES)}")
    return MEASURES[measure]


def _prepare(
    taxonomy: Taxonomy,
    measure: str | Measure,
    gold: tuple[tuple[str, float], ...],
    option_nodes: tuple[str | None, ...],
) -> _Question:
    form = measure_of(measure)
    offered = tuple(taxonomy.node(node).id for node in option_nodes if node)
    for node, weight in gold:
        taxonomy.node(node)
        if not 0 <= weight < math.inf:
            raise TaxonomyError(f"gold {node!r} has the weight {weight}; weights must be numbers of 0 or more")
    total = math.fsum(weight for node, weight in gold if node != taxonomy.root)
    if not total:
        return _Question(form, (), offered)
    scaled = tuple((node, weight / total) for node, weight in gold if node != taxonomy.root and weight)
    question = _Question(form, scaled, offered)
    if offered:
        best = max(question.of(taxonomy, node) for node in offered)
        best = best if form.normalised or not best else 1.0
    elif not form.normalised:
        best = 1.0
    elif len(scaled) == 1:
        best = question.of(taxonomy, scaled[0][0])
    else:
        rows = [(_credits(taxonomy, form, node), weight) for node, weight in scaled]
        nodes = set[str]().union(*(row for row, _ in rows))
        best = max(math.fsum([weight * row.get(node, 0.0) for row, weight in rows]) for node in nodes)
    return _Question(form, scaled, offered, best or None)


def _credits(taxonomy: Taxonomy, measure: Measure, gold: str) -> dict[str, float]:
    """Credit of every node that earns any for this gold, in an open question; so that many differentials share it."""
    tables = _tables(taxonomy)
    row = tables.rows.get((measure, gold))
    if row is None:
        tops = (node for node in taxonomy.ancestors(gold) if taxonomy.root in taxonomy.parents(node))
        near = set[str]().union(*((top, *taxonomy.descendants(top)) for top in tops))  # the rest earns 0
        credits = ((node, measure.credit(taxonomy, node, gold, ())) for node in near)
        row = _remember(tables.rows, (measure, gold), {node: value for node, value in credits if value}, _ROWS)
    return row


@dataclass
class _Tables:
    """What was worked out for one taxonomy."""

    questions: dict[tuple[Any, ...], _Question] = field(default_factory=dict)
    values: dict[tuple[Any, ...], float] = field(default_factory=dict)
    rows: dict[tuple[Measure, str], dict[str, float]] = field(default_factory=dict)


def _remember(cache: dict[_K, _V], key: _K, value: _V, limit: int | None = None) -> _V:
    if len(cache) >= (limit or _CACHE_LIMIT):
        cache.clear()
    cache[key] = value
    return value


_TABLES: dict[int, _Tables] = {}  # by identity of a live taxonomy: a weak dictionary would cost as much as a credit


def _tables(taxonomy: Taxonomy) -> _Tables:
    tables = _TABLES.get(id(taxonomy))
    if tables is None:
        tables = _TABLES[id(taxonomy)] = _Tables()
        weakref.finalize(taxonomy, _TABLES.pop, id(taxonomy), None)
    return tables
