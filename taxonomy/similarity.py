"""How much credit an answer earns on the hierarchy: the one arithmetic of rewards and evaluation.

A(x) is x and its ancestors without the root. Beside the default stand the published forms, under their own names and
with their own numbers; `SCHEMES` lists them. Where a node has several parents, a *path* is the taxonomy's
deterministic shortest one, and the *depth* of a node is its longest distance from the root, because only that grows
with every step down (in a tree the two distances are one).

Pure Python, no torch. Deterministic in every process and under every hash seed.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from skinrl.errors import TaxonomyError

if TYPE_CHECKING:
    from skinrl.taxonomy.graph import Taxonomy

MALIGNANT_SIDE = frozenset({"precancerous or in situ", "malignant"})
BENIGN_SIDE = frozenset({"non-neoplastic", "benign"})
RELATIONS = ("exact", "below", "ancestor", "related", "opposite", "unrelated", "none")

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")
_CACHE_LIMIT = 1 << 17  # entries; a full cache is emptied, so that an endless run stays small
_ROWS = 1024  # golds of weighted differentials whose credits over all nodes are kept


def side(taxonomy: Taxonomy, node: str) -> str | None:
    """``"malignant"`` or ``"benign"`` where every leaf at or below the node is on that side, else `None`.

    Precancerous and in situ count as malignant, non-neoplastic as benign. An uncertain leaf, or leaves on both sides,
    give `None`: the node takes no part in the behaviour rule.
    """
    behaviours = frozenset(taxonomy.behaviours(node))
    if behaviours and behaviours <= MALIGNANT_SIDE:
        return "malignant"
    if behaviours and behaviours <= BENIGN_SIDE:
        return "benign"
    return None


def opposite(taxonomy: Taxonomy, answer: str, gold: str) -> bool:
    """Whether one of the two is malignant and the other benign; never where either is mixed or uncertain."""
    sides = _tables(taxonomy).sides
    return sides[answer] is not None and sides[gold] is not None and sides[answer] != sides[gold]


def relation(taxonomy: Taxonomy, answer: str | None, gold: str) -> str:
    """One of `RELATIONS`, for logs and tables: why a credit is what it is."""
    if answer is None:
        return "none"
    if answer == gold:
        return "exact"
    if opposite(taxonomy, answer, gold):
        return "opposite"
    above_answer, above_gold = taxonomy.ancestors(answer), taxonomy.ancestors(gold)
    if gold in above_answer:
        return "below"
    if answer in above_gold:
        return "ancestor"
    return "related" if above_answer & above_gold else "unrelated"


# --- the schemes: credit of one answer for one gold ----------------------------------------------------------------


def credit(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """Default credit, from 0 to 1; 1 is the maximum, and only the gold and what lies below it reach it.

    - 0 if answer and gold are of opposite behaviour, whatever they share;
    - 1 if the answer is the gold or lies below it (the gold says nothing about what lies below);
    - else ``2 |A(answer) ∩ A(gold)| / (|A(answer)| + |A(gold)|)``, which is below 1.

    Source: the set form is the hierarchical F1 of Kiritchenko et al. (2006), taken on one pair; the rule of behaviour
    and the projection are ours.

    Example, with melanocytic tumour > melanoma > nodular melanoma: gold nodular melanoma, answer melanoma:
    2·2 / (2 + 3) = 0.8.
    """
    if opposite(taxonomy, answer, gold):
        return 0.0
    above_answer, above_gold = taxonomy.ancestors(answer), taxonomy.ancestors(gold)
    if gold in above_answer:
        return 1.0
    return 2.0 * len(above_answer & above_gold) / ((len(above_answer) + len(above_gold)) or 1)


def exact(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """1 if the answer is the gold or lies below it, else 0. 1 is the maximum. The ablation of the default."""
    return float(gold in taxonomy.ancestors(answer))


def skin_r1_paper(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """Skin-R1 as its paper writes it: ``0.75 i / L``; the maximum is 0.75, not 1.

    L is the length of the gold's path, i the 1-based depth of the answer on it; 0 if the answer is not on it. An
    answer below the gold is not on the path.

    Source: Skin-R1, arXiv 2511.14900. Example: depth 3 of 4 gives 0.5625.
    """
    path = taxonomy.path(gold)
    return 0.75 * (path.index(answer) + 1) / len(path) if answer in path else 0.0


def skin_r1_code(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """Skin-R1 as its code computes it: ``0.75 i / i_max``; the maximum is 0.75, not 1.

    ``i_max`` is the depth of the deepest node of the gold's path among the options offered, so the best option offered
    always earns 0.75. An answer that was not offered earns 0. Where nothing was offered (an open question, which
    Skin-R1 has not), it equals `skin_r1_paper`.

    Source: github.com/l593191569/Skin-R1 at 6ea8b447.
    """
    if not offered:
        return skin_r1_paper(taxonomy, answer, gold)
    path = taxonomy.path(gold)
    if answer not in path or answer not in offered:
        return 0.0
    deepest = max(path.index(node) for node in offered if node in path)
    return 0.75 * (path.index(answer) + 1) / (deepest + 1)


def common_ancestor_depth(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """``depth(deepest common ancestor) / depth(gold)``; 1 is the maximum, reached by the gold and below it.

    It does not ask how far the answer strays below the common ancestor: a sibling earns what the parent earns.

    Source: the height of the lowest common ancestor as used by Deng et al. (2010) and Bertinetto et al. (2020,
    "Making better mistakes"), turned from a distance into a credit.
    """
    tables = _tables(taxonomy)
    shared = tables.deepest_common(taxonomy, answer, gold)
    return shared / tables.depths[gold] if shared else 0.0


def wu_palmer(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """``2 depth(deepest common ancestor) / (depth(answer) + depth(gold))``; 1 is the maximum, at the gold alone.

    The root has depth 0 here, so that two diseases with nothing but the root in common earn 0. An answer below the
    gold earns less than 1.

    Source: Wu and Palmer, "Verb semantics and lexical selection", ACL 1994.
    """
    tables = _tables(taxonomy)
    shared = tables.deepest_common(taxonomy, answer, gold)
    return 2.0 * shared / (tables.depths[answer] + tables.depths[gold]) if shared else 0.0


def information_content(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """Lin's measure, ``2 IC(c) / (IC(answer) + IC(gold))``, c the common ancestor with the most content.

    ``IC(x) = -log(leaves at or below x / all leaves)``: content from the structure, not from a corpus. 1 is the
    maximum; beside the gold, a node with exactly the gold's leaves (an only child's parent) reaches it too.

    Source: Lin, "An information-theoretic definition of similarity", ICML 1998; IC after Resnik, IJCAI 1995.
    """
    if answer == gold:
        return 1.0
    content = _tables(taxonomy).content
    total = content[answer] + content[gold]
    common = taxonomy.ancestors(answer) & taxonomy.ancestors(gold)
    return 2.0 * max((content[node] for node in common), default=0.0) / total if total else 0.0


def level_gated(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """``½ [answer = gold] + ½ agreed / L``; 1 is the maximum, at the gold alone.

    ``agreed`` counts the levels, from the top, on which the paths of answer and gold name the same node; a level
    counts only while all levels above it agree. L is the length of the gold's path.

    Source: after TaxonRL (github.com/max-vkl/TaxonRL), which gives 0.4 to accuracy, 0.4 to the levels of the taxonomy
    and 0.2 to the format. The format is another reward here, so the two others are one half each; TaxonRL compares
    two images' tags level by level, here the levels come from the path of one answer.
    """
    ours, theirs = taxonomy.path(answer), taxonomy.path(gold)
    agreed = 0
    for ours_k, theirs_k in zip(ours, theirs, strict=False):
        if ours_k != theirs_k:
            break
        agreed += 1
    return 0.5 * (answer == gold) + 0.5 * agreed / (len(theirs) or 1)


@dataclass(frozen=True)
class Scheme:
    """A form of credit.

    Args:
        name: key in `SCHEMES`.
        credit: ``(taxonomy, answer, gold, offered) -> float``.
        maximum: what the gold earns.
        normalised: whether an expected credit is divided by the best attainable one. Published forms keep their own
            numbers and are not.
    """

    name: str
    credit: Callable[[Taxonomy, str, str, Sequence[str]], float]
    maximum: float = 1.0
    normalised: bool = False


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("default", credit, normalised=True),
        Scheme("exact", exact, normalised=True),
        Scheme("skin_r1_paper", skin_r1_paper, maximum=0.75),
        Scheme("skin_r1_code", skin_r1_code, maximum=0.75),
        Scheme("common_ancestor_depth", common_ancestor_depth),
        Scheme("wu_palmer", wu_palmer),
        Scheme("information_content", information_content),
        Scheme("level_gated", level_gated),
    )
}


# --- expected credit: several golds, with or without options -------------------------------------------------------


def expected_credit(
    taxonomy: Taxonomy,
    answer: str | None,
    gold: Sequence[tuple[str, float]],
    *,
    option_nodes: Sequence[str | None] | None = None,
    scheme: str = "default",
) -> float | None:
    """Credit of an answer for a weighted differential; a certain diagnosis is one gold of weight 1.

    The expectation over the golds, divided (default and exact) by the best that any answer could attain: over the
    options offered for a closed question, over all nodes for an open one. So the best answer available earns 1.

    Args:
        answer: node id, or `None` for an answer without a node (unresolved, undetermined, invalid, truncated).
        gold: pairs of node id and weight. The root says nothing and is left out; weights are scaled to sum to 1.
        option_nodes: nodes of the options offered; `None` or empty for an open question.
        scheme: key of `SCHEMES`.

    Returns:
        A number from 0 to 1, or `None` where no answer can be scored: the gold has no node, or (default and exact)
        no option offered earns anything. `None` never depends on the answer.

    Raises:
        TaxonomyError: unknown scheme, an id that the taxonomy does not have, a negative weight.
    """
    tables = _tables(taxonomy)
    key = (scheme, tuple((node, weight) for node, weight in gold), tuple(option_nodes or ()))
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
    scheme: Scheme
    gold: tuple[tuple[str, float], ...]
    offered: tuple[str, ...]
    best: float | None = None

    def of(self, taxonomy: Taxonomy, answer: str) -> float:
        # fsum: the sum must not depend on the order in which the golds are listed
        return math.fsum(w * self.scheme.credit(taxonomy, answer, node, self.offered) for node, w in self.gold)


def _prepare(
    taxonomy: Taxonomy, scheme: str, gold: tuple[tuple[str, float], ...], option_nodes: tuple[str | None, ...]
) -> _Question:
    if scheme not in SCHEMES:
        raise TaxonomyError(f"unknown credit scheme {scheme!r}; expected one of: {', '.join(SCHEMES)}")
    form = SCHEMES[scheme]
    offered = tuple(taxonomy.node(node).id for node in option_nodes if node)
    for node, weight in gold:
        taxonomy.node(node)
        if not weight >= 0:
            raise TaxonomyError(f"gold {node!r} has the weight {weight}; weights must not be negative")
    total = math.fsum(weight for node, weight in gold if node != taxonomy.root)
    if not total:
        return _Question(form, (), offered)
    scaled = tuple((node, weight / total) for node, weight in gold if node != taxonomy.root and weight)
    question = _Question(form, scaled, offered)
    if not form.normalised:
        best = 1.0
    elif offered:
        best = max(question.of(taxonomy, node) for node in offered)
    elif len(scaled) == 1:
        best = question.of(taxonomy, scaled[0][0])
    else:
        rows = [(_credits(taxonomy, form, node), weight) for node, weight in scaled]
        nodes = set[str]().union(*(row for row, _ in rows))
        best = max(math.fsum([weight * row.get(node, 0.0) for row, weight in rows]) for node in nodes)
    return _Question(form, scaled, offered, best or None)


def _credits(taxonomy: Taxonomy, scheme: Scheme, gold: str) -> dict[str, float]:
    """Credit of every node that earns any for this gold, in an open question; so that many differentials share it."""
    tables = _tables(taxonomy)
    row = tables.rows.get((scheme.name, gold))
    if row is None:
        tops = (node for node in taxonomy.ancestors(gold) if taxonomy.root in taxonomy.parents(node))
        near = set[str]().union(*((top, *taxonomy.descendants(top)) for top in tops))  # the rest earns 0
        credits = ((node, scheme.credit(taxonomy, node, gold, ())) for node in near)
        row = _remember(tables.rows, (scheme.name, gold), {node: value for node, value in credits if value}, _ROWS)
    return row


@dataclass
class _Tables:
    """What the schemes ask of one taxonomy again and again."""

    sides: dict[str, str | None]
    depths: dict[str, int]
    content: dict[str, float]
    questions: dict[tuple[Any, ...], _Question] = field(default_factory=dict)
    values: dict[tuple[Any, ...], float] = field(default_factory=dict)
    rows: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def deepest_common(self, taxonomy: Taxonomy, a: str, b: str) -> int:
        return max((self.depths[node] for node in taxonomy.ancestors(a) & taxonomy.ancestors(b)), default=0)


def _remember(cache: dict[_K, _V], key: _K, value: _V, limit: int | None = None) -> _V:
    if len(cache) >= (limit or _CACHE_LIMIT):
        cache.clear()
    cache[key] = value
    return value


_TABLES: dict[int, _Tables] = {}  # by identity of a live taxonomy: a weak dictionary would cost as much as a credit


def _tables(taxonomy: Taxonomy) -> _Tables:
    tables = _TABLES.get(id(taxonomy))
    if tables is None:
        depths: dict[str, int] = {taxonomy.root: 0}
        # an ancestor set strictly contains those of all nodes above, so its size is an order from the top down
        for node in sorted(taxonomy.ids, key=lambda id: (len(taxonomy.ancestors(id)), id)):
            if node != taxonomy.root:
                depths[node] = 1 + max(depths[parent] for parent in taxonomy.parents(node))
        content = {node: math.log(len(taxonomy.leaves) / len(taxonomy.leaves_below(node))) for node in taxonomy.ids}
        tables = _Tables({node: side(taxonomy, node) for node in taxonomy.ids}, depths, content)
        _TABLES[id(taxonomy)] = tables
        weakref.finalize(taxonomy, _TABLES.pop, id(taxonomy), None)
    return tables
