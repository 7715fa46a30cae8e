"""What training and test share, by their images and by their ids; and the metrics without it."""

from __future__ import annotations

import json
import math

import pytest
from evaluation_toys import case, toy_taxonomy, written
from PIL import ImageOps
from test_data_near_duplicates import blobs, crop, saved
from typer.testing import CliRunner

from skinrl import files
from skinrl.cli.app import app
from skinrl.data.near_duplicates import hash_images
from skinrl.data.overlap import find_overlaps
from skinrl.data.record import Record
from skinrl.errors import InputError
from skinrl.evaluation import Reply, evaluate
from skinrl.evaluation.contamination import Contamination, contamination_block, write_contamination

TOY = toy_taxonomy()


def record(id: str, *images: str, source: str = "one", label: str = "naevus", **more) -> Record:
    return Record(id, images or (f"{id}.jpg",), "dermoscopy", source, ((label, 1.0),), **more)


def reasons(training: list[Record], test: list[Record]) -> dict[tuple[str, str], str]:
    return {(one.case.id, one.training.id): one.reason for one in find_overlaps(training, test, {})}


def test_ids_of_the_isic_archive_are_known_in_whatever_name_they_stand():
    training = [record("ISIC_0024306", "/ham/ISIC_0024306.jpg"), record("b", "/x/isic_0000013_downsampled.png")]
    test = [
        record("q1", "/omni/ISIC_0024306_resized.jpg", source="two"),
        record("q2", "/y/ISIC_0000013.JPG", source="two"),
        record("q3", "/y/ISIC_00243061.jpg", source="two"),  # one digit more is another image
        record("ISIC_0024307", "/y/7.jpg", source="two"),
    ]
    assert reasons(training, test) == {("q1", "ISIC_0024306"): "image_id", ("q2", "b"): "image_id"}


def test_public_lesion_ids_are_compared_across_sources_and_own_ones_within_a_source():
    training = [
        record("a", source="ham10000", group="HAM_0000118", group_kind="lesion"),
        record("b", source="clinic", group="7", group_kind="patient"),
        record("c", source="clinic"),
    ]
    test = [
        record("x", source="isic2019", group="HAM_0000118", group_kind="lesion"),
        record("y", source="elsewhere", group="7", group_kind="patient"),  # patient 7 of another clinic
        record("z", source="clinic", group="7", group_kind="patient"),
        record("c", source="elsewhere"),
    ]
    assert reasons(training, test) == {("x", "a"): "lesion_id", ("z", "b"): "group"}


@pytest.fixture
def sets(tmp_path) -> tuple[list[Record], list[Record], dict]:
    """Test image 0 is training image 0, 1 is a mirrored crop of 1, 2 is another; case 3 shows 2 and 0."""
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
    for seed in range(4):
        blobs(seed).save(tmp_path / "train" / f"{seed}.png")
    blobs(0).save(tmp_path / "test" / "0.png")
    saved(ImageOps.mirror(crop(blobs(1), 0.02)), 80).save(tmp_path / "test" / "1.png")
    blobs(10).save(tmp_path / "test" / "2.png")
    training = [record(f"t{n}", str(tmp_path / "train" / f"{n}.png")) for n in range(4)]
    test = [record(f"q{n}", str(tmp_path / "test" / f"{n}.png"), source="two") for n in range(3)]
    test.append(record("q3", test[2].images[0], test[0].images[0], source="two"))
    return training, test, hash_images([path for one in (*training, *test) for path in one.images], processes=1)


def test_each_pair_is_listed_once_with_its_strongest_reason(sets):
    training, test, hashes = sets
    pixels = {training[0].images[0]: "same", test[0].images[0]: "same", test[1].images[0]: ""}
    found = find_overlaps(training, test, hashes, pixels=pixels)
    listed = [(one.case.id, one.training.id, one.reason, one.turned) for one in found]
    assert listed == [("q0", "t0", "identical", False), ("q1", "t1", "near", True), ("q3", "t0", "identical", False)]
    assert found[0].distance is None
    assert 0 < found[1].distance < 64
    assert found[2].image == test[0].images[0]
    assert found[1].to_dict() == {
        "case": "q1", "source": "two", "image": test[1].images[0], "training_case": "t1", "training_source": "one",
        "training_image": training[1].images[0], "reason": "near", "distance": found[1].distance, "turned": True,
    }  # fmt: skip


