"""Coverage: every label of every dataset ends at a node or is said to name no disease, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.errors import DataError
from skinrl.taxonomy import load_label_map
from skinrl.taxonomy.coverage import coverage
from skinrl.taxonomy.label_map import shipped_label_maps

REPOSITORY = Path(__file__).resolve().parents[1]
MAP = """\
dataset: clinic
made_from: published files
files:
  cases.csv: {label: dx}
  counts.csv: {label: dx, cases: n}
  truth.csv: {one_hot: true}
  list.csv: {label: dx, cases: }
labels:
  red rash: {eczema: 0.75, psoriasis: 0.25}
  MEL: melanoma
not_a_disease: {blurred: no picture}
"""


@pytest.fixture
def clinic(taxonomy, tmp_path):
    path = tmp_path / "clinic.yaml"
    path.write_text(MAP, encoding="utf-8")
    return load_label_map(path, taxonomy)


def table(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / "data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("dataset", shipped_label_maps())
def test_no_label_of_a_shipped_map_is_unresolved(taxonomy, dataset):
    found = coverage(load_label_map(dataset, taxonomy))
    assert found.unresolved == ()
    assert found.labels_resolved + found.not_a_disease == found.labels
    assert found.published is None or found.labels <= found.published


@pytest.mark.parametrize(
    ("dataset", "data", "labels", "cases"),
    [
        ("scin", "scin", 370, 3061),
        ("scin", "scin/label_vocab.csv", 370, 7549),
        ("fitzpatrick17k", "label_lists", 114, 16577),
        ("pad_ufes_20", "pad_ufes_20/metadata.csv", 6, 2298),
        ("pad_ufes_20", "pad_ufes_20/labels.csv", 6, 175),
        ("derm12345", "derm12345_taxonomy", 40, None),
    ],
)
def test_the_published_files_are_covered_whole(taxonomy, shared_data, dataset, data, labels, cases):
    found = coverage(load_label_map(dataset, taxonomy), shared_data / data)
    assert (found.labels, found.unresolved, found.cases) == (labels, (), cases)
    assert found.made_from == "published files"


@pytest.mark.parametrize(
    ("dataset", "data"),
    [("scin", "scin/label_vocab.csv"), ("fitzpatrick17k", "label_lists"), ("pad_ufes_20", "pad_ufes_20/metadata.csv")],
)
def test_the_counts_that_ship_with_a_map_are_those_of_the_published_files(taxonomy, shared_data, dataset, data):
    labels = load_label_map(dataset, taxonomy)
    assert coverage(labels) == coverage(labels, shared_data / data)


def test_what_names_no_disease_is_not_a_resolved_case(taxonomy, shared_data):
    # "Remove from labeling tool" 12, Koebner phenomenon and pustules 4, blister and "drug addict" 3, ten others 1
    found = coverage(load_label_map("scin", taxonomy))
    assert found.not_a_disease == 15
    assert found.cases_resolved_share == pytest.approx((7549 - 36) / 7549, abs=1e-6)
    assert coverage(load_label_map("isic2020", taxonomy)).cases_resolved_share == round(6002 / 33126, 6)


def test_a_case_with_several_labels_counts_by_their_weights(clinic, tmp_path):
    text = "id,dx\n1,\"{'red rash': 0.6, 'blurred': 0.2, 'wart': 0.2}\"\n2,\"['MEL', 'wart']\"\n3,mel\n4,\n5,{}\n"
    found = coverage(clinic, table(tmp_path, "cases.csv", text))
    assert found.unresolved == ("wart",)
    assert (found.labels, found.labels_resolved, found.not_a_disease, found.cases) == (5, 3, 1, 3)
    assert found.cases_resolved_share == pytest.approx((0.6 + 0.5 + 1) / 3, abs=1e-6)


def test_counts_one_hot_tables_lists_and_text_are_read(clinic, tmp_path):
    counts = coverage(clinic, table(tmp_path, "counts.csv", "dx,n\nMEL,3\nwart,1\n"))
    assert (counts.cases, counts.cases_resolved_share) == (4, 0.75)
    truth = coverage(clinic, table(tmp_path, "truth.csv", "image,MEL,blurred\na,1.0,0.0\nb,0,1\nc,1,0\n"))
    assert (truth.labels, truth.cases, truth.cases_resolved_share) == (2, 3, 0.666667)
    for name, text in (("list.csv", "dx\nMEL\nwart\n"), ("labels.txt", "MEL\n\nwart\n")):
        found = coverage(clinic, table(tmp_path, name, text))
        assert (found.labels, found.unresolved, found.cases, found.cases_resolved_share) == (2, ("wart",), None, None)


def test_a_table_of_another_name_is_read_by_its_column(clinic, tmp_path):
    assert coverage(clinic, table(tmp_path, "mine.csv", "id,dx\n1,MEL\n")).cases == 1


def test_a_folder_is_read_by_its_table_else_by_its_images(taxonomy, clinic, tmp_path):
    folder = table(tmp_path, "cases.csv", "dx\nMEL\n").parent
    (folder / "wart").mkdir()
    (folder / "wart" / "1.jpg").touch()
    assert coverage(clinic, folder).unresolved == ()
    (folder / "cases.csv").unlink()
    assert coverage(clinic, folder).unresolved == ("wart",)
    names = load_label_map("dermnet_files", taxonomy)
    (folder / "wart" / "07PerioralDermEye.jpg").touch()
    found = coverage(names, folder)
    assert (found.unresolved, found.cases, found.cases_resolved_share) == (("1.jpg",), 2, 0.5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("other.csv", "id,diagnosis\n1,MEL\n", r"other\.csv:1: no column with labels; found id, diagnosis; expected"),
        ("counts.csv", "dx,n\nMEL,3\nMEL,many\n", r"counts\.csv:3: a label or a count cannot be read"),
        ("cases.csv", "dx\n\"{'MEL': \"\n", r"cases\.csv:2: a label or a count cannot be read"),
        ("empty.txt", "\n", "no labels; expected the labels of clinic"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_its_line(clinic, tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        coverage(clinic, table(tmp_path, name, text))


def test_a_place_without_data_is_named(clinic, tmp_path):
    with pytest.raises(
        DataError, match=r"nothing: no such file or folder; expected the table, or the folder, of clinic"
    ):
        coverage(clinic, tmp_path / "nothing")
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match=r"void: found neither images nor cases\.csv, counts\.csv"):
        coverage(clinic, tmp_path / "void")


def test_the_command_prints_counts_and_fails_where_labels_are_unresolved(clinic, tmp_path):
    data = table(tmp_path, "counts.csv", "dx,n\nMEL,3\nblurred,1\nPsoriasys,4\n")
    command = ["taxonomy", "coverage", str(tmp_path / "clinic.yaml"), "--data", str(data)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {
        "dataset": "clinic",
        "made_from": "published files",
        "published": None,
        "labels": 3,
        "labels_resolved": 1,
        "not_a_disease": 1,
        "unresolved": 1,
        "cases": 8,
        "cases_resolved_share": 0.375,
        "unresolved_labels": ["Psoriasys"],
    }
    shown = CliRunner().invoke(app, command)
    assert "unresolved: clinic: Psoriasys; nearest: psoriasis" in shown.stdout
    assert "no disease: blurred (no picture)" in shown.stdout


def test_the_command_without_a_dataset_shows_all_shipped_maps():
    done = CliRunner().invoke(app, ["taxonomy", "coverage", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert len(found) == len(shipped_label_maps()) == 18
    assert all(row["unresolved"] == 0 for row in found)


def test_the_table_in_the_documentation_is_what_the_command_counts(taxonomy):
    text = (REPOSITORY / "docs" / "label_maps.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    assert [row[0].strip("`") for row in cells] == list(shipped_label_maps())
    for name, labels, resolved, excluded, share, made_from in (row[:6] for row in cells):
        found = coverage(load_label_map(name.strip("`"), taxonomy))
        known = "" if found.cases_resolved_share is None else f"{found.cases_resolved_share:.1%}"
        total = (
            str(found.labels) if found.published in (None, found.labels) else f"{found.labels} of {found.published}"
        )
        assert [labels, resolved, excluded] == [total, str(found.labels_resolved), str(found.not_a_disease)]
        assert (share, made_from) == (known, found.made_from)
