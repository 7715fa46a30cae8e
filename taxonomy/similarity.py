"""Expected credit on the hierarchy: several golds, with or without options. Rewards and evaluation share it.

The credit of one answer for one gold is a measure of `skinrl.taxonomy.measures`. Pure Python, no torch. Deterministic
in every process and under every hash seed.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skinrl.errors import TaxonomyError
from skinrl.taxonomy.measures import MEASURES, Measure

if TYPE_CHECKING:
    from skinrl.taxonomy.graph import Taxonomy

_CACHE_LIMIT = 1 << 16  # questions; a full cache is emptied, so that an endless run stays small


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
    return question_of(taxonomy, gold, option_nodes, measure).credit(taxonomy, answer)


def question_of(
    taxonomy: Taxonomy,
    gold: Sequence[tuple[str, float]],
    option_nodes: Sequence[str | None] | None = None,
    measure: str | Measure = "default",
) -> Question:
    """What `expected_credit` works out once for all answers to a question; the arguments are the same."""
    known = _questions(taxonomy)
    key = (measure, tuple(gold), tuple(option_nodes or ()))
    question = known.get(key)
    if question is None:
        if len(known) >= _CACHE_LIMIT:
            known.clear()
        question = known[key] = _prepare(taxonomy, *key)
    return question


@dataclass(frozen=True, slots=True)
class Question:
    """Golds with weights that sum to 1, the options offered, and the best that any answer can attain.

    ``best`` is `None` where no answer can be scored.
    """

    measure: Measure
    gold: tuple[tuple[str, float], ...]
    offered: tuple[str, ...]
    best: float | None = None

    def credit(self, taxonomy: Taxonomy, answer: str | None) -> float | None:
        """See `expected_credit`."""
        if self.best is None:
            return None
        if answer is None:
            return 0.0
        return min(self.of(taxonomy, taxonomy.node(answer).id) / self.best, 1.0)

    def of(self, taxonomy: Taxonomy, answer: str) -> float:
        """The expectation over the golds."""
        credit = self.measure.credit
        if len(self.gold) == 1:  # as almost always; its weight is 1
            return credit(taxonomy, answer, self.gold[0][0], self.offered)
        # fsum: the sum must not depend on the order in which the golds are listed
        return math.fsum([weight * credit(taxonomy, answer, node, self.offered) for node, weight in self.gold])


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
) -> Question:
    form = measure_of(measure)
    offered = tuple([taxonomy.node(node).id for node in option_nodes if node])
    for node, weight in gold:
        taxonomy.node(node)
        if not 0 <= weight < math.inf:
            raise TaxonomyError(f"gold {node!r} has the weight {weight}; weights must be numbers of 0 or more")
    total = math.fsum([weight for node, weight in gold if node != taxonomy.root])
    if not total:
        return Question(form, (), offered)
    scaled = tuple([(node, weight / total) for node, weight in gold if node != taxonomy.root and weight])
    question = Question(form, scaled, offered)
    if offered:
        best = max([question.of(taxonomy, node) for node in offered])
        best = best if form.normalised or not best else 1.0
    elif not form.normalised:
        best = 1.0
    elif len(scaled) == 1:
        best = question.of(taxonomy, scaled[0][0])
    else:
        best = max([question.of(taxonomy, node) for node in _candidates(taxonomy, question)])
    return Question(form, scaled, offered, best or None)


def _candidates(taxonomy: Taxonomy, question: Question) -> Iterable[str]:
    """Nodes of which one is the best answer to an open question.

    A node that is neither a gold nor above one, and has one parent, earns no more than this parent: it shares the
    same ancestors with each gold and has one more of its own; what it lies below, the parent is or lies below; and a
    parent is on its child's side or on none. The same holds where one of several parents already has all ancestors
    that the node shares with the golds. And a node that shares ancestors with one of the golds alone earns no more
    than that gold.
    """
    if not question.measure.climbs:
        return taxonomy.ids
    ancestors, joins = taxonomy.ancestors, _joins(taxonomy)
    found = {node for node, _ in question.gold}
    above, shared = set[str](), set[str]()
    for line in map(ancestors, tuple(found)):
        shared |= above & line
        above |= line
    if shared:
        found.update(node for node in above if not shared.isdisjoint(ancestors(node)))
    for join in {join for node in above for join in joins.get(node, ())} - above:
        near = above & ancestors(join)
        if not any(near <= ancestors(parent) for parent in taxonomy.parents(join)):
            found.add(join)
    return found


def _joins(taxonomy: Taxonomy) -> dict[str, list[str]]:
    """Node -> the nodes with several parents that lie below it, but not through their first parent."""
    found = _JOINS.get(id(taxonomy))
    if found is None:
        found = _JOINS[id(taxonomy)] = {}
        for join in taxonomy.ids:
            parents = taxonomy.parents(join)
            if len(parents) > 1:
                for node in sorted(taxonomy.ancestors(join) - taxonomy.ancestors(parents[0]) - {join}):
                    found.setdefault(node, []).append(join)
        weakref.finalize(taxonomy, _JOINS.pop, id(taxonomy), None)
    return found


# What was worked out for one taxonomy, by identity of a live one: a weak dictionary would cost as much as a credit.
_QUESTIONS: dict[int, dict[tuple[Any, ...], Question]] = {}
_JOINS: dict[int, dict[str, list[str]]] = {}


def _questions(taxonomy: Taxonomy) -> dict[tuple[Any, ...], Question]:
    known = _QUESTIONS.get(id(taxonomy))
    if known is None:
        known = _QUESTIONS[id(taxonomy)] = {}
        weakref.finalize(taxonomy, _QUESTIONS.pop, id(taxonomy), None)
    return known
