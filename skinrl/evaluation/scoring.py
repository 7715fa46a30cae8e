"""What one answer is worth to each metric: pure taxonomy, no statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skinrl.errors import DataError
from skinrl.evaluation.cases import Case
from skinrl.evaluation.predictions import Prediction
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.measures import BENIGN_SIDE, MALIGNANT_SIDE, side
from skinrl.taxonomy.similarity import expected_credit

_TIE = 1e-9


@dataclass(frozen=True)
class Target:
    """What counts as the right answer to a case.

    Args:
        nodes: right answers, any of them (and anything below them) is a hit; sorted. Several only where a
            weighted differential has equal tops, or several options are equally good.
        level: of the first.
        side: of the gold itself, whatever options were offered: `malignant` (precancerous and in situ too),
            `benign` (non-neoplastic too), or None (mixed or uncertain).
    """

    nodes: tuple[str, ...]
    level: int
    side: str | None

    @property
    def node(self) -> str:
        return self.nodes[0]


def target_of(case: Case, taxonomy: Taxonomy) -> Target | None:
    """The target of a case, or None where its gold has no node below the root.

    An open question asks for the gold of the largest weight. Where options are offered and none lies at or
    below that gold, the best of those offered is asked for (Skin-R1: "the most specific that fits").

    Raises:
        DataError: a gold or an option that the taxonomy does not have.
    """
    named = {node for node, _ in case.gold} | {node for node in case.option_nodes if node}
    unknown = sorted(node for node in named if node not in taxonomy)
    if unknown:
        raise DataError(f"case {case.id}: the taxonomy has no node {', '.join(unknown)}")
    golds = [(node, weight) for node, weight in case.gold if node != taxonomy.root]
    if not golds:
        return None
    top = max(weight for _, weight in golds)
    tops = sorted(node for node, weight in golds if weight >= top - _TIE)
    nodes = _best_offered(case, tops, taxonomy) if case.option_nodes else tops
    return Target(tuple(nodes), taxonomy.level(nodes[0]), _shared(side(taxonomy, node) for node in tops))


def _best_offered(case: Case, tops: Sequence[str], taxonomy: Taxonomy) -> list[str]:
    offered = sorted({node for node in case.option_nodes if node})
    if any(_reaches(option, top, taxonomy) for option in offered for top in tops):
        return list(tops)
    credits = {
        option: expected_credit(taxonomy, option, case.gold, option_nodes=case.option_nodes) or 0.0
        for option in offered
    }
    best = max(credits.values(), default=0.0)
    return [option for option in offered if credits[option] >= best - _TIE] if best > 0 else list(tops)


def _shared(values: Iterable[str | None]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _reaches(answer: str, node: str, taxonomy: Taxonomy) -> bool:
    """Whether `answer` is `node` or lies below it."""
    return answer == node or taxonomy.is_ancestor(node, answer)


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer against its target.

    Args:
        hit: right, after the answer is projected up to the target.
        node: the answer, projected up to the target where it is a hit; None where there is none.
        right_levels: levels, up to the target's, at which answer and target share a node.
        shared, answered, wanted: |A(p) & A(g)|, |A(p)|, |A(g)|, ancestors without the root.
        severity: edges from the target up to the nearest node that also covers the answer: 0 for a hit, the
            way to the root where nothing is shared or no node is named.
        side: as the report's Malignancy line has it, or without such a line the answer's behaviour.
        outcome: of the prediction.
        abstained: a valid report that declines to name a disease.
        answer: the node as it was answered.
    """

    hit: bool
    node: str | None
    right_levels: frozenset[int]
    shared: int
    answered: int
    wanted: int
    severity: int
    side: str | None
    outcome: str
    abstained: bool = False
    answer: str | None = None


class Judge:
    """Compares predictions with targets; each distinct answer to a target is worked out once.

    A set of 100,000 cases has a few thousand distinct pairs of target and answer.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._targets: dict[tuple[object, ...], Target | None] = {}
        self._known: dict[tuple[object, ...], Judged] = {}
        self._right: dict[tuple[object, ...], bool] = {}

    def target(self, case: Case) -> Target | None:
        """`target_of`, once for each distinct gold and offer."""
        key = (case.gold, case.option_nodes)
        if key not in self._targets:
            self._targets[key] = target_of(case, self._taxonomy)
        return self._targets[key]

    def __call__(self, target: Target, prediction: Prediction) -> Judged:
        """The prediction against the target."""
        key = (target.nodes, prediction.answer_node, prediction.outcome, prediction.malignancy)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = judge(target, prediction, self._taxonomy)
        return found

    def rank(self, target: Target, prediction: Prediction) -> int | None:
        """Place of the first right one among the diagnosis and then the rest of the differential, from 1, or None.

        The diagnosis takes the first place, whatever became of it. An item that repeats one before it takes no place
        of its own; one that names no node takes one. A report that cannot be read has no differential.
        """
        places = [prediction.answer_node or ""]
        for item in prediction.differential:
            if not item or item not in places:
                places.append(item)
        for rank, item in enumerate(places, start=1):
            key = (target.nodes, item)
            right = self._right.get(key)
            if right is None:
                right = self._right[key] = _right(item or None, target, self._taxonomy)
            if right:
                return rank
        return None


def judge(target: Target, prediction: Prediction, taxonomy: Taxonomy) -> Judged:
    """Compare a prediction with its target."""
    answer = prediction.answer_node
    gold = target.node
    hit = _right(answer, target, taxonomy)
    node = gold if hit else answer
    of_gold = taxonomy.ancestors(gold)
    of_node = taxonomy.ancestors(node) if node is not None else frozenset()
    shared = of_gold & of_node
    return Judged(
        hit=hit,
        node=node,
        right_levels=_right_levels(target, node, shared, taxonomy),
        shared=len(shared),
        answered=len(of_node),
        wanted=len(of_gold),
        severity=steps_up(gold, shared, taxonomy),
        side=_side_of_answer(prediction, taxonomy),
        outcome=prediction.outcome,
        abstained=prediction.outcome == "ok" and answer is None,
        answer=answer,
    )


def _right(answer: str | None, target: Target, taxonomy: Taxonomy) -> bool:
    return answer is not None and any(_reaches(answer, node, taxonomy) for node in target.nodes)


def _right_levels(target: Target, node: str | None, shared: frozenset[str], taxonomy: Taxonomy) -> frozenset[int]:
    """An answer above level k is wrong at k even where, through a second parent, it shares a node of level k."""
    if node is None:
        return frozenset()
    deepest = min(target.level, taxonomy.level(node))
    return frozenset(level for level in map(taxonomy.level, shared) if level <= deepest)


def steps_up(gold: str, shared: frozenset[str], taxonomy: Taxonomy) -> int:
    """Fewest edges from `gold` up to a node of `shared` or to the root."""
    steps, front = 0, {gold}
    while not front & shared and taxonomy.root not in front:
        front = {parent for node in front for parent in taxonomy.parents(node)}
        steps += 1
    return steps


def _side_of_answer(prediction: Prediction, taxonomy: Taxonomy) -> str | None:
    stated = prediction.malignancy
    if stated is not None:
        return "malignant" if stated in MALIGNANT_SIDE else "benign" if stated in BENIGN_SIDE else None
    return side(taxonomy, prediction.answer_node) if prediction.answer_node is not None else None
