"""Reading taxonomy files: what is wrong is said with file and line; overlays add without touching ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skinrl.errors import TaxonomyError
from skinrl.taxonomy import load_taxonomy

GOOD = """\
name: small
nodes:
  skin: {}
  eczema: {parents: [skin], synonyms: [dermatitis]}
  atopic: {parents: [eczema], behaviour: non-neoplastic}
  wart: {parents: [skin], behaviour: benign}
"""


def write(folder: Path, text: str, name: str = "tree.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def fault(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(TaxonomyError) as caught:
        load_taxonomy(path)
    return str(caught.value).replace(str(path), "FILE")


def test_a_small_file_loads(tmp_path):
    t = load_taxonomy(write(tmp_path, GOOD))
    assert t.name == "small"
    assert t.root == "skin"
    assert t.node("atopic").name == "atopic"
    assert t.resolve("Dermatitis").node == "eczema"
    assert t.node("wart").sources["behaviour"] == ("editorial",)


@pytest.mark.parametrize(
    ("boil", "message"),
    [
        ("{parents: [skinn], behaviour: benign}", "FILE:7: node 'boil' has the unknown parent 'skinn'; nearest: skin"),
        ("{behaviour: benign}", "FILE:7: node 'boil' is an orphan"),
        ("{parents: [skin], behaviour: benign, synonyms: [Warts]}", "FILE:7: 'Warts' names both 'boil' and 'wart'"),
        ("{parents: [skin], behavior: benign}", "FILE:7: unknown key 'behavior'; nearest: 'behaviour'"),
        ("{parents: skin, behaviour: benign}", "FILE:7: expected a list"),
        ("{parents: [skin], behaviour: harmless}", "FILE:7: unknown behaviour 'harmless'"),
        ("{parents: [skin]}", "FILE:7: leaf without behaviour: 'boil'"),
        ("{parents: [skin], behaviour: benign @doo}", "FILE:7: behaviour of 'boil': unknown source 'doo'"),
        ("{parents: [skin], behaviour: benign, synonyms: [7]}", "FILE:7: expected a text, found 7"),
        ("{parents: [skin], behaviour: benign, codes: ['8893']}", "FILE:7: '8893' is no code"),
        ("{parents: [skin], behaviour: benign, morphology: {color: [red]}}", "FILE:7: unknown key 'color'"),
        ("{parents: [skin], behaviour: benign, differential: {wort: x}}", "FILE:7: the differential of 'boil' names"),
        ("{parents: [skin, skin], behaviour: benign}", "FILE:7: 'skin' stands twice among the parents"),
        ("[skin]", "FILE:7: key 'boil': expected a mapping"),
        ("{parents: [skin], behaviour: benign", "FILE:8: is not valid YAML"),
        (
            "{parents: [wart], behaviour: malignant}",
            "FILE:6: 'wart' says 'benign', but 'boil' below it is 'malignant'",
        ),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, boil, message):
    assert fault(tmp_path, f"{GOOD}  boil: {boil}\n").startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("  wart: {parents: [skin], behaviour: benign}", "FILE:7: key 'wart' stands twice (first on line 6)"),
        ("  Boil: {parents: [skin], behaviour: benign}", "FILE:7: 'Boil' is no node id"),
    ],
)
def test_a_wrong_id_is_named_with_its_line(tmp_path, line, message):
    assert fault(tmp_path, GOOD + line + "\n").startswith(message)


def test_a_cycle_is_named_with_a_line_and_its_members(tmp_path):
    text = GOOD + "  one: {parents: [three], behaviour: benign}\n  two: {parents: [one]}\n  three: {parents: [two]}\n"
    message = fault(tmp_path, text)
    assert message.startswith("FILE:7: cycle: ")
    assert all(name in message for name in ("one", "two", "three"))


def test_a_node_that_is_its_own_parent_is_a_cycle(tmp_path):
    assert "cycle: one -> one" in fault(tmp_path, GOOD + "  one: {parents: [one], behaviour: benign}\n")


def test_the_line_of_an_item_in_a_long_list_is_its_own(tmp_path):
    text = GOOD + "  boil:\n    parents: [skin]\n    behaviour: benign\n    synonyms:\n    - fine\n    - Dermatitis\n"
    assert fault(tmp_path, text).startswith(
        "FILE:12: 'Dermatitis' names both 'boil' and 'eczema' (as 'dermatitis', FILE:4)"
    )


@pytest.mark.parametrize("text", ["", "nodes: {}\n", "nodes: []\n", "- a\n", "nodez: {}\n"])
def test_a_file_that_is_no_taxonomy_is_refused(tmp_path, text):
    assert fault(tmp_path, text)


def test_a_missing_file_and_an_unknown_name_are_told_apart(tmp_path):
    with pytest.raises(TaxonomyError, match="no such taxonomy file"):
        load_taxonomy(tmp_path / "absent.yaml")
    with pytest.raises(TaxonomyError, match="shipped: behaviours, dermatology"):
        load_taxonomy("cardiology")


def test_four_lines_add_a_disease(tmp_path):
    overlay = """\
