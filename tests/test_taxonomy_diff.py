"""Two versions of a taxonomy: what moves, and which credits change, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.taxonomy import load_label_map, load_taxonomy
from skinrl.taxonomy.diff import diff

OLD = """\
name: small
nodes:
  skin: {}
  rash: {parents: [skin]}
  tumor: {parents: [skin]}
  eczema: {parents: [rash], behaviour: non-neoplastic, synonyms: [dermatitis]}
  psoriasis: {parents: [rash], behaviour: non-neoplastic}
  horn: {parents: [tumor], behaviour: benign}
  wart: {parents: [tumor], behaviour: benign}
"""
# The wart becomes a rash, the horn uncertain, "dermatitis" leads nowhere, psoriasis goes and a boil comes.
NEW = """\
name: small
nodes:
  skin: {}
  rash: {parents: [skin]}
  tumor: {parents: [skin]}
  eczema: {parents: [rash], behaviour: non-neoplastic}
  horn: {parents: [tumor], behaviour: uncertain}
  wart: {parents: [rash], behaviour: benign}
  boil: {parents: [rash], behaviour: non-neoplastic}
"""
LABELS = "labels: {ECZ: eczema, WRT: wart, HRN: horn}\n"


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path, Path]:
    paths = [tmp_path / name for name in ("old.yaml", "new.yaml", "labels.yaml")]
    for path, text in zip(paths, (OLD, NEW, LABELS), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths[0], paths[1], paths[2]


def test_what_moves_is_named_and_the_credits_are_those_of_both_trees(files):
    old, new = load_taxonomy(files[0]), load_taxonomy(files[1])
    found = diff(old, new, {"clinic": (load_label_map(files[2], old), load_label_map(files[2], new))})
    assert found["added"] == ["boil"]
    assert found["removed"] == ["psoriasis"]
    assert found["parents"] == {"wart": [["tumor"], ["rash"]]}
    assert found["behaviour"]["horn"] == ["benign", "uncertain"]
    assert found["names"] == {"boil": [None, "boil"], "dermatitis": ["eczema", None], "psoriasis": ["psoriasis", None]}
    assert set(found["labels"]["clinic"]) == {"WRT", "HRN"}
    assert found["labels"]["clinic"]["WRT"][1][0]["path"] == ["rash", "wart"]
    # Before, wart and horn shared "tumor": 2 * 1 / (2 + 2) = 1/2. Now wart and eczema share "rash".
    credits = {(row["answer"], row["gold"]): (row["old"], row["new"]) for row in found["credits"]["clinic"]}
    assert credits == {
        ("wart", "horn"): (0.5, 0.0),
        ("horn", "wart"): (0.5, 0.0),
        ("wart", "eczema"): (0.0, 0.5),
        ("eczema", "wart"): (0.0, 0.5),
    }


def test_a_taxonomy_does_not_differ_from_itself(taxonomy):
    labels = load_label_map("pad_ufes_20", taxonomy)
    found = diff(taxonomy, taxonomy, {"pad_ufes_20": (labels, labels)})
    for key in ("added", "removed", "parents", "behaviour", "names"):
        assert not found[key]
    assert found["labels"] == {"pad_ufes_20": {}}
    assert found["credits"] == {"pad_ufes_20": []}


def test_the_command_prints_for_people_and_for_programs(files):
    arguments = ["taxonomy", "diff", str(files[0]), str(files[1]), "--dataset", str(files[2])]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "nodes added: 1\n  boil" in shown.output
    assert "wart for horn: 0.500 -> 0.000" in shown.output
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["removed"] == ["psoriasis"]
