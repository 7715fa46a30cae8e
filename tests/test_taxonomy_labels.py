"""Label maps: every raw label leads to a node, and what the datasets see differently is written down."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from skinrl.errors import DataError, TaxonomyError
from skinrl.taxonomy import load_label_map
from skinrl.taxonomy.label_map import MADE_FROM, shipped_label_maps

DATASETS = shipped_label_maps()
#: Labels of each dataset, by its paper or its files; None where the whole list is not public.
SIZES = {
    "bcn20000": None,
    "ddi": 78,
    "derm12345": 40,
    "derm1m": None,
    "derm7pt": 20,
    "dermnet": 23,
    "dermnet_files": None,
    "fitzpatrick17k": 114,
    "ham10000": 7,
    "isic2018": 7,
    "isic2019": 9,
    "isic2020": 9,
    "isic_uda1": 5,
    "milk10k": None,
    "omnimedvqa": None,
    "pad_ufes_20": 6,
    "scin": 370 - 1,  # "Deep fungal infection" is there in two spellings
    "sd198": 198,
}


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_label_leads_to_nodes_whose_weights_sum_to_one(taxonomy, dataset):
    labels = load_label_map(dataset, taxonomy)
    assert SIZES[dataset] in (None, len(labels.labels) + len(labels.excluded))
    for raw in labels.labels:
        pairs = labels.map(raw)
        assert sum(weight for _, weight in pairs) == pytest.approx(1.0)
        assert all(node in taxonomy and node != taxonomy.root for node, _ in pairs)
    assert {d.label for d in labels.disagreements} <= set(labels.labels)


def test_every_dataset_has_its_map():
    assert set(DATASETS) == set(SIZES)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_map_says_how_its_list_came_to_be_known_and_why_a_label_is_no_disease(taxonomy, dataset):
    labels = load_label_map(dataset, taxonomy)
    assert labels.made_from in MADE_FROM
    assert set(labels.reasons) == labels.excluded
    assert all(len(reason) > 5 for reason in labels.reasons.values())


def test_the_published_label_lists_are_covered(taxonomy, shared_data):
    fitzpatrick = [row["label"] for row in rows(shared_data / "label_lists" / "fitzpatrick17k_3_9_114.csv")]
    load_label_map("fitzpatrick17k", taxonomy).require(fitzpatrick)
    codes = [row["code"] for row in rows(shared_data / "derm12345_taxonomy" / "taxonomy.csv")]
    derm = load_label_map("derm12345", taxonomy)
    derm.require(codes)
    assert len({derm.map(code) for code in codes}) == 40  # repeated sub-class names are still forty diseases
    pad = {row["diagnostic"] for row in rows(shared_data / "pad_ufes_20" / "metadata.csv")}
    assert pad == {"ACK", "BCC", "MEL", "NEV", "SCC", "SEK"}
    load_label_map("pad_ufes_20", taxonomy).require(pad)
    scin = [row["label"] for row in rows(shared_data / "scin" / "label_vocab.csv")]
    assert len(scin) == 370
    load_label_map("scin", taxonomy).require(scin)


@pytest.mark.parametrize(
    ("dataset", "raw", "nodes"),
    [
        ("scin", "SCC/SCCIS", {"squamous_cell_carcinoma": 0.5, "squamous_cell_carcinoma_in_situ": 0.5}),
        ("scin", "SK/ISK", {"seborrheic_keratosis": 1.0}),
        ("scin", "CD - Contact dermatitis", {"contact_dermatitis": 1.0}),
        ("scin", "Remove from labeling tool", {}),
        ("scin", "Majocchi's granuloma", {"majocchi_granuloma": 1.0}),
        ("sd198", "Epithelioma_Adenoides_Cysticum", {"multiple_familial_trichoepithelioma": 1.0}),
        ("ddi", "nodular-melanoma-(nm)", {"nodular_melanoma": 1.0}),
        ("derm7pt", "melanoma (in situ)", {"melanoma_in_situ": 1.0}),
        ("isic2020", "unknown", {}),
        ("milk10k", "AKIEC", {"precancerous_keratinocytic": 1.0}),
        ("dermnet", "Exanthems and Drug Eruptions", {"viral_exanthem": 0.5, "drug_eruption": 0.5}),
        ("derm1m", "Campbell de morgan spots", {"cherry_angioma": 1.0}),
    ],
)
def test_labels_that_are_easily_misread(taxonomy, dataset, raw, nodes):
    assert dict(load_label_map(dataset, taxonomy).map(raw)) == nodes


def test_the_name_of_an_image_of_dermnet_leads_to_its_disease(taxonomy):
    labels = load_label_map("dermnet_files", taxonomy)
    expected = {
        "07PerioralDermEye.jpg": "perioral_dermatitis",
        "acne-closed-comedo-003.jpg": "comedonal_acne",
        "Bullous Disease Photos/benign-familial-chronic-pemphigus-1.jpg": "hailey_hailey_disease",
        "herpes-type-1-recurrent-12.jpg": "herpes_labialis",
        "herpes-type-2-primary-3.jpg": "genital_herpes",
        "07RosaceaFulFAce.jpg": "rosacea",  # not listed: the longest listed name that it begins with
        "05atopic031011.jpg": "atopic_dermatitis",
        "12Chicken-Pox.JPG": "varicella",
        "miliaria-2.jpg": "miliaria",
        "milia-2.jpg": "milia",
    }
    assert {raw: dict(labels.map(raw)) for raw in expected} == {raw: {node: 1.0} for raw, node in expected.items()}
    assert labels.map("melanoma-mimic-4.jpg") == ()
    assert "IMG_0012.jpg" not in labels
    assert "mi.jpg" not in labels


def test_without_the_rule_for_file_names_a_label_is_taken_as_it_is(taxonomy):
    assert "melanoma 12.jpg" not in load_label_map("isic2020", taxonomy)


def test_scc_of_pad_ufes_20_is_said_to_include_bowen_disease(taxonomy):
    labels = load_label_map("pad_ufes_20", taxonomy)
    assert labels.map("SCC") == (("squamous_cell_carcinoma", 1.0),)
    assert any(d.label == "SCC" and "Bowen" in d.theirs for d in labels.disagreements)


def test_the_groups_of_ham10000_hold_what_their_names_say_and_nothing_else(taxonomy):
    labels = load_label_map("ham10000", taxonomy)
    ((bkl, _),), ((akiec, _),) = labels.map("bkl"), labels.map("akiec")
    assert set(taxonomy.children(bkl)) == {"seborrheic_keratosis", "solar_lentigo", "lichenoid_keratosis"}
    assert set(taxonomy.children(akiec)) == {"actinic_keratosis", "squamous_cell_carcinoma_in_situ"}
    assert taxonomy.is_ancestor(akiec, "bowen_disease")
    assert taxonomy.behaviour(akiec) == "precancerous or in situ"
    ((vasc, _),) = labels.map("vasc")
    assert taxonomy.behaviour(vasc) == "benign"


def test_every_behaviour_in_which_a_dataset_differs_is_listed(taxonomy, shared_data):
    fitzpatrick = load_label_map("fitzpatrick17k", taxonomy)
    listed = {d.label for d in fitzpatrick.disagreements}
    for row in rows(shared_data / "label_lists" / "fitzpatrick17k_3_9_114.csv"):
        ((node, _),) = fitzpatrick.map(row["label"])
        if taxonomy.behaviour(node) != row["three_partition_label"]:
            assert row["label"] in listed
    derm = load_label_map("derm12345", taxonomy)
    listed = {d.label for d in derm.disagreements}
    for row in rows(shared_data / "derm12345_taxonomy" / "taxonomy.csv"):
        ((node, _),) = derm.map(row["code"])
        theirs = row["super_class"].split()[-1].lower()
        if taxonomy.behaviour(node) != theirs:
            assert row["code"] in listed


def test_labels_are_compared_without_case_and_outer_space(taxonomy):
    labels = load_label_map("isic2018", taxonomy)
    assert labels.map(" mel ") == labels.map("MEL")


def test_a_label_that_is_no_disease_maps_to_nothing(taxonomy):
    labels = load_label_map("isic2019", taxonomy)
    assert labels.map("UNK") == ()
    assert labels.reasons["UNK"] == "none of the eight diagnoses"
    assert labels.is_excluded("unk")
    assert "UNK" in labels


def test_unknown_labels_are_named_all_at_once_with_the_nearest_nodes(taxonomy):
    labels = load_label_map("pad_ufes_20", taxonomy)
    with pytest.raises(DataError) as caught:
        labels.require(["BCC", "Psoriasys", "sebor keratosis", "Psoriasys"])
    message = str(caught.value)
    assert message.startswith("2 labels that the label map 'PAD-UFES-20' does not know")
    assert "'Psoriasys': nearest nodes: psoriasis" in message
    assert "seborrheic_keratosis" in message
    with pytest.raises(DataError, match="nearest nodes: melanoma"):
        labels.map("melanoma!")


def test_a_users_own_map_may_weigh_a_label_over_several_nodes(taxonomy, tmp_path):
    path = tmp_path / "clinic.yaml"
    path.write_text(
        "labels:\n  red rash: {eczema: 0.75, psoriasis: 2.5e-1}\nnot_a_disease: [blurred]\n", encoding="utf-8"
    )
    labels = load_label_map(path, taxonomy)
    assert labels.dataset == "clinic"
    assert labels.map("Red rash") == (("eczema", 0.75), ("psoriasis", 0.25))
    assert pickle.loads(pickle.dumps(labels)).map("red rash") == labels.map("red rash")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels:\n  a: eczemma\n", "FILE:2: label 'a': unknown node 'eczemma'; nearest: eczema"),
        ("labels:\n  a: {eczema: 0.5, psoriasis: 0.4}\n", "FILE:2: label 'a': weights sum to 0.9; expected 1"),
        ("labels:\n  a: {eczema: heavy}\n", "FILE:2: label 'a': expected a weight"),
        ("labels:\n  a: [eczema]\n", "FILE:2: label 'a': expected a node"),
        ("labels:\n  a: eczema\n  A: psoriasis\n", "FILE:3: label 'A' stands twice"),
        ("labels:\n  a: eczema\nnot_a_disease: [a]\n", "FILE:3: label 'a' stands twice (first under labels: 'a')"),
        ("labels:\n  0: eczema\n", "FILE:2: expected text as a label, found 0"),
        ("labels: {}\n", "FILE:1: expected 'labels:'"),
        ("labell:\n  a: eczema\n", "FILE:1: unknown key 'labell'; nearest: 'labels'"),
        ("labels:\n  a: skin_disease\n", "FILE:2: label 'a': 'skin_disease' is every disease"),
        ("made_from: hearsay\nlabels:\n  a: eczema\n", "FILE:1: 'made_from': expected one of: published files"),
        ("labels:\n  a: eczema\nnot_a_disease:\n  b:\n", "FILE:4: label 'b': expected the reason as text"),
        ("labels:\n  a: eczema\ncases: {a: many}\n", "FILE:3: expected a whole number, found 'many'"),
        ("labels:\n  a: eczema\nfiles:\n  t.csv: {}\n", "FILE:4: expected either 'label:'"),
        ("labels:\n  a: eczema\ndisagreements:\n  - {label: a}\n", "FILE:4: a disagreement needs"),
    ],
)
def test_a_fault_in_a_label_map_is_named_with_its_line(taxonomy, tmp_path, text, message):
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaxonomyError) as caught:
        load_label_map(path, taxonomy)
    assert str(caught.value).replace(str(path), "FILE").startswith(message)


def test_all_faults_of_a_label_map_are_named_at_once(taxonomy, tmp_path):
    path = tmp_path / "map.yaml"
    text = """\
datset: clinic
labels:
  rash: {eczemma: 0.5, psoriasis: 0.4}
  Rash: acne
  mole: melanocytic_nevuss
not_a_disease: {blurred: , mole: no disease}
disagreements:
  - {label: rash}
"""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaxonomyError) as caught:
        load_label_map(path, taxonomy)
    lines = str(caught.value).replace(str(path), "FILE").split("\n  ")
    assert lines[0] == "8 faults:"
    for start in (
        "FILE:1: unknown key 'datset'; nearest: 'dataset'",
        "FILE:3: label 'rash': unknown node 'eczemma'; nearest: eczema",
        "FILE:3: label 'rash': weights sum to 0.9; expected 1",
        "FILE:4: label 'Rash' stands twice (first under labels: 'rash')",
        "FILE:5: label 'mole': unknown node 'melanocytic_nevuss'; nearest: melanocytic_nevus",
        "FILE:6: label 'blurred': expected the reason as text, found None",
        "FILE:6: label 'mole' stands twice (first under labels: 'mole')",
        "FILE:8: a disagreement needs 'label', 'theirs' and 'ours'",
    ):
        assert any(line.startswith(start) for line in lines), (start, lines)
