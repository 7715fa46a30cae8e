"""Bad input: one clear line, exit code 2, before any model is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

RECIPE = """\
name: bad
model: {{path: ./no_such_model}}
data:
  - source: folder
    path: images
    labels: {{sk: seborrheic_keratosis, mm: melanoma}}
    kwargs: {{table: cases.csv, columns: {{patient: patient, split: split}}}}
rewards:
  - factory: skinrl.rewards:get_hierarchy_reward
{more}
"""
CASES = "image,label,patient,split\na.png,sk,p1,train\nb.png,mm,p2,validation\nc.png,sk,p3,test\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for index, name in enumerate(("a.png", "b.png", "c.png")):
        Image.new("RGB", (56, 56), (40 * index, 90, 120)).save(images / name)
    (images / "cases.csv").write_text(CASES)
    return tmp_path


def run(folder: Path, *arguments: str, more: str = "", recipe: str | None = None) -> subprocess.CompletedProcess[str]:
    (folder / "bad.yaml").write_text(recipe if recipe is not None else RECIPE.format(more=more))
    command = [sys.executable, "-X", "importtime", "-m", "skinrl.cli", *arguments, "--runs", str(folder / "runs")]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    loaded = [line for line in finished.stderr.splitlines() if line.startswith("import time:")]
    finished.stderr = "\n".join(line for line in finished.stderr.splitlines() if not line.startswith("import time:"))
    finished.args = {line.rsplit("|", 1)[-1].strip() for line in loaded}
    return finished


def assert_refused(finished: subprocess.CompletedProcess[str], *said: str) -> None:
    assert finished.returncode == 2, finished.stderr
    for text in said:
        assert text in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "torch" not in finished.args, "torch was loaded before the input was found wrong"


def test_an_unknown_recipe_key_is_named_with_its_line(folder: Path) -> None:
    assert_refused(
        run(folder, "grpo", "bad.yaml", more="qestions: {kind: open}"), "bad.yaml:10", "did you mean 'questions'"
    )


def test_a_wrong_type_is_named_with_its_line(folder: Path) -> None:
    assert_refused(run(folder, "grpo", "bad.yaml", more="seed: soon"), "bad.yaml:10", "'soon'", "integer")


def test_a_missing_recipe_is_named(folder: Path) -> None:
    assert_refused(run(folder, "sft", "absent.yaml"), "absent.yaml", "cannot be read")


def test_a_missing_table_is_named(folder: Path) -> None:
    (folder / "images" / "cases.csv").unlink()
    assert_refused(run(folder, "grpo", "bad.yaml"), "cases.csv")


def test_an_unknown_reward_is_named(folder: Path) -> None:
    recipe = RECIPE.format(more="").replace("get_hierarchy_reward", "get_hierarhcy_reward")
    assert_refused(run(folder, "grpo", "bad.yaml", recipe=recipe), "get_hierarhcy_reward", "get_hierarchy_reward")


def test_a_reward_with_a_wrong_signature_is_refused(folder: Path) -> None:
    (folder / "mine.py").write_text("def reward(text, label):\n    return [0.0]\n")
    recipe = RECIPE.format(more="").replace("factory: skinrl.rewards:get_hierarchy_reward", "fn: ./mine.py:reward")
    assert_refused(run(folder, "grpo", "bad.yaml", recipe=recipe), "text", "label")


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("a: {parents: [b], behaviour: benign}\n  b: {parents: [a]}", "cycle"),
        ("a: {parents: [no_such_class], behaviour: benign}", "no_such_class"),
        ("a: {parents: [melanocytic_neoplasm], behaviour: benign, synonyms: [psoriasis]}", "psoriasis"),
    ],
)
def test_a_faulty_taxonomy_is_refused_with_the_line(folder: Path, nodes: str, said: str) -> None:
    (folder / "mine.yaml").write_text(f"extends: dermatology\nnodes:\n  {nodes}\n")
    assert_refused(run(folder, "grpo", "bad.yaml", more="taxonomy: mine.yaml"), "mine.yaml:3", said)


def test_unknown_labels_are_listed_all_at_once_with_the_nearest_nodes(folder: Path) -> None:
    (folder / "images" / "cases.csv").write_text(CASES.replace("sk", "psoriasiss").replace(",mm,", ",vitilligo,"))
    finished = run(folder, "grpo", "bad.yaml")
    assert_refused(finished, "psoriasiss", "vitilligo", "vitiligo")


def test_a_truncated_image_is_counted_and_named(folder: Path) -> None:
    content = (folder / "images" / "b.png").read_bytes()
    (folder / "images" / "b.png").write_bytes(content[: len(content) // 2])
    assert_refused(run(folder, "grpo", "bad.yaml"), "b.png", "1 ")


def test_a_split_that_shares_patients_is_refused(folder: Path) -> None:
    (folder / "images" / "cases.csv").write_text(CASES.replace("p3", "p1"))
    assert_refused(run(folder, "grpo", "bad.yaml"), "patient", "p1")


def test_an_empty_split_is_refused(folder: Path) -> None:
    (folder / "images" / "cases.csv").write_text(CASES.replace("train", "test"))
    assert_refused(run(folder, "grpo", "bad.yaml"), "train", "empty")


def test_grpo_without_a_finished_sft_says_what_to_run(folder: Path) -> None:
    assert_refused(run(folder, "grpo", "bad.yaml"), "sft", "not complete", "skinrl sft")


def test_another_recipe_in_the_same_run_is_refused_with_the_difference(folder: Path) -> None:
    assert run(folder, "grpo", "bad.yaml", more="seed: 5").returncode == 2  # lacks the SFT stage
    assert_refused(run(folder, "grpo", "bad.yaml"), "skinrl sft")  # no work was done under the other recipe
    (folder / "runs" / "bad" / "default" / "grpo" / "metrics.jsonl").write_text('{"step": 1}\n')
    assert_refused(run(folder, "grpo", "bad.yaml", more="seed: 7"), "-seed: 0", "+seed: 7")
