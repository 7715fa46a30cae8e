"""Training with packed groups against training with rows: one process, ZeRO-3 and DDP on two, and a planted fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from packed_rows import FAULTS, GRADIENT, LOSS, largest_difference, planted
from programs import run_program
from safetensors.torch import load_file
from tiny_model import build_tiny_vlm, image_rows
from tiny_trainers import grpo_trainer

from skinrl.errors import InputError
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.trainer import SkinGRPOTrainer

GRAD_NORM = 1e-3  # relative, after steps of Adam, which makes the smallest gradients large


@pytest.fixture(scope="module")
def tiny_model_path(tmp_path_factory):
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


def train(
    path: Path, folder: Path, *, shared: bool, load: Any = None, unchecked: bool = False, **settings: Any
) -> Any:
    """Three steps of GRPO on two prompts of four completions each."""
    settings = {"per_device_train_batch_size": 8, "max_steps": 3, "shared_prefix": shared} | settings
    torch.manual_seed(0)  # of the adapter
    trainer = grpo_trainer(
        path, folder, trainer_class=SkinGRPOTrainer, config_class=SkinGRPOConfig, load=load, **settings
    )
    if unchecked:
        trainer._sharing._checked = True
    trainer.train()
    return trainer


def same(rows_trainer: Any, groups_trainer: Any) -> bool:
    """Whether loss, gradient norm, entropy and, with a reference, KL of every step are the same."""
    history = [
        [entry for entry in t.state.log_history if "grad_norm" in entry] for t in (rows_trainer, groups_trainer)
    ]
    assert len(history[0]) == len(history[1]) >= 3
    return all(
        packed["loss"] == pytest.approx(plain["loss"], abs=LOSS)
        and packed["grad_norm"] == pytest.approx(plain["grad_norm"], rel=GRAD_NORM)
        and packed["entropy"] == pytest.approx(plain["entropy"], abs=LOSS)
        and packed.get("kl", 0) == pytest.approx(plain.get("kl", 0), abs=LOSS)
        for plain, packed in zip(*history, strict=True)
    )


LORA = {"lora": {"r": 4, "alpha": 8}}
CASES = {
    "plain": {},
    "gradient checkpointing": {"gradient_checkpointing": True},
    # With rows left out, micro-batches would be of unequal size, and the mean of their entropies one of their order
    "accumulation": {"gradient_accumulation_steps": 2, "skip_flat_groups": False},
    "reference model": {"beta": 0.1},
    "several iterations": {"num_iterations": 2, "max_steps": 4},
    "lora": {"load": LORA},
    "the adapter switched off as reference": {"load": LORA, "beta": 0.1},
    "frozen tower": {"load": {"freeze": ["vision", "merger"]}},
    "a prompt without an image": {"rows": image_rows(4, text_only=frozenset({1, 2}))},
    "a budget of tokens": {"shared_prefix_max_tokens": 60, "gradient_checkpointing": True},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=list(CASES))
def test_training_is_what_it_is_with_rows(tiny_model_path, tmp_path, settings):
    plain = train(tiny_model_path, tmp_path / "rows", shared=False, **settings)
    packed = train(tiny_model_path, tmp_path / "groups", shared=True, **settings)
    assert same(plain, packed)
    assert not packed._sharing.off
    for trainer, saves in ((plain, False), (packed, True)):
        found = [entry.get("shared_prefix/tokens_saved", 0) for entry in trainer.state.log_history if "loss" in entry]
        assert all((share > 0.3) is saves for share in found)


def test_training_with_a_token_wrong_in_one_mask_is_another(tiny_model_path, tmp_path):
    plain = train(tiny_model_path, tmp_path / "rows", shared=False)
    for fault in FAULTS:
        with planted(fault):
            wrong = train(tiny_model_path, tmp_path / "groups", shared=True, unchecked=True, rollout_gap=False)
        assert not same(plain, wrong)


def test_a_token_wrong_in_one_mask_is_found_at_the_start_and_the_rows_are_taken(tiny_model_path, tmp_path, caplog):
    plain = train(tiny_model_path, tmp_path / "rows", shared=False, max_steps=3)
    with planted(FAULTS[0]), caplog.at_level("WARNING"):
        found = train(tiny_model_path, tmp_path / "groups", shared=True)
    assert "gave log-probs that differ by" in caplog.text
    assert found._sharing.off
    assert same(plain, found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
            r"per_device_train_batch_size is 2 .*such as 4 with grpo\.gradient_acc.*=2",
        ),
        ({"shared_prefix_max_tokens": 0}, "shared_prefix_max_tokens is 0: expected at least 1"),
        ({"shared_prefix_attention": "dense"}, "is 'dense': expected one of two_part, flex"),
        ({"shared_prefix_attention": "flex"}, "the device 'cpu': FlexAttention trains on CUDA alone"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_one_that_does(tiny_model_path, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        train(tiny_model_path, tmp_path, shared=True, **settings)


# --- on two processes ------------------------------------------------------------------------------------------------


class Run:
    """What a scenario of ``shared_prefix_program.py`` left: its report, and the gradient of each run."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.report = run_program("shared_prefix_program.py", kind, folder, processes=2, timeout=300)
        self.folder = folder
        self.start = load_file(folder / "model" / "model.safetensors")

    def gradient(self, name: str) -> dict[str, torch.Tensor]:
        """The change of the weights, the rate times the gradient. Adapters start so near 0 that their end will do."""
        adapter = self.folder / name / "adapter_model.safetensors"
        if adapter.exists():
            return load_file(adapter)
        end = load_file(self.folder / name / "model.safetensors")
        assert end.keys() == self.start.keys()
        return {key: weight - self.start[key] for key, weight in end.items()}


