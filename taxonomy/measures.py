"""The forms of credit: how much one answer earns for one gold, each with formula, source, range and maximum.

A(x) is x and its ancestors without the root. Beside the default stand the published forms, under their own names and
with their own numbers; `MEASURES` lists them. Where a node has several parents, a *path* is the taxonomy's
deterministic shortest one, and the *depth* of a node is its longest distance from the root, because only that grows
with every step down (in a tree the two distances are one).

`skinrl.taxonomy.similarity` builds on them for several golds and for options. Pure Python, no torch. Deterministic in
every process and under every hash seed.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skinrl.errors import TaxonomyError

if TYPE_CHECKING:
    from skinrl.taxonomy.graph import Taxonomy

MALIGNANT_SIDE = frozenset({"precancerous or in situ", "malignant"})
BENIGN_SIDE = frozenset({"non-neoplastic", "benign"})
RELATIONS = ("exact", "below", "ancestor", "related", "opposite", "unrelated", "none")


def side_of(behaviour: str | None) -> str | None:
    """``"malignant"`` for malignant, precancerous and in situ; ``"benign"`` for benign and non-neoplastic; `None`."""
    if behaviour in MALIGNANT_SIDE:
        return "malignant"
    return "benign" if behaviour in BENIGN_SIDE else None


def side(taxonomy: Taxonomy, node: str) -> str | None:
    """``"malignant"`` or ``"benign"`` where every leaf at or below the node is on that side, else `None`.

    Precancerous and in situ count as malignant, non-neoplastic as benign. A leaf that is uncertain or has no
    behaviour, or leaves on both sides, give `None`: the node takes no part in the behaviour rule.

    Every behaviour that the taxonomy states counts here, reviewed or not, as every parent does: the tree and the
    behaviour of its leaves are the measuring stick, and the rule takes credit away and never pays any.
    """
    sides = {side_of(taxonomy.node(leaf).behaviour) for leaf in taxonomy.leaves_below(node)}
    return sides.pop() if len(sides) == 1 else None


def opposite(taxonomy: Taxonomy, answer: str, gold: str) -> bool:
    """Whether one of the two is malignant and the other benign; never where either is mixed or uncertain."""
    sides = structure(taxonomy).sides
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


# --- the measures: credit of one answer for one gold ---------------------------------------------------------------


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
    sides = structure(taxonomy).sides
    ours, theirs = sides[answer], sides[gold]
    if ours != theirs and ours is not None and theirs is not None:  # `opposite`, without the call
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
    tree = structure(taxonomy)
    shared = tree.deepest_common(taxonomy, answer, gold)
    return shared / tree.depths[gold] if shared else 0.0


def wu_palmer(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """``2 depth(deepest common ancestor) / (depth(answer) + depth(gold))``; 1 is the maximum, at the gold alone.

    The root has depth 0 here, so that two diseases with nothing but the root in common earn 0. An answer below the
    gold earns less than 1.

    Source: Wu and Palmer, "Verb semantics and lexical selection", ACL 1994.
    """
    tree = structure(taxonomy)
    shared = tree.deepest_common(taxonomy, answer, gold)
    return 2.0 * shared / (tree.depths[answer] + tree.depths[gold]) if shared else 0.0


def information_content(taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
    """Lin's measure, ``2 IC(c) / (IC(answer) + IC(gold))``, c the common ancestor with the most content.

    ``IC(x) = -log(leaves at or below x / all leaves)``: content from the structure; `information_content_of` takes it
    from a dataset's own frequencies. 1 is the maximum; beside the gold, a node with exactly the gold's leaves (an only
    child's parent) reaches it too.

    Source: Lin, "An information-theoretic definition of similarity", ICML 1998; IC after Resnik, IJCAI 1995.
    """
    return _lin(taxonomy, structure(taxonomy).content, answer, gold)


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


@dataclass(frozen=True, eq=False)
class Measure:
    """A form of credit.

    Args:
        name: key in `MEASURES`.
        credit: ``(taxonomy, answer, gold, offered) -> float``.
        maximum: what the gold earns.
        normalised: whether an expected credit is divided by the best attainable one. Published forms keep their own
            numbers and are not.
        climbs: whether a node never earns more than a parent that has all ancestors that the node shares with the
            gold, unless the node is the gold or above it; then the best answer is sought in few places.
    """

    name: str
    credit: Callable[[Taxonomy, str, str, Sequence[str]], float]
    maximum: float = 1.0
    normalised: bool = False
    climbs: bool = False


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("default", credit, normalised=True, climbs=True),
        Measure("exact", exact, normalised=True, climbs=True),
        Measure("skin_r1_paper", skin_r1_paper, maximum=0.75),
        Measure("skin_r1_code", skin_r1_code, maximum=0.75),
        Measure("common_ancestor_depth", common_ancestor_depth),
        Measure("wu_palmer", wu_palmer),
        Measure("information_content", information_content),
        Measure("level_gated", level_gated),
    )
}


def information_content_of(taxonomy: Taxonomy, frequencies: Mapping[str, float]) -> Measure:
    """`information_content` with the content of a corpus: how often a dataset gives each label.

    ``IC(x) = -log(mass(x) / mass(root))``, and ``mass(x)`` is the frequencies at or below x plus one for each leaf
    there, so that a disease that the dataset lacks has a content too; without any frequency it is the form from the
    structure. A node with several parents counts once in each ancestor.

    Args:
        frequencies: node id to a count or a share of cases, at any depth; counts weigh more against the one for each
            leaf than shares do.

    Raises:
        TaxonomyError: an id that the taxonomy does not have, or a frequency that is negative or no number.

    Source: Resnik, IJCAI 1995, and Lin, ICML 1998, whose content comes from a corpus.
    """
    mass = {node: float(len(taxonomy.leaves_below(node))) for node in taxonomy.ids}
    for node in sorted(frequencies):
        count = frequencies[node]
        if not 0 <= count < math.inf:
            raise TaxonomyError(f"the frequency of {node!r} is {count!r}; expected a number of 0 or more")
        for above in {*taxonomy.ancestors(node), taxonomy.root}:
            mass[above] += count
    content = {node: math.log(mass[taxonomy.root] / mass[node]) for node in taxonomy.ids}
    return Measure("information_content", _Lin(content))


@dataclass(frozen=True)
class _Lin:
    # A class and not a closure, so that a reward that holds it can be pickled.
    content: Mapping[str, float]

    def __call__(self, taxonomy: Taxonomy, answer: str, gold: str, offered: Sequence[str] = ()) -> float:
        return _lin(taxonomy, self.content, answer, gold)


def _lin(taxonomy: Taxonomy, content: Mapping[str, float], answer: str, gold: str) -> float:
    if answer == gold:
        return 1.0
    total = content[answer] + content[gold]
    common = taxonomy.ancestors(answer) & taxonomy.ancestors(gold)
    return 2.0 * max((content[node] for node in common), default=0.0) / total if total else 0.0


# --- what the measures ask of one taxonomy again and again ---------------------------------------------------------


@dataclass(frozen=True)
class Structure:
    """Side, depth (the longest way from the root) and information content of every node."""

    sides: Mapping[str, str | None]
    depths: Mapping[str, int]
    content: Mapping[str, float]

    def deepest_common(self, taxonomy: Taxonomy, a: str, b: str) -> int:
        """Depth of the deepest common ancestor; 0 where only the root is shared."""
        return max((self.depths[node] for node in taxonomy.ancestors(a) & taxonomy.ancestors(b)), default=0)


_STRUCTURES: dict[int, Structure] = {}  # by identity: a weak dictionary would cost as much as a credit


def structure(taxonomy: Taxonomy) -> Structure:
    """The tables of a taxonomy, made once and dropped with it."""
    found = _STRUCTURES.get(id(taxonomy))
    if found is None:
        depths: dict[str, int] = {taxonomy.root: 0}
        # an ancestor set strictly contains those of all nodes above, so its size is an order from the top down
        for node in sorted(taxonomy.ids, key=lambda id: (len(taxonomy.ancestors(id)), id)):
            if node != taxonomy.root:
                depths[node] = 1 + max(depths[parent] for parent in taxonomy.parents(node))
        content = {node: math.log(len(taxonomy.leaves) / len(taxonomy.leaves_below(node))) for node in taxonomy.ids}
        found = Structure({node: side(taxonomy, node) for node in taxonomy.ids}, depths, content)
        _STRUCTURES[id(taxonomy)] = found
        weakref.finalize(taxonomy, _STRUCTURES.pop, id(taxonomy), None)
    return found
