"""What ``skinrl taxonomy check`` counts and ``skinrl taxonomy show`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skinrl.taxonomy.graph import Node, Taxonomy

_FACTS = ("parents.", "behaviour", "synonyms.", "morphology.", "differential.")


def check(taxonomy: Taxonomy, places: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
    """Counts of a taxonomy, and what a person should look at.

    ``facts_unreviewed`` counts parents, behaviours, synonyms, morphology values and differential neighbours none of
    whose sources is reviewed, ``_sourced`` those with one that is. ``faults`` lists
    what loads but is wrong: a parent that another parent implies, a differential between a disease and a kind of it, a
    fact marked with a source of many pages without the place in it. What cannot load never gets here: the loader
    raises. ``places`` (see :func:`~skinrl.taxonomy.loader.load_with_places`) gives the faults their file and line.
    """
    nodes = [taxonomy.node(id) for id in taxonomy.ids]
    facts = [(fact, _sourced(taxonomy, keys)) for node in nodes for fact, keys in node.sources.items()]
    morphology = {
        node.id: any(_sourced(taxonomy, node.sources[fact]) for fact in node.sources if fact.startswith("morphology."))
        for node in nodes
    }
    return {
        "name": taxonomy.name,
        "checksum": taxonomy.checksum,
        "nodes": len(nodes),
        "leaves": len(taxonomy.leaves),
        "classes": len(taxonomy.classes),
        "levels": max(taxonomy.level(id) for id in taxonomy.ids),
        "several_parents": sum(len(node.parents) > 1 for node in nodes),
        "synonyms": sum(len(node.synonyms) for node in nodes),
        "synonyms_sourced": sum(reviewed for fact, reviewed in facts if fact.startswith("synonyms.")),
        "codes": sum(len(node.codes) for node in nodes),
        "differential_edges": sum(len(node.differential) for node in nodes),
        "differential_edges_sourced": sum(
            _sourced(taxonomy, other.source.split()) for node in nodes for other in node.differential
        ),
        "with_morphology": sum(bool(node.morphology) for node in nodes),
        "with_morphology_sourced": sum(morphology.values()),
        "leaves_without_behaviour": sum(taxonomy.behaviour(id) is None for id in taxonomy.leaves),
        "facts": sum(fact.startswith(_FACTS) for fact, _ in facts),
        "facts_unreviewed": sum(not reviewed for fact, reviewed in facts if fact.startswith(_FACTS)),
        "faults": [
            f"{(places or {}).get(id, {}).get(fact, 'taxonomy')}: {fault}" for id, fact, fault in _faults(taxonomy)
        ],
    }


def _sourced(taxonomy: Taxonomy, keys: Sequence[str]) -> bool:
    return any(taxonomy.sources.get(key, {}).get("reviewed") for key in keys)


def _faults(taxonomy: Taxonomy) -> Iterator[tuple[str, str, str]]:
    """Node, its fact, and what is wrong with it."""
    for id in taxonomy.ids:
        node = taxonomy.node(id)
        for parent in node.parents:
            others = [other for other in node.parents if other != parent]
            if any(taxonomy.is_ancestor(parent, other) for other in others):
                yield (
                    id,
                    f"parents.{parent}",
                    f"{id}: the parent {parent} is also an ancestor of another of its parents",
                )
        for fact, keys in node.sources.items():
            for key, place in zip(keys, node.locators[fact], strict=True):
                if not place and "place" in taxonomy.sources.get(key, {}):
                    wanted = taxonomy.sources[key]["place"]
                    yield id, fact, f"{id}: {fact} is marked @{key} without the place in it ({wanted})"
        for other in node.differential:
            if taxonomy.is_ancestor(id, other.node) or taxonomy.is_ancestor(other.node, id):
                fault = f"{id}: its differential names {other.node}, and one is a kind of the other"
                yield id, f"differential.{other.node}", fault


def show(taxonomy: Taxonomy, node: str | None = None, depth: int | None = None) -> str:
    """A readable tree from ``node`` (default: the root) down, ``depth`` levels deep (default: all).

    A node with several parents stands under each; a trailing ``(+ ...)`` names its other parents.

    Raises:
        TaxonomyError: no such node.
    """
    lines: list[str] = []
    start = taxonomy.node(taxonomy.root if node is None else node).id
    _branch(taxonomy, start, None, 0, depth, lines)
    return "\n".join(lines)


def _branch(taxonomy: Taxonomy, id: str, above: str | None, level: int, depth: int | None, lines: list[str]) -> None:
    children = taxonomy.children(id)
    lines.append("  " * level + _line(taxonomy, id, above))
    if depth is not None and level >= depth:
        if children:
            lines[-1] += f"  ... {len(taxonomy.leaves_below(id))} leaves"
        return
    for child in children:
        _branch(taxonomy, child, id, level + 1, depth, lines)


def _line(taxonomy: Taxonomy, id: str, above: str | None) -> str:
    others = [parent for parent in taxonomy.parents(id) if above is not None and parent != above]
    behaviour = taxonomy.behaviour(id)
    also = f"  (+ {', '.join(others)})" if others else ""
    return f"{id}  [{behaviour or 'mixed'}]{also}"


def describe(taxonomy: Taxonomy, id: str) -> str:
    """Everything that is known of one node, with the sources, as text for a person."""
    node = taxonomy.node(id)
    rows = [f"{node.name}  ({node.id})", f"  path: {' > '.join(taxonomy.path(id)) or '(root)'}"]
    if len(node.parents) > 1:
        rows.append(f"  parents: {', '.join(node.parents)}")
    stated = node.sources.get("behaviour")
    behaviour = taxonomy.behaviour(id) or f"mixed: {', '.join(taxonomy.behaviours(id))}"
    rows.append(f"  behaviour: {behaviour}" + (f"  [{' '.join(stated)}]" if stated else ""))
    if node.synonyms:
        rows.append(f"  synonyms: {', '.join(node.synonyms)}")
    if node.codes:
        rows.append(f"  codes: {', '.join(node.codes.values())}")
    if node.note:
        rows.append(f"  note: {node.note}")
    for key, values in node.morphology.items():
        marked = (f"{value} [{' '.join(node.sources.get(f'morphology.{key}.{value}', ()))}]" for value in values)
        rows.append(f"  typical {key.replace('_', ' ')}: {', '.join(marked)}")
    for other in node.differential:
        if other.why:
            rows.append(f"  not to be confused with {taxonomy.node(other.node).name}: {other.why}  [{other.source}]")
    counted = [other for other in node.differential if not other.why]
    if counted:
        marked = (f"{taxonomy.node(o.node).name} [{_marks(node, f'differential.{o.node}')}]" for o in counted)
        rows.append(f"  also in its differential: {', '.join(marked)}")
    return "\n".join(rows)


def _marks(node: Node, fact: str) -> str:
    """The sources of a fact with the places in them: ``scin:17``."""
    pairs = zip(node.sources.get(fact, ()), node.locators.get(fact, ()), strict=True)
    return " ".join(f"{key}:{place}" if place else key for key, place in pairs)
