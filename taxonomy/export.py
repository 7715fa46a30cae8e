"""The taxonomy in forms that other programs read: GraphML, OBO (Protégé), JSON."""

from __future__ import annotations

import io
import json
from typing import Any

from skinrl.taxonomy.graph import Node, Taxonomy

FORMATS = ("graphml", "obo", "json")


def export(taxonomy: Taxonomy, form: str) -> str:
    """The whole taxonomy as text in one of `FORMATS`."""
    return {"graphml": to_graphml, "obo": to_obo, "json": to_json}[form](taxonomy)


def to_json(taxonomy: Taxonomy) -> str:
    """Everything: each node with all its facts, and for each fact who states it and where."""
    nodes = []
    for id in taxonomy.ids:
        node = taxonomy.node(id)
        marks = {
            fact: [
                {"source": key, "place": place} for key, place in zip(keys, node.locators.get(fact, ()), strict=False)
            ]
            for fact, keys in node.sources.items()
        }
        rest = {"level": taxonomy.level(id), "inherited_behaviour": taxonomy.behaviour(id), "marks": marks}
        nodes.append(node.facts() | rest)
    sources = {key: dict(row) for key, row in taxonomy.sources.items()}
    head = {"name": taxonomy.name, "checksum": taxonomy.checksum, "root": taxonomy.root, "sources": sources}
    return json.dumps(head | {"nodes": nodes}, indent=1, ensure_ascii=False) + "\n"


def to_graphml(taxonomy: Taxonomy) -> str:
    """Edges from parent to child (``relation=is_a``) and between neighbours (``relation=differential``).

    GraphML attributes are single values: lists are joined by ``"; "``.
    """
    import networkx

    graph: networkx.MultiDiGraph[str] = networkx.MultiDiGraph(name=taxonomy.name, checksum=taxonomy.checksum)
    for id in taxonomy.ids:
        graph.add_node(id, **_attributes(taxonomy, taxonomy.node(id)))
    for id in taxonomy.ids:
        node = taxonomy.node(id)
        for parent in node.parents:
            graph.add_edge(parent, id, relation="is_a", source="; ".join(node.sources.get(f"parents.{parent}", ())))
        for other in node.differential:
            graph.add_edge(id, other.node, relation="differential", why=other.why, source=other.source)
    stream = io.BytesIO()
    networkx.write_graphml_xml(graph, stream)
    return stream.getvalue().decode()


def _attributes(taxonomy: Taxonomy, node: Node) -> dict[str, Any]:
    morphology = {f"morphology_{key}": "; ".join(values) for key, values in node.morphology.items()}
    return {
        "label": node.name,
        "level": taxonomy.level(node.id),
        "behaviour": taxonomy.behaviour(node.id) or "mixed",
        "synonyms": "; ".join(node.synonyms),
        "codes": "; ".join(node.codes.values()),
        **morphology,
    }


def to_obo(taxonomy: Taxonomy) -> str:
    """OBO 1.4 flat file. Behaviour and morphology are ``property_value`` lines, neighbours a ``relationship``."""
    head = [
        "format-version: 1.4",
        f"ontology: {taxonomy.name}",
        f"data-version: {taxonomy.checksum[:12]}",
        "remark: research data, not medical advice",
    ]
    relation = [
        "[Typedef]",
        "id: differential_diagnosis",
        "name: differential diagnosis",
        "def: \"A disease that this one is mistaken for.\" []",
    ]  # fmt: skip
    terms = ["\n".join(_obo_term(taxonomy, taxonomy.node(id))) for id in taxonomy.ids]
    return "\n\n".join(["\n".join(head), *terms, "\n".join(relation)]) + "\n"


def _obo_term(taxonomy: Taxonomy, node: Node) -> list[str]:
    lines = ["[Term]", f"id: SKINRL:{node.id}", f"name: {_bare(node.name)}"]
    if node.note:
        lines.append(f"comment: {_bare(node.note)}")
    lines += [f'synonym: "{_quoted(synonym)}" EXACT []' for synonym in node.synonyms]
    lines += [f"xref: {code}" for code in node.codes.values()]
    lines += [f'property_value: behaviour "{taxonomy.behaviour(node.id) or "mixed"}" xsd:string']
    for key, values in node.morphology.items():
        lines += [f'property_value: typical_{key} "{_quoted(value)}" xsd:string' for value in values]
    lines += [f"is_a: SKINRL:{parent} ! {_bare(taxonomy.node(parent).name)}" for parent in node.parents]
    lines += [f"relationship: differential_diagnosis SKINRL:{other.node}" for other in node.differential]
    return lines


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _bare(text: str) -> str:
    """OBO gives these a meaning outside of quotes."""
    for mark in "\\!{}":
        text = text.replace(mark, "\\" + mark)
    return text