@pytest.fixture(scope="module")
def zero3(tmp_path_factory):
    return Run("zero3", tmp_path_factory.mktemp("zero3"))


@pytest.mark.slow
@pytest.mark.parametrize(("plain", "packed"), [("rows", "packed"), ("rows", "budget"), ("lora_rows", "lora_packed")])
def test_zero3_gives_the_rows_gradients_on_two_processes(zero3, plain, packed):
    expected = zero3.gradient(plain)
    assert len(expected) > 30
    assert all(tensor.norm() > 1 for tensor in expected.values())  # at this rate every tensor went far
    assert largest_difference(expected, zero3.gradient(packed)) < GRADIENT
    assert abs(zero3.report["runs"][plain]["loss"] - zero3.report["runs"][packed]["loss"]) < LOSS
    assert zero3.report["runs"][packed]["saved"] > 0.3
    for config in (zero3.folder / packed).glob("*config.json"):  # an engine that reads it knows no such attention
        assert "shared_prefix" not in config.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("plain", "wrong"), [("rows", "fault"), ("lora_rows", "lora_fault")])
def test_zero3_with_a_token_wrong_in_one_mask_gives_others(zero3, plain, wrong):
    assert largest_difference(zero3.gradient(plain), zero3.gradient(wrong)) > GRADIENT


@pytest.mark.slow
def test_a_fault_on_one_process_sends_both_back_to_the_rows(zero3):
    assert [process["fault_on_one"] for process in zero3.report["off"]] == [True, True]
    assert [process["packed"] for process in zero3.report["off"]] == [False, False]
    assert largest_difference(zero3.gradient("rows"), zero3.gradient("fault_on_one")) < GRADIENT


@pytest.mark.slow
def test_ddp_gives_the_rows_gradients_with_several_passes_before_a_backward(tmp_path):
    run = Run("ddp", tmp_path)
    assert largest_difference(run.gradient("rows"), run.gradient("budget")) < GRADIENT
    assert run.report["runs"]["budget"]["saved"] > 0.3
