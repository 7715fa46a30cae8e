"""``benchmarks/gpu_smoke.py``: what it says where it cannot run, how it judges, and the whole path in small."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from recipe_models import load_gpu_smoke, load_shapes

from skinrl.recipe import load_recipe

gpu_smoke = load_gpu_smoke()


def step(gap: float = 0.01, loss: float = 0.1, grad_norm: float = 1.0) -> dict[str, Any]:
    return {"rollout/logp_gap_mean": gap, "loss": loss, "grad_norm": grad_norm, "step": 1}


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_it_says_so_and_exits_with_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert gpu_smoke.main(["--directory", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpu_smoke: no GPU in sight (torch ")
    assert "--tiny" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_gpu")
def test_a_folder_that_is_not_there_exits_with_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert gpu_smoke.main(["--tiny", "--engine", "generate", "--directory", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--engine", "magic"], ["--steps", "3"], ["7b"]])
def test_unknown_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        gpu_smoke.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_too_little_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(gpu_smoke.CannotRunError, match="--directory"):
        gpu_smoke.check_disk(tmp_path, 2**60)


def test_the_engine_gets_room_for_its_weights_and_a_cache() -> None:
    gib = 2**30
    assert gpu_smoke.engine_share(16 * gib, 80 * gib) == 0.28  # (16 + 6) / 80, upwards
    with pytest.raises(gpu_smoke.CannotRunError, match="needs about 44 GiB"):
        gpu_smoke.engine_share(16 * gib, 40 * gib)


@pytest.mark.parametrize(
    ("steps", "moved", "fault"),
    [
        ([step()] * 5, 0.1, None),
        ([step()] * 4, 0.1, "4 steps"),
        ([step()] * 4 + [step(0.2)], 0.1, "step 5: mean gap 0.2"),
        ([step()] * 4 + [step(float("nan"))], 0.1, "step 5"),
        ([step(0.04)] * 5, 0.1, "over all steps 0.04"),
        ([step(loss=float("inf"))] + [step()] * 4, 0.1, "loss inf"),
        ([step()] * 5, 0.0, "did not move"),
    ],
)
def test_a_run_is_judged_by_its_limits(steps: list[dict[str, Any]], moved: float, fault: str | None) -> None:
    faults = gpu_smoke.judge(steps, warn=0.03, stop=0.1, moved=moved)
    assert (faults == []) if fault is None else any(fault in found for found in faults)


def test_memory_is_counted_to_the_innermost_phase() -> None:
    used = 10

    with gpu_smoke.MemoryWatch(lambda: used) as watch, watch.phase("outer"):
        time.sleep(0.05)
        with watch.phase("inner"):
            used = 50
            time.sleep(0.1)
        used = 20
        time.sleep(0.05)
    assert watch.peaks["inner"] == 50
    assert watch.peaks["outer"] == 20
    assert watch.seconds["inner"] == pytest.approx(0.1, abs=0.09)
    assert watch.seconds["outer"] == pytest.approx(0.1, abs=0.09)


def test_the_settings_are_the_recipes_own_but_for_their_length(tmp_path: Path) -> None:
    recipe = load_recipe(gpu_smoke.RECIPE)
    args = gpu_smoke.settings(recipe, output=tmp_path, tiny=False, vllm=True, gpu=False, share=0.4)
    changed = {"max_steps", "gradient_accumulation_steps", "max_completion_length", "learning_rate"}
    changed |= {"lr_scheduler_type", "warmup_steps", "vllm_gpu_memory_utilization", "vllm_enable_sleep_mode"}
    changed |= {"log_completions", "init"}
    for key, value in recipe.grpo.items():
        if key not in changed:
            assert getattr(args, key) == value, key
    assert args.use_vllm
    assert args.vllm_mode == "colocate"


def test_the_tokenizer_fills_the_vocabulary_and_writes_none_of_the_filling() -> None:
    tokenizer = load_shapes().build_tokenizer(1024, ["melanoma"] * 3)
    assert len(tokenizer) == 1024
    text = "melanoma <filling_400> Ωμέγα"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert not any(token.startswith("<filling") for token in tokenizer.convert_ids_to_tokens(ids))
    assert tokenizer.decode(range(1016)).count("<filling_") > 500  # whatever a random model writes can be read
    assert tokenizer.convert_tokens_to_ids("<|video_pad|>") == 1023


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_the_whole_path_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out" / "smoke.json"
    work = tmp_path / "work"
    work.mkdir()
    assert gpu_smoke.main(["--tiny", "--engine", "generate", "--directory", str(work), "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["passed"]
    assert [row["step"] for row in result["steps"]] == [1, 2, 3, 4, 5]
    assert max(row["rollout/logp_gap_mean"] for row in result["steps"]) <= 1e-5
    assert result["adapter_moved"] > 0
    assert {"make checkpoint", "load policy", "open engine", "train", "rollout"} <= set(result["peak_bytes"])
    assert min(result["peak_bytes"].values()) > 10_000_000
    assert list(work.iterdir()) == []  # the checkpoint is gone
    printed = capsys.readouterr().out
    assert "gap mean" in printed
    assert printed.rstrip().endswith("passed")
