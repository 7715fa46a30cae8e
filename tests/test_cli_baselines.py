"""Baselines and contamination as `skinrl eval` measures them: from a recipe, on files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import build_tiny_text, build_tiny_vlm

from skinrl import files
from skinrl.cli.baselines import check_baselines, run_baselines
from skinrl.cli.build import stage_data
from skinrl.cli.common import Experiment, open_experiment
from skinrl.cli.evaluation_data import main_questions
from skinrl.cli.overlap import eval_overlap
from skinrl.errors import InputError
from skinrl.evaluation.compare import compare

COLOURS = {"melanoma": (90, 50, 40), "psoriasis": (200, 90, 80), "vitiligo": (235, 225, 215)}
RECIPE = """
name: toy
model: {{path: {model}, dtype: float32}}
data:
  - source: folder
    path: {data}
    kwargs: {{table: labels.csv, columns: {{image: file, label: dx, patient: patient}}}}
evaluation: {{baselines: {baselines}, bootstrap: 100}}
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Ninety images of thirty patients, three diagnoses that differ in colour; one test image is also in training."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    lines = ["file,dx,patient"]
    for number in range(90):
        label = list(COLOURS)[number % 3]
        pixels = rng.normal(0, 20, (56, 56, 3)) + np.array(COLOURS[label])
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{label},p{number // 3}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model") / "tiny")


def experiment(place: Path, model: Path, photographs: Path, baselines: str = "[policy]") -> Experiment:
    recipe = place / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=model, data=photographs, baselines=baselines))
    return open_experiment(recipe, None, runs=place / "runs")


def test_a_probe_answers_the_cases_of_the_models_and_stands_beside_them(tmp_path, model, photographs, capsys):
    one = experiment(tmp_path, model, photographs, "[policy, 'timm:no_such_model']")
    data = stage_data(one, "evaluation")
    cases = list(main_questions(one, data)[0].cases)
    found = run_baselines(one, data, cases, str(model))
    assert list(found) == ["probe_policy"]
    assert "baseline timm:no_such_model is left out" in " ".join(capsys.readouterr().err.split())
    folder = one.folder / "baselines" / "probe_policy"
    metrics = files.read_json(folder / "metrics.json")
    assert metrics["accuracy"]["value"] > 0.9  # a random tower keeps colours apart
    assert metrics["accuracy"]["n"] == len(cases) == len(files.read_jsonl(folder / "predictions.jsonl"))
    about = files.read_json(folder / "probe.json")
    assert about["classes"] == ["melanoma", "psoriasis", "vitiligo"]
    assert about["encoder_was_trained_on_these_images"] is False  # the checkpoint is the recipe's own model
    assert about["training_images"] == len(data.split("train"))
    assert (one.runs / "cache" / "features.sqlite").is_file()
    again = run_baselines(one, data, cases, str(model))
    assert again["probe_policy"].greedy == found["probe_policy"].greedy
    beside = compare(found, baselines={"probe_other": again["probe_policy"]}, resamples=100)
    assert beside["baselines"]["probe_other"]["accuracy"] == beside["models"]["probe_policy"]["accuracy"]
    assert beside["difference"]["probe_policy-probe_other"]["accuracy"]["value"] == 0.0
    assert beside["controls_of"] == "probe_policy"


def test_a_model_without_a_tower_has_no_probe_and_the_others_are_measured(tmp_path, photographs, capsys):
    text = build_tiny_text(tmp_path / "text")
    one = experiment(tmp_path, text, photographs)
    data = stage_data(one, "evaluation")
    assert run_baselines(one, data, list(main_questions(one, data)[0].cases), str(text)) == {}
    assert "baseline policy is left out" in " ".join(capsys.readouterr().err.split())


def test_names_of_baselines_are_checked_before_anything_is_generated(tmp_path, model, photographs):
    check_baselines(experiment(tmp_path, model, photographs, "[policy, base, timm:test_resnet]"))
    with pytest.raises(InputError, match="baseline 'resnet50': expected policy, base, timm:NAME"):
        check_baselines(experiment(tmp_path, model, photographs, "[resnet50]"))


def test_a_test_image_that_was_trained_on_is_found(tmp_path, model, photographs, shared_data):
    """A photograph of the training split once more in the test split, mirrored and saved anew."""
    pictures = sorted((shared_data / "pad_ufes_20" / "images").glob("*.jpg"))[:12]
    lines = ["file,dx,patient,split"]
    for number, path in enumerate(pictures):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        lines.append(f"{path.name},{list(COLOURS)[number % 3]},p{number},{'test' if number > 7 else 'train'}")
    copied = Image.open(pictures[0]).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    copied.save(tmp_path / "copy.jpg", quality=70)
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "copy.jpg,melanoma,p99,test"]))
    one = experiment(tmp_path, model, tmp_path)
    text = (tmp_path / "recipe.yaml").read_text().replace("patient: patient", "patient: patient, split: split")
    (tmp_path / "recipe.yaml").write_text(text)
    one = open_experiment(tmp_path / "recipe.yaml", None, runs=tmp_path / "runs")
    found = eval_overlap(one, stage_data(one, "evaluation"))
    (pair,) = found.overlaps
    assert (pair.case.id, pair.reason, pair.turned) == ("copy", "near", True)
    assert pair.training.images == (str(tmp_path / pictures[0].name),)
    assert (found.training_images, found.test_images) == (8, 5)
