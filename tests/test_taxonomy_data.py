"""The shipped tree: what it must hold, and that every marked fact really stands in the source that it names."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from skinrl.taxonomy import BEHAVIOURS, MORPHOLOGY_KEYS, Taxonomy, load_label_map
from skinrl.taxonomy.check import check, describe, show
from skinrl.taxonomy.text import normalise, tokens

NEED_MORPHOLOGY = [
    "psoriasis",
    "atopic_dermatitis",
    "allergic_contact_dermatitis",
    "nummular_eczema",
    "seborrheic_dermatitis",
    "lichen_planus",
    "pityriasis_rosea",
    "tinea_corporis",
    "tinea_versicolor",
    "impetigo",
    "folliculitis",
    "venous_lake",
    "verruca_vulgaris",
    "molluscum_contagiosum",
    "herpes_simplex",
    "herpes_zoster",
    "scabies",
    "acne_vulgaris",
    "rosacea",
    "vitiligo",
    "melasma",
    "urticaria",
    "granuloma_annulare",
    "bullous_pemphigoid",
    "discoid_lupus_erythematosus",
    "melanoma",
    "melanocytic_nevus",
    "dysplastic_nevus",
    "blue_nevus",
    "seborrheic_keratosis",
    "actinic_keratosis",
    "basal_cell_carcinoma",
    "squamous_cell_carcinoma",
    "bowen_disease",
    "dermatofibroma",
    "cherry_angioma",
    "pyogenic_granuloma",
    "solar_lentigo",
    "keratoacanthoma",
    "mycosis_fungoides",
    "kaposi_sarcoma",
]
# The standard term on the left stands for the plain word on the right in the source.
PARAPHRASES = {
    "comedo": "blackheads",
    "fine scale": "scaly",
    "papule": "bumps pimple-like",
    "pink": "pale red",
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
# MedQuAD documents that also tell of a disease which is not in their title.
ALSO_ABOUT = {
    "Skin Cancer": ("basal_cell_carcinoma", "squamous_cell_carcinoma"),
    "Pemphigus": ("bullous_pemphigoid",),
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


def test_the_tree_is_deep_wide_and_without_faults(taxonomy):
    found = check(taxonomy)
    assert found["nodes"] >= 700
    assert found["leaves"] >= 550
    assert found["classes"] >= 10
    assert found["leaves_without_behaviour"] == 0
    assert found["faults"] == []
    assert found["with_morphology"] >= 40
    assert found["differential_edges"] >= 150
    assert found["facts_unreviewed"] > 0
    assert all(taxonomy.level(leaf) >= 2 for leaf in taxonomy.leaves)
    assert sum(taxonomy.level(leaf) >= 3 for leaf in taxonomy.leaves) > 0.7 * len(taxonomy.leaves)


def test_check_has_the_documented_keys(taxonomy):
    keys = "nodes leaves synonyms differential_edges with_morphology leaves_without_behaviour facts_unreviewed faults"
    assert set(keys.split()) <= set(check(taxonomy))
    json.dumps(check(taxonomy))


@pytest.mark.parametrize(
    ("node", "behaviour"),
    [
        ("melanoma", "malignant"),
        ("lentigo_maligna", "precancerous or in situ"),
        ("melanoma_in_situ", "precancerous or in situ"),
        ("bowen_disease", "precancerous or in situ"),
        ("actinic_keratosis", "precancerous or in situ"),
        ("dysplastic_nevus", "benign"),
        ("melanocytic_nevus", "benign"),
        ("keratoacanthoma", "uncertain"),
        ("cutaneous_horn", "uncertain"),
        ("basal_cell_carcinoma", "malignant"),
        ("seborrheic_keratosis", "benign"),
        ("psoriasis", "non-neoplastic"),
        ("melanocytic_neoplasm", None),
        ("keratinocytic_neoplasm", None),
        ("skin_disease", None),
    ],
)
def test_behaviour_of_the_tricky_ones(taxonomy, node, behaviour):
    assert taxonomy.behaviour(node) == behaviour


def test_a_malignant_disease_never_stands_below_a_class_of_benign_or_harmless_ones(taxonomy):
    """Melanoma and naevus share a parent, never a behaviour; so no class mixes them below its second level."""
    for id in taxonomy.ids:
        behaviours = set(taxonomy.behaviours(id))
        harmless = behaviours & {"benign", "non-neoplastic"}
        if harmless and behaviours & {"malignant", "precancerous or in situ"}:
            assert taxonomy.level(id) <= 2, id


@pytest.mark.parametrize("id", NEED_MORPHOLOGY)
def test_the_common_diseases_have_a_full_morphology_and_three_neighbours(taxonomy, id):
    node = taxonomy.node(id)
    assert set(node.morphology) == set(MORPHOLOGY_KEYS)
    assert all(node.morphology.values())
    assert len(node.differential) >= 3
    assert all(other.why and other.source for other in node.differential)


def test_all_diagnoses_of_pad_ufes_20_have_morphology_and_neighbours(taxonomy):
    labels = load_label_map("pad_ufes_20", taxonomy)
    assert {node for raw in labels.labels for node, _ in labels.map(raw)} <= set(NEED_MORPHOLOGY)


def test_ids_are_the_names_in_snake_case_where_no_short_name_was_given(taxonomy):
    for id in taxonomy.ids:
        assert id == id.lower()
        assert id.replace("_", "").isalnum()
        assert taxonomy.node(id).name.strip()
    assert set(BEHAVIOURS) >= {taxonomy.node(leaf).behaviour for leaf in taxonomy.leaves}


# ------------------------------------------------------------------------------- the marks, against the sources


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


def _texts(taxonomy: Taxonomy, shared_data: Path, ontology: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Source key -> node -> the text of that source about the disease."""
    medquad: dict[str, str] = defaultdict(str)
    for row in read_jsonl(shared_data / "medquad_skin" / "medquad_skin.jsonl"):
        answers = " ".join(qa["answer"] for qa in row["qa"])
        for name in (row["focus"], *(row["synonyms"] or ())):
            match = taxonomy.resolve(name)
            if match is not None:
                medquad[match.node] += " " + answers
        for id in ALSO_ABOUT.get(row["focus"], ()):
            medquad[id] += " " + answers
    book = " ".join(path.read_text(encoding="utf-8") for path in sorted((shared_data / "openstax_skin").glob("*.md")))
    codes = {id: taxonomy.node(id).codes.get("DOID") for id in taxonomy.ids}
    definitions = {id: ontology[code]["definition"] or "" for id, code in codes.items() if code}
    return {"medquad": medquad, "do": definitions, "openstax": defaultdict(lambda: book)}


