"""Every marked fact of the shipped taxonomy against the place in the source that its mark names."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from skinrl.taxonomy import Taxonomy, load_label_map
from skinrl.taxonomy.text import normalise, tokens

# The standard term on the left stands for the plain word on the right in the source.
PARAPHRASES = {
    "comedo": "blackheads",
    "fine scale": "scaly",
    "papule": "bumps pimple-like",
    "pink": "pale red",
    "pustule": "pus-filled",
    "red": "erythematous",
    "scale": "scaly",
    "telangiectasia": "red lines under the skin",
    "tense blister": "blisters that do not break easily",
    "ulcer": "sore",
    "vesicle": "blisters",
    "violet": "purplish purple",
    "weeping": "weepy",
    "wheal": "raised itchy bumps hives",
}


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def ontology(shared_data) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_jsonl(shared_data / "disease_ontology" / "do_skin_subset.jsonl")}


@pytest.fixture(scope="module")
def mesh(shared_data) -> dict[str, tuple[str, list[str]]]:
    found: dict[str, tuple[str, list[str]]] = {}
    with (shared_data / "mesh_skin" / "mesh_skin_tree.tsv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            found.setdefault(row["mesh_id"], (row["mesh_name"], []))[1].append(row["tree_number"])
    return found


def names_of(taxonomy: Taxonomy, id: str) -> set[str]:
    node = taxonomy.node(id)
    return {normalise(name) for name in (node.name, *node.synonyms)}


def above(ontology: dict[str, dict[str, Any]], doid: str) -> set[str]:
    found: set[str] = set()
    queue = [doid]
    while queue:
        for parent in ontology[queue.pop()]["parent_ids"]:
            if parent in ontology and parent not in found:
                found.add(parent)
                queue.append(parent)
    return found


def marked(taxonomy: Taxonomy, kind: str, source: str) -> list[tuple[str, str]]:
    """Pairs of node and fact of a kind that name a source."""
    return [
        (id, fact.removeprefix(kind))
        for id in taxonomy.ids
        for fact, keys in taxonomy.node(id).sources.items()
        if fact.startswith(kind) and source in keys
    ]


def test_every_doid_exists_under_a_name_that_the_node_has(taxonomy, ontology):
    for id in taxonomy.ids:
        code = taxonomy.node(id).codes.get("DOID")
        if code:
            assert normalise(ontology[code]["name"]) in names_of(taxonomy, id), id


def test_every_mesh_code_exists_under_a_heading_that_the_node_has(taxonomy, mesh):
    for id in taxonomy.ids:
        code = taxonomy.node(id).codes.get("MESH")
        if code:
            heading = mesh[code.removeprefix("MESH:")][0]
            turned = " ".join(reversed([part.strip() for part in heading.split(",")]))
            assert {normalise(heading), normalise(turned)} & names_of(taxonomy, id), (id, heading)


def test_edges_marked_with_the_disease_ontology_are_in_it(taxonomy, ontology):
    edges = marked(taxonomy, "parents.", "do")
    assert len(edges) > 50
    for id, parent in edges:
        assert taxonomy.node(parent).codes["DOID"] in above(ontology, taxonomy.node(id).codes["DOID"]), (id, parent)


def test_edges_marked_with_mesh_are_in_its_trees(taxonomy, mesh):
    edges = marked(taxonomy, "parents.", "mesh")
    assert len(edges) > 50
    for id, parent in edges:
        ours = mesh[taxonomy.node(id).codes["MESH"].removeprefix("MESH:")][1]
        theirs = mesh[taxonomy.node(parent).codes["MESH"].removeprefix("MESH:")][1]
        assert any(one.startswith(f"{other}.") for one in ours for other in theirs), (id, parent)


def test_synonyms_marked_with_the_disease_ontology_are_in_it(taxonomy, ontology):
    for id, synonym in marked(taxonomy, "synonyms.", "do"):
        row = ontology[taxonomy.node(id).codes["DOID"]]
        names = {normalise(name.split(" (")[0]) for name in (row["name"], *(row["synonyms"] or ()))}
        names |= {normalise(name) for name in row["synonyms"] or ()}
        assert normalise(synonym) in names, (id, synonym)


def test_behaviours_marked_with_the_disease_ontology_follow_from_it(taxonomy, ontology):
    roots = {"malignant": {"DOID:162"}, "benign": {"DOID:3165", "DOID:0060072"}}
    facts = marked(taxonomy, "behaviour", "do")
    assert len(facts) > 40
    for id, _ in facts:
        code = taxonomy.node(id).codes["DOID"]
        assert roots[taxonomy.node(id).behaviour] & above(ontology, code), id


def test_behaviours_marked_with_a_dataset_are_the_datasets(taxonomy, shared_data):
    stated: dict[str, set[tuple[str, str]]] = defaultdict(set)
    lists = (
        ("fitzpatrick17k", "label_lists/fitzpatrick17k_3_9_114.csv", "label", "three_partition_label"),
        ("derm12345", "derm12345_taxonomy/taxonomy.csv", "code", "super_class"),
    )
    for dataset, file, key, column in lists:
        labels = load_label_map(dataset, taxonomy)
        with (shared_data / file).open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                ((node, _),) = labels.map(row[key])
                stated[dataset].add((node, row[column].split()[-1].lower()))
        facts = marked(taxonomy, "behaviour", dataset)
        assert facts
        assert {(id, taxonomy.node(id).behaviour) for id, _ in facts} <= stated[dataset]


@pytest.fixture(scope="module")
def passages(shared_data, ontology, mesh) -> Passages:
    documents = {row["doc"]: row for row in read_jsonl(shared_data / "medquad_skin" / "medquad_skin.jsonl")}
    files = {path.name: path.read_text(encoding="utf-8") for path in (shared_data / "openstax_skin").glob("*.md")}
    return Passages(documents, files, ontology, mesh)


class Passages:
    """The text that a mark points to."""

    def __init__(
        self,
        documents: dict[str, Any],
        files: dict[str, str],
        ontology: dict[str, dict[str, Any]],
        mesh: dict[str, tuple[str, list[str]]],
    ) -> None:
        self.documents, self.files, self.ontology, self.mesh = documents, files, ontology, mesh

    def at(self, key: str, place: str) -> str | None:
        """The normalised passage; `None` for a source that is no text here. Empty where there is no such place."""
        if key == "medquad":
            row = self.documents.get(place, {"focus": "", "synonyms": [], "qa": []})
            return normalise(" ".join([row["focus"], *(row["synonyms"] or ()), *(qa["answer"] for qa in row["qa"])]))
        if key == "openstax":
            name, _, line = place.partition(":")
            text = self.files.get(name, "")
            if line:  # a paragraph is a line; a list item's heading may stand just above it
                text = "\n".join(text.splitlines()[max(0, int(line) - 3) : int(line) + 2])
            return normalise(text)
        if key == "do":
            row = self.ontology.get(place, {"name": "", "synonyms": [], "definition": ""})
            return normalise(" ".join([row["name"], *(row["synonyms"] or ()), row["definition"] or ""]))
        if key == "mesh":
            return normalise(self.mesh.get(place.removeprefix("MESH:"), ("", []))[0])
        return None


def cited(taxonomy: Taxonomy, kind: str) -> list[tuple[str, str, str, str]]:
    """Node, fact, source key and place of every mark on facts of a kind."""
    return [
        (id, fact.removeprefix(kind), key, place)
        for id in taxonomy.ids
        for fact, keys in taxonomy.node(id).sources.items()
        if fact.startswith(kind)
        for key, place in zip(keys, taxonomy.node(id).locators[fact], strict=True)
    ]


def test_morphology_marked_with_a_text_is_in_that_passage(taxonomy, passages):
    """By word, the standard term or the plain one: a guard against wrong marks, not a proof of right ones."""
    missing = []
    marks = cited(taxonomy, "morphology.")
    for id, fact, key, place in marks:
        text = passages.at(key, place)
        value = fact.split(".", 1)[1]
        words = [word for word in tokens(f"{value} {PARAPHRASES.get(value, '')}") if len(word) > 2]
        if text is not None and not any(word[:5] in text for word in words):
            missing.append((id, fact, key, place))
    assert missing == []
    assert len(marks) > 100


def test_synonyms_marked_with_a_text_are_in_that_passage(taxonomy, passages):
    missing = []
    for id, synonym, key, place in cited(taxonomy, "synonyms."):
        text = passages.at(key, place) if key in ("medquad", "openstax") else None
        if text is not None and normalise(synonym) not in text:
            missing.append((id, synonym, key, place))
    assert missing == []


def test_neighbours_marked_with_a_text_are_named_in_that_passage(taxonomy, passages):
    missing = []
    for id, other, key, place in cited(taxonomy, "differential."):
        text = passages.at(key, place)
        names = {normalise(name) for x in (other, *taxonomy.ancestors(other)) for name in names_of(taxonomy, x)}
        if text is not None and not any(name in text for name in names):
            missing.append((id, other, key, place))
    assert missing == []
