"""The shipped tree: what it must hold, and how it is shown. Facts against sources: test_taxonomy_sources."""

from __future__ import annotations

import json

import pytest

from skinrl.taxonomy import BEHAVIOURS, MORPHOLOGY_KEYS, load_label_map
from skinrl.taxonomy.check import check, describe, show
from skinrl.taxonomy.text import normalise

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
    assert sum(bool(other.why) for other in node.differential) >= 3  # the rest are counts of co-listed cases
    assert all(other.source for other in node.differential)


def test_all_diagnoses_of_pad_ufes_20_have_morphology_and_neighbours(taxonomy):
    labels = load_label_map("pad_ufes_20", taxonomy)
    assert {node for raw in labels.labels for node, _ in labels.map(raw)} <= set(NEED_MORPHOLOGY)


def test_ids_are_the_names_in_snake_case_where_no_short_name_was_given(taxonomy):
    for id in taxonomy.ids:
        assert id == id.lower()
        assert id.replace("_", "").isalnum()
        assert taxonomy.node(id).name.strip()
    assert set(BEHAVIOURS) >= {taxonomy.node(leaf).behaviour for leaf in taxonomy.leaves}


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
    assert "thick yellow crust [do]" in text
    assert "not to be confused with herpes simplex" in text
    assert "[editorial]" in text


def test_no_synonym_is_only_another_spelling_of_a_name_beside_it(taxonomy):
    """Case, plurals, hyphens and British spelling are normalised: such a synonym adds nothing but a count."""
    for id in taxonomy.ids:
        names = [normalise(name) for name in (taxonomy.node(id).name, *taxonomy.node(id).synonyms)]
        assert len(set(names)) == len(names), id