def test_morphology_marked_with_a_text_is_in_that_text(taxonomy, shared_data, ontology):
    """By word, the standard term or the plain one: a guard against wrong marks, not a proof of right ones."""
    texts = _texts(taxonomy, shared_data, ontology)
    book = normalise(texts["openstax"]["any"])
    seen = 0
    for id in taxonomy.ids:
        relatives = sorted({id} | taxonomy.ancestors(id) | taxonomy.descendants(id))
        about = {
            key: normalise(" ".join(texts[key].get(other, "") for other in relatives))
            for key in ("medquad", "do")
            if taxonomy.node(id).morphology
        } | {"openstax": book}
        for fact, keys in taxonomy.node(id).sources.items():
            if fact.startswith("morphology."):
                value = fact.split(".", 2)[2]
                words = [word for word in tokens(f"{value} {PARAPHRASES.get(value, '')}") if len(word) > 2]
                for key in set(keys) & set(about):
                    assert any(word[:5] in about[key] for word in words), (id, fact, key)
                    seen += 1
    assert seen > 100


# ---------------------------------------------------------------------------------------------------- for people


def test_show_draws_a_tree_to_the_depth_asked(taxonomy):
    text = show(taxonomy, "malignant_melanocytic", 1)
    assert text.splitlines() == [
        "malignant_melanocytic  [mixed]",
        f"  melanoma_in_situ  [precancerous or in situ]  ... {len(taxonomy.leaves_below('melanoma_in_situ'))} leaves",
        f"  melanoma  [malignant]  ... {len(taxonomy.leaves_below('melanoma'))} leaves",
    ]
    whole = show(taxonomy)
    assert "solar_lentigo  [benign]  (+ benign_keratosis)" in whole
    assert "solar_lentigo  [benign]  (+ lentigo)" in whole


def test_describe_says_where_each_fact_is_from(taxonomy):
    text = describe(taxonomy, "impetigo")
    assert "thick yellow crust [do openstax]" in text
    assert "not to be confused with herpes simplex" in text
    assert "[editorial]" in text
