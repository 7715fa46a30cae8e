"""The phantom as a dataset: splits, labels at two depths, the long tail, and folders that are whole or absent."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinrl.data.record import Record
from skinrl.errors import DataError, TaxonomyError
from skinrl.phantom.dataset import clinical_weights, load
from skinrl.phantom.diseases import DISEASES
from skinrl.phantom.vocabulary import VOCABULARY
from skinrl.taxonomy import Taxonomy, load_taxonomy


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_taxonomy("dermatology")


@pytest.fixture(scope="module")
def clinical(taxonomy: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return load(tmp_path_factory.mktemp("phantom"), taxonomy, domain="clinical", count=600, size=28)


@pytest.fixture(scope="module")
def textbook(taxonomy: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return load(tmp_path_factory.mktemp("phantom"), taxonomy, domain="textbook", count=120, size=42)


def _bytes(records: list[Record]) -> list[bytes]:
    return [Path(record.images[0]).read_bytes() for record in records]


def test_the_same_seed_gives_the_same_files_elsewhere(taxonomy: Taxonomy, tmp_path: Path) -> None:
    one = load(tmp_path / "a", taxonomy, count=12, seed=5, size=42)
    two = load(tmp_path / "b", taxonomy, count=12, seed=5, size=42)
    other = load(tmp_path / "c", taxonomy, count=12, seed=6, size=42)
    assert _bytes(one) == _bytes(two)
    assert [r.labels for r in one] == [r.labels for r in two]
    assert _bytes(one) != _bytes(other)


def test_a_second_load_reads_and_other_parameters_draw_anew(taxonomy: Taxonomy, tmp_path: Path) -> None:
    first = load(tmp_path, taxonomy, count=4, size=42)
    stamp = Path(first[0].images[0]).stat().st_mtime_ns
    assert load(tmp_path, taxonomy, count=4, size=42) == first
    assert Path(first[0].images[0]).stat().st_mtime_ns == stamp
    assert len(load(tmp_path, taxonomy, count=6, size=42)) == 6
    assert Path(first[0].images[0]).stat().st_mtime_ns == stamp, "a run that reads the first images keeps them"
    names = sorted(path.name.rsplit("_", 1)[0] for path in tmp_path.iterdir())
    assert names == ["clinical_train", "clinical_train"]


def test_a_crash_while_drawing_leaves_nothing_behind(
    taxonomy: Taxonomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import skinrl.phantom.dataset as dataset

    calls: list[int] = []

    def failing(*args: object) -> Image.Image:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Image.new("RGB", (42, 42))

    monkeypatch.setattr(dataset, "render", failing)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, taxonomy, count=6, size=42)
    assert list(tmp_path.iterdir()) == []


def test_textbook_records_carry_what_was_drawn(textbook: list[Record]) -> None:
    for record in textbook:
        assert tuple(record.concepts) == tuple(VOCABULARY)
        allowed = DISEASES[record.nodes[0]].words()
        assert all(record.concepts[kind][0] in allowed[kind] for kind in VOCABULARY if kind != "arrangement")
    assert set(Counter(record.nodes[0] for record in textbook).values()) == {120 // len(DISEASES)}


def test_recorded_concepts_equal_what_was_rendered(
    taxonomy: Taxonomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import skinrl.phantom.dataset as dataset

    drawn = []
    true_render = dataset.render

    def spy(morphology, *args):  # type: ignore[no-untyped-def]
        drawn.append(morphology.words())
        return true_render(morphology, *args)

    monkeypatch.setattr(dataset, "render", spy)
    records = load(tmp_path, taxonomy, domain="textbook", count=30, size=28)
    assert [dict(record.concepts) for record in records] == drawn


def test_clinical_records_have_a_label_alone(clinical: list[Record]) -> None:
    assert all(not record.concepts and not record.slices for record in clinical)
    assert {record.skin_tone.value for record in clinical if record.skin_tone} == {"1", "2", "3", "4", "5", "6"}


def test_about_half_of_the_training_labels_stop_at_an_inner_node(clinical: list[Record], taxonomy: Taxonomy) -> None:
    inner = [record.nodes[0] for record in clinical if record.nodes[0] not in DISEASES]
    assert 0.42 < len(inner) / len(clinical) < 0.58
    assert all(any(taxonomy.is_ancestor(node, leaf) for leaf in DISEASES) for node in set(inner))
    assert taxonomy.root not in inner


def test_validation_and_test_are_labelled_at_the_disease(taxonomy: Taxonomy, tmp_path: Path) -> None:
    for split in ("validation", "test"):
        records = load(tmp_path, taxonomy, split=split, count=60, size=28)
        assert {record.nodes[0] for record in records} <= set(DISEASES)
        assert {record.split for record in records} == {split}


def test_the_clinical_tail_is_long(taxonomy: Taxonomy, tmp_path: Path) -> None:
    weights = clinical_weights()
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] / weights[-1] == pytest.approx(10.0)
    assert weights[0] < 0.10  # the best guess without an image stays low
    records = load(tmp_path, taxonomy, split="test", count=600, size=28)
    counts = Counter(record.nodes[0] for record in records)
    ranked = [counts[leaf] for leaf in DISEASES]
    assert sum(ranked[:10]) > 3 * sum(ranked[-10:])


def test_splits_share_no_patient_and_patients_have_several_images(taxonomy: Taxonomy, tmp_path: Path) -> None:
    groups = {
        split: {record.group for record in load(tmp_path, taxonomy, split=split, count=60, size=28)}
        for split in ("train", "validation", "test")
    }
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert len(groups["test"]) < 60


def test_images_of_one_patient_share_disease_and_tone_but_not_pixels(clinical: list[Record]) -> None:
    by_patient: dict[str, list[Record]] = {}
    for record in clinical[:300]:
        by_patient.setdefault(record.group, []).append(record)
    several = [records for records in by_patient.values() if len(records) > 1]
    assert several
    for records in several:
        assert len({record.skin_tone.value for record in records if record.skin_tone}) == 1
        assert len(set(_bytes(records))) == len(records)


def test_image_paths_lie_under_the_folder_and_open(clinical: list[Record]) -> None:
    with Image.open(clinical[0].images[0]) as image:
        assert np.asarray(image).shape == (28, 28, 3)


def test_the_manifest_holds_no_absolute_path(taxonomy: Taxonomy, tmp_path: Path) -> None:
    load(tmp_path, taxonomy, count=2, size=28)
    (manifest,) = tmp_path.glob("clinical_train_*/manifest.jsonl")
    for line in manifest.read_text("utf-8").splitlines():
        assert not Path(json.loads(line)["images"][0]).is_absolute()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"domain": "xray"}, "xray"), ({"split": "dev"}, "dev"), ({"count": 0}, "count 0"), ({"size": 8}, "size 8")],
)
def test_wrong_settings_are_named(
    taxonomy: Taxonomy, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, taxonomy, **settings)  # type: ignore[arg-type]


def test_a_taxonomy_without_the_diseases_is_refused(tmp_path: Path) -> None:
    from skinrl.taxonomy.graph import Node

    small = Taxonomy("small", [Node("root", "root"), Node("psoriasis", "psoriasis", ("root",))])
    with pytest.raises(TaxonomyError, match="melanoma"):
        load(tmp_path, small)
