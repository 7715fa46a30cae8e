"""What rewards may take from the taxonomy: by default only what a reviewed source states."""

from __future__ import annotations

from collections.abc import Mapping

from skinrl.taxonomy.graph import Taxonomy


def is_reviewed(taxonomy: Taxonomy, node: str, fact: str) -> bool:
    """Whether one of the sources of a fact is reviewed, as the taxonomy's table of sources says.

    Args:
        fact: as in `skinrl.taxonomy.Node.sources`: ``behaviour``, ``differential.psoriasis``,
            ``morphology.colour.red``. A fact without a source is not reviewed.
    """
    keys = taxonomy.node(node).sources.get(fact, ())
    return any(taxonomy.sources.get(key, {}).get("reviewed") is True for key in keys)


def differential_edges(taxonomy: Taxonomy, *, unreviewed: bool = False) -> Mapping[str, frozenset[str]]:
    """Node to the ends of its edges of differential diagnosis, in either direction.

    Args:
        unreviewed: take editorial edges too.
    """
    ends: dict[str, set[str]] = {}
    for id in taxonomy.ids:
        for edge in taxonomy.node(id).differential:
            if unreviewed or is_reviewed(taxonomy, id, f"differential.{edge.node}"):
                ends.setdefault(id, set()).add(edge.node)
                ends.setdefault(edge.node, set()).add(id)
    return {id: frozenset(found) for id, found in ends.items()}


def neighbours(taxonomy: Taxonomy, node: str, edges: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Diseases that are mistaken for a node, by an edge at it, above it or below it.

    What is said of a disease holds for its kinds, and what is said of one of its kinds makes it a neighbour of the
    whole. The node's own ancestors and descendants are no neighbours.

    Args:
        edges: of `differential_edges`.
    """
    line = taxonomy.ancestors(node) | taxonomy.descendants(node)
    none = frozenset[str]()
    return none.union(*(edges.get(id, none) for id in line)) - line