extends: dermatology
nodes:
  tropical_ulcer: {parents: [skin_ulcer], synonyms: [jungle rot], behaviour: non-neoplastic}
  soap_eczema: {parents: [eczema, photodermatosis], behaviour: non-neoplastic}
"""
    assert len(overlay.splitlines()) == 4
    ours, theirs = load_taxonomy(), load_taxonomy(write(tmp_path, overlay))
    assert set(theirs.ids) - set(ours.ids) == {"tropical_ulcer", "soap_eczema"}
    assert theirs.resolve("Jungle-Rot").node == "tropical_ulcer"
    assert theirs.ancestors("soap_eczema") == {"soap_eczema", "eczema", "photodermatosis", "inflammatory"}
    assert theirs.node("tropical_ulcer").sources["behaviour"] == ("user",)
    assert theirs.checksum != ours.checksum
    assert "tropical_ulcer" not in load_taxonomy()


def test_an_overlay_may_add_synonyms_parents_and_neighbours_to_what_exists(tmp_path):
    overlay = """\
name: ours
extends: dermatology
sources:
  clinic: {title: our clinic, reviewed: true}
nodes:
  scabies:
    synonyms: [the seven year itch @clinic]
    differential:
      bed_bug_bite: three in a row on uncovered skin @clinic
"""
    t = load_taxonomy(write(tmp_path, overlay))
    assert t.name == "ours"
    assert t.resolve("seven-year itch").node == "scabies"
    assert t.node("scabies").differential[-1].node == "bed_bug_bite"
    assert t.node("scabies").differential[-1].source == "clinic"
    assert len(t.node("scabies").differential) == len(load_taxonomy().node("scabies").differential) + 1
    assert t.node("scabies").morphology == load_taxonomy().node("scabies").morphology


def test_an_overlay_may_extend_an_overlay_beside_it_but_not_itself(tmp_path):
    write(
        tmp_path, "extends: dermatology\nnodes:\n  one: {parents: [eczema], behaviour: non-neoplastic}\n", "first.yaml"
    )
    second = write(tmp_path, "extends: first.yaml\nnodes:\n  two: {parents: [one], behaviour: non-neoplastic}\n")
    assert load_taxonomy(second).path("two") == ("inflammatory", "eczema", "one", "two")
    write(tmp_path, "extends: tree.yaml\nnodes: {}\n", "first.yaml")
    with pytest.raises(TaxonomyError, match="extends itself"):
        load_taxonomy(second)


def test_an_overlay_that_claims_a_name_of_ours_is_refused_with_both_places(tmp_path):
    path = write(
        tmp_path,
        "extends: dermatology\nnodes:\n  my_rash: {parents: [eczema], synonyms: [Shingles], behaviour: benign}\n",
    )
    with pytest.raises(
        TaxonomyError,
        match=r"tree\.yaml:3: 'Shingles' names both 'my_rash' and 'herpes_zoster'.*infectious\.yaml:\d+",
    ):
        load_taxonomy(path)


def test_a_misspelt_node_in_an_overlay_is_an_orphan_not_a_silent_new_disease(tmp_path):
    path = write(tmp_path, "extends: dermatology\nnodes:\n  psorriasis: {synonyms: [my name], behaviour: benign}\n")
    with pytest.raises(TaxonomyError, match=r"tree\.yaml:3: node 'psorriasis' is an orphan.*psoriasis"):
        load_taxonomy(path)


PARTED = """\
name: small
default_source: book
sources:
  book: {title: a book}
  do: {title: an ontology, place_from: DOID}
