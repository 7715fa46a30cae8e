"""Task metrics where engines or several processes take part: the same answers as elsewhere, no trace in training."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from programs import run_program
from task_metrics_program import TOKENS, requests

from skinrl.engine import Sampling, open_generator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


def answers(folder: Path, name: str, *, adapter: bool) -> list[list[int]]:
    """Of the saved model, from an engine of its own."""
    model, adapted = (folder / "model", str(folder / name)) if adapter else (folder / name, None)
    engine = open_generator(str(model), backend="transformers", dtype="float32", adapter=adapted)
    found = engine.generate(requests(), Sampling(TOKENS, temperature=0.0))
    return [list(one.token_ids) for (one,) in found]


def test_partitioned_weights_are_gathered_for_answers_and_all_processes_follow_the_main_one(folder: Path) -> None:
    processes = run_program("task_metrics_program.py", "zero3", folder, processes=2, timeout=280)["processes"]
    assert len(processes) == 2
    for one in processes:
        assert one["score"] == [0, 1, 2, 2, 2], "every process logs what the main one measured"
        assert one["steps"] == 4, "patience ended at the same step everywhere"
        assert one["losses"] == one["plain"][:4] != []
        assert one["kept"] == ["best-2"]
        assert one["whole"] == 0, "the weights are partitioned again"
        assert one["seen"] == processes[0]["seen"]
    assert len({str(seen) for seen in processes[0]["seen"]}) > 1, "training changed the answers"
    assert processes[0]["seen"][-1] == answers(folder, "saved", adapter=True)


@pytest.mark.vllm
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed on this platform")
def test_a_colocated_engine_answers_by_the_trained_weights_and_samples_on_as_before(folder: Path) -> None:
    found: dict[str, Any] = run_program("task_metrics_program.py", "vllm", folder, timeout=280)
    for name, run in found.items():
        watched, plain = run["sampled"]
        assert watched == plain != [], f"{name}: other tokens were sampled"
        # an engine that has answered other prompts batches in other ways, and rounds its log-probs elsewhere
        assert run["losses"] == pytest.approx(run["plain"], abs=1e-5), name
        assert run["gap"] <= 1e-4
        assert run["settings"] == [1.0, 8], "sampling settings were given back"
        assert len(run["seen"]) == 3
        assert run["seen"][-1] == answers(folder, name, adapter=name == "lora"), name
