"""The supervised stage on one process: it learns, counts tokens alike however they are dealt, and stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import build_tiny_vlm
from tiny_trainers import GRADIENT_CASES, InOrder, assert_same_weights, losses, sft_rows, sft_trainer, weights
from transformers import TrainerCallback

import skinrl.stopping
from skinrl.errors import InputError
from skinrl.sft import FlatLossCallback, SkinSFTConfig


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


def test_loss_falls_on_rows_with_and_without_images(model: Path, tmp_path: Path) -> None:
    rows = sft_rows(8, text_only=frozenset({0, 1, 4, 5, 7}))
    trainer = sft_trainer(model, tmp_path, rows=rows, max_steps=40)
    trainer.train()
    seen = losses(trainer)
    assert seen[0] > 5  # about log(400), the size of the vocabulary
    assert sum(seen[-5:]) / 5 < 0.5
    assert trainer.text_only.calls > 0
    assert trainer.state.log_history[-2]["mean_token_accuracy"] > 0.9


def test_loss_counts_the_completion_alone(model: Path, tmp_path: Path) -> None:
    trainer = sft_trainer(model, tmp_path, max_steps=1)
    inputs = trainer.data_collator([trainer.train_dataset[0]])
    tokenizer = trainer.processing_class.tokenizer
    counted = inputs["labels"][inputs["labels"] != -100]
    assert tokenizer.decode(counted) == "Diagnosis: psoriasis<|im_end|>\n"


def test_long_rows_are_never_cut(model: Path, tmp_path: Path) -> None:
    rows = sft_rows(2)
    rows[0]["completion"][0]["content"] = "Findings: " + "x" * 1500
    trainer = sft_trainer(model, tmp_path, rows=rows, max_steps=1)
    assert trainer.data_collator([trainer.train_dataset[0]])["input_ids"].shape[1] > 1500


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_gradient_does_not_depend_on_accumulation(case: str, model: Path, tmp_path: Path) -> None:
    """Completions differ in length, so the mean of the micro-batches' means would be another number."""
    after = []
    for size in (4, 1):
        settings = InOrder.settings | {"per_device_train_batch_size": size, "gradient_accumulation_steps": 4 // size}
        trainer = sft_trainer(model, tmp_path, rows=GRADIENT_CASES[case], trainer_class=InOrder, **settings)
        before = weights(trainer.model)
        trainer.train()
        after.append(weights(trainer.model))
    for name in before:
        whole, dealt = after[0][name] - before[name], after[1][name] - before[name]
        assert torch.linalg.norm(whole - dealt) <= 2e-5 * torch.linalg.norm(whole) + 1e-9, name


def test_flat_is_no_fall_of_more_than_the_threshold_below_the_best() -> None:
    class Control:
        should_training_stop = False

    class State:
        is_world_process_zero = False

    callback = FlatLossCallback(patience=2, min_delta=0.1)
    stops = []
    # 0.95 is no fall from 1.0; 0.85 is; 0.80 and 0.76 are none from 0.85, though 0.76 is 0.19 below 0.95
    for loss in (1.0, 0.95, 0.85, 0.80, 0.76, 0.75):
        control = Control()
        callback.on_evaluate(None, State(), control, {"eval_loss": loss})
        stops.append(control.should_training_stop)
    assert stops == [False, False, False, False, True, True]
    assert callback.stopped
    assert callback.best == 0.85


def test_training_stops_when_the_validation_loss_is_flat_and_goes_on_counting_after_a_resume(
    model: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "max_steps": 30,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "eval_rows": sft_rows(2),
        "flat_patience": 3,
        "flat_min_delta": 100.0,  # nothing is a fall: the first evaluation is the best, three more are flat
    }
    whole = sft_trainer(model, tmp_path, save_strategy="steps", save_steps=5, **settings)
    whole.train()
    assert whole.state.global_step == 8
    resumed = sft_trainer(model, tmp_path, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert resumed.state.global_step == 8
    assert_same_weights(weights(whole.model), weights(resumed.model))
    [flat] = [callback for callback in resumed.callback_handler.callbacks if isinstance(callback, FlatLossCallback)]
    assert flat.stopped


class Clock(TrainerCallback):
    """Every step takes a second."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.now += 1


def test_seconds_are_a_budget_that_a_resume_does_not_renew(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(skinrl.stopping, "time", clock)

    def run(resume: str | bool | None) -> int:
        trainer = sft_trainer(model, tmp_path, max_steps=9, max_seconds=3.5, save_strategy="steps", save_steps=1)
        trainer.add_callback(clock)
        trainer.train(resume_from_checkpoint=resume)
        return trainer.state.global_step

    assert run(None) == 4
    clock.now += 1000  # between the runs
    assert run(str(tmp_path / "checkpoint-1")) == 4
    assert run(True) == 5  # the budget was used up, and a step is the least that a run does


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flat_patience": 0, "eval_strategy": "steps", "eval_steps": 1}, "sft.flat_patience: found 0"),
        ({"flat_patience": 3}, "sft.flat_patience needs evaluations"),
        ({"max_seconds": -1.0}, "sft.max_seconds: found -1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        SkinSFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **settings)


def test_nothing_is_cut_and_nothing_stops_early_by_default(tmp_path: Path) -> None:
    args = SkinSFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    assert (args.max_length, args.flat_patience, args.max_seconds) == (None, None, None)


def test_no_word_of_the_run_leaves_the_machine(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trl.trainer.base_trainer

    def send(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("telemetry was sent")

    monkeypatch.setattr(trl.trainer.base_trainer, "send_telemetry", send)
    monkeypatch.delenv("CI", raising=False)
    sft_trainer(model, tmp_path, max_steps=1)