def test_metrics_are_given_without_the_cases_that_overlap(sets, tmp_path):
    """Right on the two that were trained on and on one of two others: 3 of 4, and 1 of 2 without them."""
    training, test, hashes = sets
    overlaps = find_overlaps(training, test[:3], hashes)
    found = Contamination(tuple(overlaps), len(training), 3, 64)
    cases = [case(f"q{n}", "naevus", source="two") for n in range(3)] + [case("q9", "naevus", source="two")]
    replies = [Reply(written(TOY, node)) for node in ("naevus", "naevus", "naevus", "psoriasis")]
    evaluation = evaluate(cases, TOY, greedy=replies)
    block = contamination_block(found, evaluation, resamples=50)
    assert {key: block[key] for key in ("cases", "test_cases", "by_reason", "pairs", "training_images")} == {
        "cases": 2, "test_cases": 4, "by_reason": {"near": 2}, "pairs": 2, "training_images": 4,
    }  # fmt: skip
    assert evaluation.metrics(resamples=50)["accuracy"]["value"] == pytest.approx(0.75)
    assert block["without"]["accuracy"]["value"] == pytest.approx(0.5)
    assert block["without"]["accuracy"]["n"] == 2
    assert block["only"]["accuracy"]["value"] == pytest.approx(1.0)
    clean = contamination_block(Contamination((), 4, 3, 64), evaluation, resamples=50)
    assert clean["only"] is None
    assert math.isclose(clean["without"]["accuracy"]["value"], 0.75)
    rows = files.read_jsonl(write_contamination(tmp_path, found))
    assert [row["case"] for row in rows] == ["q0", "q1"]


def test_the_predictive_value_without_overlaps_is_stated_at_the_prevalence_of_the_whole(sets):
    """Half of the set is malignant, two thirds without the overlap: the cases change, the prevalence does not."""
    training, test, hashes = sets
    found = Contamination(tuple(find_overlaps(training, test[:1], hashes)), 4, 1, 64)
    gold = ["naevus", "naevus", "nodular_melanoma", "nodular_melanoma"]
    said = ["naevus", "nodular_melanoma", "nodular_melanoma", "naevus"]
    cases = [case(f"q{n}", node, source="two") for n, node in enumerate(gold)]
    evaluation = evaluate(cases, TOY, greedy=[Reply(written(TOY, node)) for node in said])
    half, rare = (
        contamination_block(found, evaluation, resamples=20, prevalence=at)["without"]["malignancy_ppv"]["value"]
        for at in (None, 0.1)
    )
    assert half == pytest.approx(0.5 * 0.5 / (0.5 * 0.5 + 0.5 * 1.0))
    assert rare == pytest.approx(0.1 * 0.5 / (0.1 * 0.5 + 0.9 * 1.0))


def test_nothing_is_left_where_every_case_was_trained_on(sets):
    training, test, hashes = sets
    found = Contamination(tuple(find_overlaps(training, test[:2], hashes)), 4, 2, 64)
    evaluation = evaluate([case("q0", "naevus", source="two")], TOY, greedy=[Reply(written(TOY, "naevus"))])
    assert contamination_block(found, evaluation, resamples=50)["without"] is None


def test_the_command_lists_the_pairs_of_two_folders(sets, tmp_path):
    arguments = ["data", "overlap", str(tmp_path / "train"), str(tmp_path / "test"), "--cache", str(tmp_path / "c.db")]
    said = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "pairs.jsonl")])
    assert said.exit_code == 0, said.output
    assert "overlap: 2 of 3 test cases (3 test images against 4 training images); pairs: 2 near" in said.output
    assert [row["case"] for row in files.read_jsonl(tmp_path / "pairs.jsonl")] == ["0.png", "1.png"]
    (tmp_path / "test" / "broken.jpg").write_bytes(b"no image")
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--threshold", "2"]).stdout)
    assert [pair["case"] for pair in found["pairs"]] == ["0.png"]
    assert found["threshold"] == 2
    assert [path.rpartition("/")[2] for path in found["unreadable"]] == ["broken.jpg"]


@pytest.mark.parametrize(
    ("place", "words"),
    [("nowhere", "no such folder"), ("pad_ufes_20=nowhere", "no folder nowhere"), (".", "holds no images")],
)
def test_what_is_no_folder_of_images_is_refused(place, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["data", "overlap", place, "."])
    assert isinstance(result.exception, InputError)
    assert words in str(result.exception)


def test_a_published_dataset_is_compared_with_its_tables(shared_data, tmp_path):
    """The same set on both sides: every case overlaps with itself, and with the other images of its patient."""
    place = f"pad_ufes_20={shared_data / 'pad_ufes_20'}"
    result = CliRunner().invoke(app, ["data", "overlap", place, place, "--json", "--cache", str(tmp_path / "c.db")])
    found = json.loads(result.stdout)
    assert found["cases"] == found["test_cases"] == 175
    assert {pair["reason"] for pair in found["pairs"]} == {"near", "group"}
    own = [pair for pair in found["pairs"] if pair["reason"] == "near"]
    assert all(pair["case"] == pair["training_case"] and pair["distance"] == 0 for pair in own)
    assert len(own) == 175
