"""`data inspect`: what it sees in a folder, and the label map that it proposes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from skinrl.data.inspect import inspect_data, label_map_skeleton
from skinrl.data.sources import folder
from skinrl.errors import DataError, TaxonomyError
from skinrl.taxonomy import Taxonomy, load_label_map

Draw = Callable[..., str]


def clinic(root: Path, draw: Draw) -> Path:
    """Five rows of three patients: two identical images, one broken, one missing; a sixth image nobody names."""
    for n, seed in enumerate([1, 1, 2, 3]):
        draw(root / "photos" / f"{n}.jpg", seed, size=(40, 30))
    draw(root / "photos" / "extra.png", 9)
    broken = root / "photos" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    (root / "cases.csv").write_text(
        "number,picture,Diagnosis,patient_id,split\n"
        "1,photos/0.jpg,melanoma,p1,train\n"
        "2,photos/1.jpg,Naevus,p2,train\n"
        "3,photos/2.jpg,Naevus,p2,train\n"
        "4,photos/3.jpg,weird spot,p3,test\n"
        "5,photos/gone.jpg,weird spot,p3,test\n"
    )
    return root


def test_everything_that_is_wrong_with_a_folder_is_counted_and_named(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    found = inspect_data(clinic(tmp_path / "clinic", draw), taxonomy)
    assert found.source == "folder"
    assert found.columns == {"image": "picture", "label": "Diagnosis", "patient": "patient_id", "split": "split"}
    assert (found.rows, found.images, found.patients, found.unused) == (5, 4, 3, 1)
    assert found.missing == ("photos/gone.jpg",)
    assert [Path(path).name for path, _ in found.broken] == ["3.jpg"]
    assert [[Path(p).name for p in same] for same in found.duplicates] == [["0.jpg", "1.jpg"]]
    assert found.label_conflicts == found.duplicates
    assert found.labels == {"Naevus": 2, "weird spot": 2, "melanoma": 1}
    assert found.splits == {"train": 3, "test": 2}
    assert found.sizes["width"] == {"min": 40, "median": 40, "max": 40}
    assert found.sizes["most_common"] == {"40x30": 3}
    assert json.loads(json.dumps(found.to_dict()))["unknown_labels"] == ["weird spot"]


def test_the_skeleton_is_refused_until_a_person_has_decided_and_loads_afterwards(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    root = clinic(tmp_path / "clinic", draw)
    found = inspect_data(root, taxonomy)
    file = tmp_path / "labels.yaml"
    file.write_text(found.label_map)
    assert '"Naevus": melanocytic_nevus  # 2 rows, by its synonym' in found.label_map
    assert '"weird spot": "?"  # 2 rows; nearest: ' in found.label_map
    with pytest.raises(TaxonomyError, match=r"labels.yaml:\d: .*'weird spot': unknown node '\?'"):
        load_label_map(file, taxonomy)
    file.write_text(found.label_map.replace('"?"', "psoriasis"))
    records = folder.load(root, taxonomy, labels=file, columns=found.columns, on_missing_image="skip")
    assert [r.top_node for r in records] == ["melanoma", "melanocytic_nevus", "melanocytic_nevus", "psoriasis"]


def test_labels_that_yaml_would_misread_stay_text(taxonomy: Taxonomy, tmp_path: Path) -> None:
    odd = {'say "hi": # no': 3, "12": 2, "no": 2, "- x": 1, "Ç": 1, "": 1}
    text, unknown = label_map_skeleton(odd, taxonomy, dataset="d: x")
    assert set(unknown) == set(odd)
    file = tmp_path / "labels.yaml"
    file.write_text(text.replace(': "?"', ": psoriasis"), encoding="utf-8")
    assert set(load_label_map(file, taxonomy).labels) == set(odd)


def test_a_published_dataset_is_recognised(shared_data: Path, taxonomy: Taxonomy) -> None:
    found = inspect_data(shared_data / "pad_ufes_20", taxonomy)
    assert found.source == "pad_ufes_20"
    assert (found.rows, found.images, len(found.missing), found.unused) == (2298, 175, 2123, 0)
    assert found.patients == 1373
    assert (found.broken, found.duplicates, found.unknown_labels) == ((), (), ())
    assert found.sizes["width"]["max"] == 512


def test_one_folder_per_class_is_understood(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    draw(tmp_path / "melanoma" / "a.png", 1), draw(tmp_path / "blob" / "a.png", 2)
    found = inspect_data(tmp_path, taxonomy)
    assert (found.labels, found.tables, found.unknown_labels) == ({"blob": 1, "melanoma": 1}, (), ("blob",))


def test_a_folder_that_cannot_be_understood_is_told(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    with pytest.raises(DataError, match="no folder"):
        inspect_data(tmp_path / "gone", taxonomy)
    with pytest.raises(DataError, match="neither a table"):
        inspect_data(tmp_path, taxonomy)
    (tmp_path / "t.csv").write_text("a,b\nx,y\n")
    with pytest.raises(DataError, match=r"no column looks like the image; name it \(columns: a, b\)"):
        inspect_data(tmp_path, taxonomy)
    draw(tmp_path / "x.png")
    with pytest.raises(DataError, match="no column looks like the label"):
        inspect_data(tmp_path, taxonomy)
    assert inspect_data(tmp_path, taxonomy, columns={"label": "b"}).labels == {"y": 1}
