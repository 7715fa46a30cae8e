"""A resumed run equals an uninterrupted one, bit for bit, and never starts from the wrong weights."""

from __future__ import annotations

import json
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import build_tiny_vlm, image_rows
from tiny_trainers import assert_same_weights, grpo_trainer, losses, sft_rows, sft_trainer, weights
from trl import GRPOTrainer, SFTTrainer

from skinrl.checkpoint import CheckpointError, strict_load
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.trainer import SkinGRPOTrainer
from skinrl.model import load_policy

SAVED = {"save_strategy": "steps", "save_steps": 6}
LORA = {"r": 4, "alpha": 8, "dropout": 0.1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Seven steps of SFT with checkpoints at 6 (in the second epoch) and 7."""
    trainer = sft_trainer(model, tmp_path_factory.mktemp("run"), max_steps=7, **SAVED)
    trainer.train()
    return trainer


def checkpoint(trainer: Any, step: int) -> str:
    return str(Path(trainer.args.output_dir) / f"checkpoint-{step}")


def copy_of(trainer: Any, to: Path) -> Path:
    return shutil.copytree(trainer.args.output_dir, to / "run")


def test_resumed_sft_equals_the_uninterrupted_run(finished: Any, model: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    resumed = sft_trainer(model, run, max_steps=7, **SAVED)
    resumed.train(resume_from_checkpoint=str(run / "checkpoint-6"))
    assert losses(resumed) == losses(finished)
    assert_same_weights(weights(finished.model), weights(resumed.model))
    assert resumed.state.log_history[-2]["num_tokens"] == finished.state.log_history[-2]["num_tokens"]


def test_stock_trainer_resumes_the_same_checkpoint_from_other_weights(
    finished: Any, model: Path, tmp_path: Path
) -> None:
    """The fault that the strict load is for; if this fails, transformers has mended it."""
    run = copy_of(finished, tmp_path)
    stock = sft_trainer(model, run, max_steps=7, trainer_class=SFTTrainer)
    stock.train(resume_from_checkpoint=str(run / "checkpoint-6"))
    assert losses(stock)[-1] > losses(finished)[-1] + 0.3


def test_strict_load_restores_every_weight_and_refuses_another_model(finished: Any, model: Path) -> None:
    fresh, _ = load_policy(model, dtype="float32")
    strict_load(fresh, checkpoint(finished, 7))
    assert_same_weights(weights(fresh), weights(finished.model))
    with_adapter, _ = load_policy(model, dtype="float32", lora=LORA)
    with pytest.raises(CheckpointError, match="expected the weights of adapter 'default'"):
        strict_load(with_adapter, checkpoint(finished, 7))


def test_resumed_lora_with_dropout_equals_the_uninterrupted_run(model: Path, tmp_path: Path) -> None:
    whole = sft_trainer(model, tmp_path, max_steps=5, save_strategy="steps", save_steps=3, load={"lora": LORA})
    whole.train()
    resumed = sft_trainer(model, tmp_path, max_steps=5, load={"lora": LORA})
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert losses(resumed) == losses(whole)
    assert_same_weights(weights(whole.model), weights(resumed.model))


def test_adapter_that_does_not_fit_is_refused(model: Path, tmp_path: Path) -> None:
    narrow, _ = load_policy(model, dtype="float32", lora=LORA, freeze=["vision"])
    narrow.save_pretrained(tmp_path)
    wide, _ = load_policy(model, dtype="float32", lora=LORA)
    with pytest.raises(CheckpointError, match="weights are missing from the checkpoint, such as base_model"):
        strict_load(wide, tmp_path)


# One prompt of four a step, from a buffer of three steps that is used twice: an epoch is six steps
BUFFERED = {"steps_per_generation": 3, "num_iterations": 2, "max_steps": 14}


@pytest.fixture(scope="module")
def finished_grpo(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    trainer = grpo_trainer(model, tmp_path_factory.mktemp("grpo"), save_strategy="steps", save_steps=1, **BUFFERED)
    trainer.train()
    return trainer


# Amid a buffer's first use, amid its second use in the second epoch, between two buffers and two epochs
@pytest.mark.parametrize("saved_at", [2, 10, 12])
def test_resumed_grpo_equals_the_uninterrupted_run(
    saved_at: int, finished_grpo: Any, model: Path, tmp_path: Path
) -> None:
    run = copy_of(finished_grpo, tmp_path)
    resumed = grpo_trainer(model, run, **BUFFERED)
    resumed.train(resume_from_checkpoint=str(run / f"checkpoint-{saved_at}"))
    rewards = [log["reward"] for log in finished_grpo.state.log_history if "reward" in log]
    assert [log["reward"] for log in resumed.state.log_history if "reward" in log] == rewards
    assert_same_weights(weights(finished_grpo.model), weights(resumed.model))


def test_resumed_grpo_of_an_adapter_with_its_frozen_reference_equals_the_uninterrupted_run(
    model: Path, tmp_path: Path
) -> None:
    make = partial(
        grpo_trainer,
        model,
        tmp_path,
        trainer_class=SkinGRPOTrainer,
        config_class=SkinGRPOConfig,
        rows=image_rows(4, text_only=frozenset({1, 2})),
        load={"lora": LORA},
        beta=0.5,
        generation_kwargs=None,
        **BUFFERED | {"max_steps": 5},
    )
    whole = make(save_strategy="steps", save_steps=2)
    whole.train()
    assert set(whole.model.peft_config) == {"default", "ref"}
    resumed = make()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert losses(resumed) == losses(whole)
    assert_same_weights(weights(whole.model), weights(resumed.model))


def test_mixin_changes_nothing_of_an_uninterrupted_run(finished_grpo: Any, model: Path, tmp_path: Path) -> None:
    stock = grpo_trainer(model, tmp_path, trainer_class=GRPOTrainer, **BUFFERED)
    stock.train()
    assert losses(stock) == losses(finished_grpo)
    assert_same_weights(weights(finished_grpo.model), weights(stock.model))


def test_true_goes_on_from_the_newest_complete_checkpoint(model: Path, tmp_path: Path) -> None:
    first = sft_trainer(model, tmp_path, max_steps=4, save_strategy="steps", save_steps=2)
    first.train(resume_from_checkpoint=True)  # nothing there: it begins
    assert first.state.global_step == 4
    (tmp_path / "checkpoint-4" / "model.safetensors").write_bytes(b"cut off")
    second = sft_trainer(model, tmp_path, max_steps=4, save_strategy="steps", save_steps=2)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: has 7 bytes"):
        second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    second.train(resume_from_checkpoint=True)  # from step 2, over the broken one
    assert_same_weights(weights(first.model), weights(second.model))
    third = sft_trainer(model, tmp_path, max_steps=4)
    strict_load(third.model, tmp_path / "checkpoint-4")
    (tmp_path / "checkpoint-2" / "manifest.json").unlink()
    (tmp_path / "checkpoint-4" / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match="none of its 2 checkpoints is complete; delete them to begin anew"):
        third.train(resume_from_checkpoint=True)


def test_state_of_another_run_is_refused(finished: Any, model: Path, tmp_path: Path) -> None:
    other = sft_trainer(model, tmp_path, max_steps=7)
    with pytest.raises(CheckpointError, match="is not in the run's own directory"):
        other.train(resume_from_checkpoint=checkpoint(finished, 6))


def test_processes_other_than_before_are_announced(finished: Any, model: Path, tmp_path: Path, caplog: Any) -> None:
    from skinrl.manifest import write_manifest

    trainer = sft_trainer(model, tmp_path, max_steps=2, save_strategy="steps", save_steps=1)
    trainer.train()
    write_manifest(tmp_path / "checkpoint-1", step=1, world_size=2)
    again = sft_trainer(model, tmp_path, max_steps=2)
    with caplog.at_level(logging.WARNING):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert "was written by 2 processes, this run has 1" in caplog.text


def test_retention_keeps_the_newest_and_the_best(model: Path, tmp_path: Path) -> None:
    settings = {
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "eval_rows": sft_rows(2),
        "save_total_limit": 2,
        "metric_for_best_model": "eval_loss",
        "load_best_model_at_end": True,
        "learning_rate": 0.5,  # so high that an early step is the best
        "lr_scheduler_type": "constant",
    }
    trainer = sft_trainer(model, tmp_path, **settings)
    trainer.train()
    best = trainer.state.best_global_step
    assert best < 6
    assert trainer.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    assert {path.name for path in tmp_path.glob("*checkpoint*")} == {f"checkpoint-{best}", "checkpoint-6"}
    recorded = json.loads((tmp_path / "checkpoint-6" / "trainer_state.json").read_text())
    assert recorded["best_model_checkpoint"] == str(tmp_path / f"checkpoint-{best}")
    # The stock trainer would "load" the best Qwen2.5-VL without changing a weight
    expected, _ = load_policy(tmp_path / f"checkpoint-{best}", dtype="float32")
    assert_same_weights(weights(trainer.model), weights(expected))


def test_checkpoints_and_models_hold_weights_as_safetensors_and_no_pickled_arguments(
    finished: Any, tmp_path: Path
) -> None:
    finished.save_model(str(tmp_path))
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json", ".jinja"}
    kept = {path.name for path in Path(checkpoint(finished, 7)).iterdir()}
    assert "training_args.bin" not in kept
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "resume_state_0.pt", "manifest.json"} <= kept


def test_disk_full_while_saving_says_so_and_keeps_the_checkpoint_before(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skinrl.errors import RunError
    from skinrl.manifest import last_complete_checkpoint

    save = torch.save

    def full(value: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-2" in str(target):
            raise OSError(28, "No space left on device")
        save(value, target, *args, **kwargs)

    trainer = sft_trainer(model, tmp_path, max_steps=3, save_strategy="steps", save_steps=1)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"checkpoint-2: could not be written .*No space left on device"):
        trainer.train()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