parts: [rash.yaml, count.yaml]
nodes:
  skin: {}
"""
RASH = """\
nodes:
  eczema:
    parents: [skin @do]
    behaviour: non-neoplastic @book:p.12
    codes: [DOID:2723]
    where: {book: p.7}
    morphology: {colour: [red @book]}
    differential: {wart: rough and single}
  wart: {parents: [skin], behaviour: benign}
"""


def test_parts_are_read_and_every_mark_has_its_place(tmp_path):
    write(tmp_path, RASH, "rash.yaml")
    write(tmp_path, 'nodes:\n  eczema:\n    differential: {wart: "@do:17"}\n', "count.yaml")
    eczema = load_taxonomy(write(tmp_path, PARTED)).node("eczema")
    assert eczema.locators["parents.skin"] == ("DOID:2723",)  # the node's own code of that source
    assert eczema.locators["morphology.colour.red"] == ("p.7",)  # the node's `where:`
    assert eczema.locators["behaviour"] == ("p.12",)  # the mark's own
    (neighbour,) = eczema.differential  # stated twice: the words stay with the source that gave them
    assert (neighbour.node, neighbour.why, neighbour.source) == ("wart", "rough and single", "book do")
    assert eczema.locators["differential.wart"] == ("p.7", "17")


def test_a_part_that_is_missing_or_says_more_than_nodes_is_named(tmp_path):
    assert "FILE:6: no such file" in fault(tmp_path, PARTED)
    write(tmp_path, "name: other\nnodes: {}\n", "rash.yaml")
    with pytest.raises(TaxonomyError, match=r"rash\.yaml:1: unknown key 'name'"):
        load_taxonomy(tmp_path / "tree.yaml")


def test_all_faults_of_a_file_are_said_at_once_each_with_its_line(tmp_path):
    message = fault(
        tmp_path,
        GOOD
        + "  boil: {parents: [skinn], behavior: benign, synonyms: [7, wart]}\n"
        + "  corn: {behaviour: harmless}\n"
        + "  a: {parents: [b], behaviour: benign}\n"
        + "  b: {parents: [a]}\n"
        + "  cyst: {parents: [skin]}\n",
    )
    lines = [line.strip() for line in message.splitlines()]
    assert lines[0] == "7 faults:"
    for expected in (
        "FILE:7: unknown key 'behavior'",
        "FILE:7: expected a text, found 7",
        "FILE:7: node 'boil' has the unknown parent 'skinn'; nearest: skin",
        "FILE:7: 'wart' names both 'boil' and 'wart'",
        "FILE:8: unknown behaviour 'harmless'",  # and not also "orphan": what may stand there could not be read
        "FILE:9: cycle: a -> b -> a",
        "FILE:11: leaf without behaviour: 'cyst'",
    ):
        assert sum(line.startswith(expected) for line in lines) == 1, (expected, lines)


def test_a_node_defined_in_two_parts_is_refused_with_both_places(tmp_path):
    write(tmp_path, RASH, "rash.yaml")
    write(tmp_path, "nodes:\n  wart: {parents: [skin], behaviour: malignant}\n", "count.yaml")
    message = fault(tmp_path, PARTED)
    assert "count.yaml:2: node 'wart' is defined here and at" in message
    assert re.search(r"rash\.yaml:\d+; expected one definition", message)
