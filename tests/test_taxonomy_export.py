"""GraphML, OBO and JSON: read back by other readers, nothing is lost."""

from __future__ import annotations

import json
import re

import networkx
import pytest
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.taxonomy.export import to_graphml, to_json, to_obo


def test_graphml_holds_the_tree_and_the_neighbours(taxonomy):
    graph = networkx.parse_graphml(to_graphml(taxonomy), force_multigraph=True)
    tree = networkx.DiGraph((a, b) for a, b, data in graph.edges(data=True) if data["relation"] == "is_a")
    assert set(tree.edges) == set(taxonomy.graph.edges)
    neighbours = {(a, b) for a, b, data in graph.edges(data=True) if data["relation"] == "differential"}
    assert neighbours == {(id, other.node) for id in taxonomy.ids for other in taxonomy.node(id).differential}
    assert graph.nodes["melanoma"]["behaviour"] == "malignant"
    assert graph.nodes["melanoma"]["label"] == taxonomy.node("melanoma").name


def obo_terms(text: str) -> dict[str, dict[str, list[str]]]:
    """A reader of OBO stanzas as its specification has them: tag, colon, value, one a line."""
    terms: dict[str, dict[str, list[str]]] = {}
    for stanza in text.split("\n\n"):
        head, *lines = stanza.splitlines()
        if head == "[Term]":
            fields: dict[str, list[str]] = {}
            for line in lines:
                tag, value = line.split(": ", 1)
                fields.setdefault(tag, []).append(value)
            terms[fields["id"][0]] = fields
    return terms


def test_obo_holds_every_name_edge_and_code(taxonomy):
    terms = obo_terms(to_obo(taxonomy))
    assert len(terms) == len(taxonomy)
    for id in taxonomy.ids:
        node, term = taxonomy.node(id), terms[f"SKINRL:{id}"]
        assert tuple(line.split(" ! ")[0].removeprefix("SKINRL:") for line in term.get("is_a", ())) == node.parents
        quoted = [re.match(r'"((?:[^"\\]|\\.)*)" EXACT \[\]$', line) for line in term.get("synonym", ())]
        assert all(quoted), id
        assert tuple(re.sub(r"\\(.)", r"\1", match[1]) for match in quoted if match) == node.synonyms
        assert term.get("xref", []) == list(node.codes.values())


def test_json_holds_who_states_each_fact_and_where(taxonomy):
    found = json.loads(to_json(taxonomy))
    nodes = {node["id"]: node for node in found["nodes"]}
    assert set(nodes) == set(taxonomy.ids)
    for id in taxonomy.ids:
        node = taxonomy.node(id)
        assert tuple(nodes[id]["synonyms"]) == node.synonyms
        for fact, keys in node.sources.items():
            assert [mark["source"] for mark in nodes[id]["marks"][fact]] == list(keys)
    edge = nodes["contact_dermatitis"]["marks"]["parents.eczema"]
    assert {"source": "mesh", "place": "MESH:D003877"} in edge
    assert set(found["sources"]) == set(taxonomy.sources)


@pytest.mark.parametrize("form", ["graphml", "obo", "json"])
def test_the_command_writes_a_file(tmp_path, form):
    target = tmp_path / f"taxonomy.{form}"
    result = CliRunner().invoke(app, ["taxonomy", "export", "--format", form, "-o", str(target)])
    assert result.exit_code == 0, result.output
    assert "melanoma" in target.read_text(encoding="utf-8")


def test_an_unknown_form_is_refused_with_the_known_ones():
    result = CliRunner().invoke(app, ["taxonomy", "export", "--format", "owl"])
    assert "expected one of: graphml, obo, json" in str(result.exception)
