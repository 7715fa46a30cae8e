"""A user's own reward, overlay and photographs, from a recipe alone: nothing of the project is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from tiny_model import build_tiny_vlm, random_image
from typer.testing import CliRunner

from skinrl.cli.app import app

OVERLAY = """\
extends: dermatology
nodes:
  clinic_rash: {parents: [eczema], behaviour: non-neoplastic}
"""
REWARD = """\
def shortness(completions, gold_nodes, weight=1.0, **kwargs):
    "The shorter, the better; where the gold is the clinic's own rash, twice."
    texts = [completion[0]["content"] for completion in completions]
    factors = [2.0 if "clinic_rash" in nodes else 1.0 for nodes in gold_nodes]
    return [factor / (1 + len(text)) for text, factor in zip(texts, factors)]
"""
LABELS = """\
dataset: clinic
labels:
  RASH: clinic_rash
  MM: melanoma
"""
RECIPE = """\
name: clinic
seed: 3
model: {path: ./model, dtype: float32}
taxonomy: ./overlay.yaml
data:
  - source: folder
    path: ./photographs
    labels: ./labels.yaml
    kwargs: {columns: {image: photo, label: dx, patient: who, split: part}}
questions: {kind: open, wording: short}
rewards:
  - {fn: "./clinic_rewards.py:shortness", weight: 0.5}
  - {factory: "skinrl.rewards:get_hierarchy_reward"}
sft:
  max_steps: 2
  per_device_train_batch_size: 2
  eval_strategy: "no"
  gradient_checkpointing: false
  logging_steps: 1
  save_strategy: "no"
  report_to: []
grpo:
  max_steps: 2
  num_generations: 2
  per_device_train_batch_size: 4
  max_completion_length: 12
  gradient_checkpointing: false
  use_vllm: false
  log_completions: true
  log_multimodal: false
  num_completions_to_print: 0
  logging_steps: 1
  save_strategy: "no"
  report_to: []
evaluation: {samples: 2, max_completion_length: 12, backend: transformers, bootstrap: 100}
"""


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    rows = ["photo,dx,who,part"]
    parts = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    for number, part in enumerate(parts):
        random_image(number, 84, 84).save(photographs / f"p{number}.png")
        rows.append(f"p{number}.png,{'RASH' if number % 2 else 'MM'},patient{number},{part}")
    (photographs / "cases.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "overlay.yaml").write_text(OVERLAY)
    (tmp_path / "clinic_rewards.py").write_text(REWARD)
    (tmp_path / "labels.yaml").write_text(LABELS)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    build_tiny_vlm(tmp_path / "model")
    return tmp_path


@pytest.mark.slow
def test_a_users_reward_overlay_and_photographs_work_from_a_recipe(clinic: Path) -> None:
    def skinrl(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--runs", str(clinic / "runs")], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    recipe = str(clinic / "recipe.yaml")
    skinrl("sft", recipe)
    skinrl("grpo", recipe)
    comparison = json.loads(skinrl("eval", recipe, "--json"))

    run = clinic / "runs" / "clinic" / "default"
    log = parquet.read_table(run / "grpo" / "completions" / "completions_00001.parquet").to_pylist()
    for row in log:  # the overlay's node reached the reward through the label map
        length = len(row["completion"][0]["content"])
        own = {1: "clinic_rash", 0: "melanoma"}[int(row["id"].removeprefix("p").split(".")[0]) % 2]
        assert row["shortness"] == pytest.approx((2.0 if own == "clinic_rash" else 1.0) / (1 + length))
    page = clinic / "rollouts.html"
    shown = CliRunner().invoke(app, ["view", str(run), "--out", str(page), "--steps", "1"], catch_exceptions=False)
    assert "4 rollouts of 1 step, 2 images" in shown.stdout  # two groups of two, each with its photograph
    assert all(f"{row['shortness']:.3g}" in page.read_text() for row in log)
    assert list(comparison["models"]) == ["base", "sft", "grpo"]
    assert comparison["models"]["grpo"]["accuracy"]["n"] == 4
    golds = {json.loads(line)["gold"] for line in (run / "eval_grpo/final/predictions.jsonl").read_text().splitlines()}
    assert golds == {"clinic_rash", "melanoma"}
    gaps = [json.loads(line) for line in (run / "grpo" / "metrics.jsonl").read_text().splitlines()]
    measured = [row["rollout/logp_gap_mean"] for row in gaps if "rollout/logp_gap_mean" in row]
    assert len(measured) == 2
    assert max(measured) <= 1e-5
    assert "already complete" not in skinrl("sft", recipe)  # said on standard error; nothing is trained twice
