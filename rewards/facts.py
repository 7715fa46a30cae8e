"""What rewards may take from the taxonomy: by default only what a reviewed source states."""

from __future__ import annotations

from skinrl.taxonomy.graph import Taxonomy


def is_reviewed(taxonomy: Taxonomy, node: str, fact: str) -> bool:
    """Whether one of the sources of a fact is reviewed, as the taxonomy's table of sources says.

    Args:
        fact: as in `skinrl.taxonomy.Node.sources`: ``behaviour``, ``differential.psoriasis``,
            ``morphology.colour.red``. A fact without a source is not reviewed.
    """
    keys = taxonomy.node(node).sources.get(fact, ())
    return any(taxonomy.sources.get(key, {}).get("reviewed") is True for key in keys)


def neighbours(taxonomy: Taxonomy, node: str, *, unreviewed: bool = False) -> frozenset[str]:
    """Diseases that are mistaken for a node: by an edge at it, above it or below it, in either direction.

    What is said of a disease holds for its kinds, and what is said of one of its kinds makes it a neighbour of the
    whole. The node's own ancestors and descendants are no neighbours.

    Args:
        unreviewed: take editorial edges too.
    """
    line = taxonomy.ancestors(node) | taxonomy.descendants(node)
    found = set[str]()
    for id in taxonomy.ids:
        for edge in taxonomy.node(id).differential:
            ends = ((id, edge.node), (edge.node, id))
            others = [other for end, other in ends if end in line and other not in line]
            if others and (unreviewed or is_reviewed(taxonomy, id, f"differential.{edge.node}")):
                found.update(others)
    return frozenset(found)
