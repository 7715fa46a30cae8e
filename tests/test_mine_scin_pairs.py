"""Neighbours from SCIN: which pairs count, and that the file that ships is what the table gives."""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from skinrl.taxonomy import load_label_map, load_taxonomy
from skinrl.taxonomy.check import describe
from skinrl.yamlfile import read_yaml

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import mine_scin_pairs as mine  # noqa: E402  # a script, not a package


@pytest.fixture(scope="module")
def labels(taxonomy):
    return load_label_map("scin", taxonomy)


def test_two_cases_make_a_pair_and_one_does_not(labels):
    cases = [["Psoriasis", "Tinea"], ["Tinea", "Psoriasis", "Scabies"], ["Scabies"]]
    assert mine.count_pairs(cases, labels) == {("psoriasis", "tinea"): 2}


def test_two_labels_of_one_node_are_no_pair_and_count_once(labels):
    cases = [["Acute dermatitis, NOS", "Chronic dermatitis, NOS", "Psoriasis"]] * 2
    assert mine.count_pairs(cases, labels) == {("eczema", "psoriasis"): 2}


def test_a_disease_and_a_kind_of_it_and_the_classes_are_no_pairs(labels):
    cases = [["Eczema", "Allergic Contact Dermatitis", "Skin infection", "Inflammatory dermatosis"]] * 3
    assert mine.count_pairs(cases, labels) == {}


def test_what_names_no_disease_or_leaves_open_which_is_left_out(labels):
    cases = [["Morbilliform eruption", "Remove from labeling tool", "Psoriasis", "Skin cancer"]] * 3
    assert mine.count_pairs(cases, labels) == {}


def test_a_label_that_names_two_diseases_gives_pairs_with_each_but_none_between_them(labels):
    assert mine.count_pairs([["SCC/SCCIS", "Prurigo nodularis"]] * 2, labels) == {
        ("prurigo_nodularis", "squamous_cell_carcinoma"): 2,
        ("prurigo_nodularis", "squamous_cell_carcinoma_in_situ"): 2,
    }


def test_each_pair_stands_in_both_directions_with_the_number_of_cases(tmp_path):
    text = mine.as_yaml({("psoriasis", "tinea"): 17, ("eczema", "psoriasis"): 30})
    path = tmp_path / "pairs.yaml"
    path.write_text(text, encoding="utf-8")
    data, _ = read_yaml(path)
    assert data == {
        "nodes": {
            "eczema": {"differential": {"psoriasis": "@scin:30"}},
            "psoriasis": {"differential": {"eczema": "@scin:30", "tinea": "@scin:17"}},
            "tinea": {"differential": {"psoriasis": "@scin:17"}},
        }
    }
    assert list(data["nodes"]["psoriasis"]["differential"]) == ["eczema", "tinea"]  # the most frequent first


def test_a_pair_adds_its_mark_to_a_neighbour_that_has_words(tmp_path):
    path = tmp_path / "tree.yaml"
    path.write_text(
        "name: small\nsources: {book: {title: b, reviewed: true}, scin: {title: s, reviewed: true}}\n"
        "parts: [first.yaml, pairs.yaml]\nnodes:\n  root: {}\n",
        encoding="utf-8",
    )
    (tmp_path / "first.yaml").write_text(
        "nodes:\n  psoriasis: {parents: [root], behaviour: benign, differential: {tinea: a ring '@book:p1'}}\n"
        "  tinea: {parents: [root], behaviour: benign}\n".replace("'", ""),
        encoding="utf-8",
    )
    (tmp_path / "pairs.yaml").write_text(mine.as_yaml({("psoriasis", "tinea"): 17}), encoding="utf-8")
    taxonomy = load_taxonomy(path)
    (forth,), (back,) = taxonomy.node("psoriasis").differential, taxonomy.node("tinea").differential
    assert (forth.node, forth.why, forth.source) == ("tinea", "a ring", "book scin")
    assert (back.node, back.why, back.source) == ("psoriasis", "", "scin")
    assert taxonomy.node("psoriasis").locators["differential.tinea"] == ("p1", "17")
    assert "not to be confused with tinea: a ring" in describe(taxonomy, "psoriasis")
    assert describe(taxonomy, "tinea").endswith("\n  also in its differential: psoriasis [scin:17]")


def test_the_file_that_ships_is_what_the_table_of_scin_gives(labels, shared_data):
    assert mine.OUTPUT.read_text(encoding="utf-8") == mine.as_yaml(
        mine.count_pairs(mine.read_cases(shared_data / "scin" / "scin_labels.csv"), labels)
    )


def test_the_counts_agree_with_another_way_of_counting(labels, shared_data):
    """For labels that map to one node each, straight from the published table."""
    with (shared_data / "scin" / "scin_labels.csv").open(encoding="utf-8", newline="") as stream:
        cells = [row["weighted_skin_condition_label"] for row in csv.DictReader(stream)]
    pairs: Counter[frozenset[str]] = Counter()
    for cell in cells:
        pairs.update(frozenset(pair) for pair in combinations(ast.literal_eval(cell or "{}"), 2))
    found = mine.count_pairs(mine.read_cases(shared_data / "scin" / "scin_labels.csv"), labels)
    for one, other in (("Psoriasis", "Tinea"), ("Scabies", "Insect Bite"), ("Herpes Zoster", "Herpes Simplex")):
        nodes = sorted(labels.map(raw)[0][0] for raw in (one, other))
        assert found[nodes[0], nodes[1]] == pairs[frozenset((one, other))] > 1


def test_no_case_can_be_told_from_the_file():
    text = mine.OUTPUT.read_text(encoding="utf-8")
    assert not re.search(r"\d{5,}", text)
    assert all(int(count) >= mine.LEAST for count in re.findall(r"@scin:(\d+)", text))
