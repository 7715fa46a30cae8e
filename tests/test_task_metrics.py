"""Task metrics during training: they leave no trace in it, count over resumes, keep the best model and stop."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_model import build_tiny_vlm, random_image
from tiny_trainers import assert_same_weights, grpo_trainer, losses, sft_trainer, weights
from transformers import TrainerCallback

from skinrl.checkpoint import RunStoppedError, verify_checkpoint
from skinrl.engine import Request, Sampling, open_generator
from skinrl.engine.trainer_engine import TrainerEngine, evaluating
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.trainer import SkinGRPOTrainer
from skinrl.task_metrics import NOTE, Plan, TaskMetrics, copy_best

REQUESTS = [
    Request([{"role": "user", "content": f"Diagnose lesion {i}{' please' * i}."}], (random_image(i, 56, 56),))
    for i in range(3)
] + [Request([{"role": "user", "content": "Define eczema."}])]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


def follow(trainer: Any, values: Mapping[int, float | None] | None = None, **plan: Any) -> TaskMetrics:
    """Adds the callback; ``values``: what is measured at each step. Without them the model answers requests."""
    engine = TrainerEngine(trainer)

    def measure(step: int) -> dict[str, float | None]:
        if values is not None:
            return {"score": values.get(step, 0.0)}
        random.random()
        np.random.rand()
        torch.rand(1)
        answers = engine.greedy(len(REQUESTS), REQUESTS.__getitem__, 6)
        return {"score": float(sum(len(one.token_ids) for one in answers))}

    callback = TaskMetrics(trainer, measure, Plan(**{"every": 2, "metric": "score", **plan}))
    trainer.add_callback(callback)
    return callback


def measured(trainer: Any) -> dict[int, float]:
    """Step -> what was logged."""
    return {row["step"]: row["task/score"] for row in trainer.state.log_history if "task/score" in row}


def sft(model: Path, folder: Path, **settings: Any) -> Any:
    # lora_dropout draws random numbers at every step: a shifted state shows at once
    torch.manual_seed(0)  # of the adapters' first weights
    lora = {"r": 4, "alpha": 8, "dropout": 0.2, "target_modules": "all-linear"}
    return sft_trainer(model, folder, load={"lora": lora}, **{"max_steps": 5, **settings})


def grpo(model: Path, folder: Path, **settings: Any) -> Any:
    classes = {"trainer_class": SkinGRPOTrainer, "config_class": SkinGRPOConfig}
    # without seeds of their own, rollouts show whether the random state moved
    return grpo_trainer(model, folder, **classes, **{"max_steps": 4, "seed_rollouts": False, **settings})


@pytest.mark.parametrize("build", [sft, grpo])
def test_training_is_the_same_with_and_without_measuring(build: Any, model: Path, tmp_path: Path) -> None:
    settings = {"gradient_checkpointing": True, "logging_steps": 2}
    plain = build(model, tmp_path / "plain", **settings)
    plain.train()
    watched = build(model, tmp_path / "watched", **settings)
    follow(watched, every=1, keep_best=True)
    watched.train()
    assert losses(watched) == losses(plain) != []
    assert_same_weights(weights(watched.model), weights(plain.model))
    ours = [row for row in watched.state.log_history if "loss" in row]
    for row, other in zip(ours, [row for row in plain.state.log_history if "loss" in row], strict=True):
        assert row.keys() == other.keys(), "a log of its own took numbers from the step's"
    assert set(measured(watched)) == set(range(plain.state.max_steps + 1))


def test_the_start_every_nth_and_the_last_step_are_measured(model: Path, tmp_path: Path) -> None:
    trainer = sft(model, tmp_path)
    follow(trainer, {0: 1.0, 2: 3.0, 4: 2.0, 5: 4.0})
    trainer.train()
    assert measured(trainer) == {0: 1.0, 2: 3.0, 4: 2.0, 5: 4.0}
    best = [row["task/best"] for row in trainer.state.log_history if "task/best" in row]
    assert best == [3.0, 3.0, 4.0]  # the start is logged and does not count
    assert len(losses(trainer)) == 5


def test_answers_are_those_of_the_trained_weights_in_an_engine_of_their_own(model: Path, tmp_path: Path) -> None:
    trainer = sft_trainer(model, tmp_path, max_steps=6, learning_rate=1e-2)
    trainer.processing_class.tokenizer.padding_side = "right"
    before = TrainerEngine(trainer).greedy(4, REQUESTS.__getitem__, 12)
    trainer.train()
    with evaluating(trainer):
        after = TrainerEngine(trainer).greedy(4, REQUESTS.__getitem__, 12)
    assert trainer.model.training
    assert trainer.processing_class.tokenizer.padding_side == "right"
    trainer.save_model(str(tmp_path / "saved"))
    engine = open_generator(str(tmp_path / "saved"), backend="transformers", dtype="float32")
    expected = [one for (one,) in engine.generate(REQUESTS, Sampling(12, temperature=0.0))]
    assert [one.token_ids for one in after] == [one.token_ids for one in expected]
    assert [(one.text, one.finished) for one in after] == [(one.text, one.finished) for one in expected]
    assert [one.token_ids for one in before] != [one.token_ids for one in after]


def gains(values: Sequence[float | None], **plan: Any) -> tuple[list[bool], list[bool]]:
    """At each step from 1: whether it is the best so far, and whether training stops."""
    callback = TaskMetrics(None, lambda step: {}, Plan(every=1, metric="score", **plan))
    found = [(callback._is_best(value, step), callback._is_flat(step)) for step, value in enumerate(values, start=1)]
    return [best for best, _ in found], [flat for _, flat in found]


@pytest.mark.parametrize(
    ("values", "plan", "best", "stop"),
    [
        ([1, 2, 3, 3, 3], {"patience": 2}, [1, 2, 3], 5),
        ([1, 2, 3, 3, 4, 4], {"patience": 2}, [1, 2, 3, 5], None),
        # 1.4 is no gain of more than 0.5 over 1.0, 1.6 is; 2.0 and 2.1 are none over 1.6, and yet the best so far
        ([1.0, 1.4, 1.6, 2.0, 2.1], {"patience": 2, "min_delta": 0.5}, [1, 2, 3, 4, 5], 5),
        ([5, 4, 4, 3, 3, 3], {"patience": 2, "larger_is_better": False}, [1, 2, 4], 6),
        ([9, 9, 1, 1, 1], {"patience": 2, "min_steps": 3}, [3], 5),  # step 3 is the first that counts
        ([1, None, None], {"patience": 2}, [1], 3),  # what is not defined is no gain
        ([None, 1, 2], {"patience": 2}, [2, 3], None),
        ([3, 2, 1, 0], {}, [1], None),
    ],
)
def test_gains_and_the_end_of_patience(
    values: Sequence[float | None], plan: dict[str, Any], best: list[int], stop: int | None
) -> None:
    found, flat = gains(values, **plan)
    assert [step for step, one in enumerate(found, start=1) if one] == best
    assert flat.index(True) + 1 == stop if stop else not any(flat)


class Remember(TrainerCallback):
    """The weights after every step."""

    def __init__(self) -> None:
        self.at: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        names = {name.replace(".default", ""): value for name, value in model.state_dict().items() if "lora_" in name}
        self.at[state.global_step] = {name: value.clone() for name, value in names.items()}


def test_the_best_model_is_kept_whole_and_the_one_before_it_goes(model: Path, tmp_path: Path) -> None:
    trainer = sft(model, tmp_path)
    remember = Remember()
    trainer.add_callback(remember)
    callback = follow(trainer, {1: 0.2, 2: 0.1, 3: 0.7, 4: 0.7, 5: 0.3}, every=1, keep_best=True)
    trainer.train()
    assert [path.name for path in tmp_path.glob("*best*")] == ["best-3"]
    verify_checkpoint(tmp_path / "best-3")
    found = callback.kept()
    assert found == (tmp_path / "best-3", {"step": 3, "metric": "score", "value": 0.7})
    copy_best(found[0], tmp_path / "final")
    names = {path.name for path in (tmp_path / "final").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names
    assert not {NOTE, "manifest.json"} & names
    saved = load_file(tmp_path / "final" / "adapter_model.safetensors")
    assert_same_weights(saved, remember.at[3])
    assert any(not torch.equal(saved[name], remember.at[5][name]) for name in saved)


def test_a_resumed_run_goes_on_counting_and_keeps_the_best(model: Path, tmp_path: Path) -> None:
    values = {1: 0.5, 2: 0.9, 3: 0.8, 4: 0.7, 5: 0.6, 6: 0.5}
    plan = {"every": 1, "patience": 4, "keep_best": True}
    first = sft(model, tmp_path, max_steps=4, save_strategy="steps", save_steps=4)
    follow(first, values, **plan)
    first.train()
    resumed = sft(model, tmp_path, max_steps=9)
    callback = follow(resumed, values, **plan)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6  # steps 3 to 6 gained nothing
    assert (callback.best, callback.best_step) == (0.9, 2)
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-2"]


def test_a_better_model_of_a_stretch_that_was_cut_off_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    """The run died at step 4; it goes on from step 2 and, with engines that do not repeat exactly, fares worse."""
    plan = {"every": 1, "keep_best": True}
    first = sft(model, tmp_path, max_steps=4, save_strategy="steps", save_steps=2)
    follow(first, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.8}, **plan)
    first.train()
    (tmp_path / "tmp-best-7").mkdir()  # what a crash leaves
    again = sft(model, tmp_path, max_steps=4)
    callback = follow(again, {3: 0.4, 4: 0.5}, **plan)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert (callback.best, callback.best_step) == (0.5, 4)
    kept = callback.kept()
    assert kept is not None
    assert kept[1]["value"] == 0.8
    assert [path.name for path in tmp_path.glob("*best-*")] == ["best-4"]


class SignalAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_what_a_signal_left_out_is_measured_when_the_run_goes_on(model: Path, tmp_path: Path) -> None:
    stopped = sft(model, tmp_path)
    stopped.add_callback(SignalAt(2))
    follow(stopped, {2: 0.6})
    with pytest.raises(RunStoppedError):
        stopped.train()
    assert set(measured(stopped)) == {0}
    resumed = sft(model, tmp_path)
    follow(resumed, {2: 0.6, 4: 0.7})
    resumed.train(resume_from_checkpoint=True)
    assert measured(resumed) == {0: 0.0, 2: 0.6, 4: 0.7, 5: 0.0}
