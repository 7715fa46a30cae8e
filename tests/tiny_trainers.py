"""What the tests of SFT and of checkpoints share: rows, trainers on a tiny model, and ways to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from tiny_model import distinct_tokens_reward, image_rows, random_image
from torch.utils.data import SequentialSampler
from trl import GRPOConfig, GRPOTrainer

from skinrl.checkpoint import CheckpointMixin
from skinrl.model import load_policy
from skinrl.sft import SkinSFTConfig, SkinSFTTrainer

ANSWERS = ("psoriasis", "melanoma", "eczema", "acne")


def sft_rows(count: int, *, text_only: frozenset[int] = frozenset()) -> list[dict[str, Any]]:
    """Rows of prompt, completion and images; those in ``text_only`` have no image."""
    return [
        {
            "prompt": [{"role": "user", "content": f"Diagnose lesion {i}."}],
            "completion": [{"role": "assistant", "content": f"Diagnosis: {ANSWERS[i % 4]}"}],
            "images": [] if i in text_only else [random_image(i, 56, 56)],
        }
        for i in range(count)
    ]


def _case(*images: bool) -> list[dict[str, Any]]:
    return sft_rows(4, text_only=frozenset(i for i, has in enumerate(images) if not has))


# Four rows: two for each of two processes
GRADIENT_CASES = {
    "second_process_without": _case(True, True, False, False),
    "none_at_all": _case(False, False, False, False),
    "mixed_on_both": _case(True, False, False, True),
}


class InOrder(SkinSFTTrainer):
    """Takes the rows in their order; with ``settings``, one step whose change of the weights is the gradient."""

    # A rate so high that the change is not lost in the rounding of the weights
    settings: ClassVar[dict[str, Any]] = {
        "optim": "sgd",
        "learning_rate": 1e6,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0,
        "max_steps": 1,
    }

    def _get_train_sampler(self, *args: Any) -> Any:
        return SequentialSampler(self.train_dataset)


def sft_trainer(model_path: Path, output_dir: Path, *, rows: Any = None, load: Any = None, **settings: Any) -> Any:
    """A ``SkinSFTTrainer`` in float32 on CPU; ``settings`` go to its config, ``load`` to ``load_policy``."""
    eval_rows = settings.pop("eval_rows", None)
    trainer_class = settings.pop("trainer_class", SkinSFTTrainer)
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "optim": "adamw_torch",
        "seed": 3,
    }
    args = SkinSFTConfig(output_dir=str(output_dir), **(defaults | settings))
    model, processor = load_policy(model_path, dtype="float32", **(load or {}))
    return trainer_class(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(sft_rows(8) if rows is None else rows),
        eval_dataset=None if eval_rows is None else Dataset.from_list(eval_rows),
        processing_class=processor,
    )


class CheckpointedGRPO(CheckpointMixin, GRPOTrainer):
    """Stock GRPO, with trusted checkpoints."""


def grpo_trainer(
    model_path: Path,
    output_dir: Path,
    *,
    trainer_class: Any = CheckpointedGRPO,
    config_class: Any = GRPOConfig,
    rows: Any = None,
    load: Any = None,
    **settings: Any,
) -> Any:
    """A GRPO trainer in float32 on CPU; ``settings`` go to its config, ``load`` to ``load_policy``."""
    args = config_class(
        output_dir=str(output_dir),
        **{
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 8,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "disable_tqdm": True,
            "seed": 5,
            "generation_kwargs": {"suppress_tokens": [3, 4, 5, 6, 7]},
        }
        | settings,
    )
    policy, processor = load_policy(model_path, dtype="float32", max_pixels=56 * 56, **(load or {}))
    return trainer_class(
        model=policy,
        reward_funcs=distinct_tokens_reward,
        args=args,
        train_dataset=Dataset.from_list(image_rows(4) if rows is None else rows),
        processing_class=processor,
    )


def losses(trainer: Any) -> list[float]:
    """The logged training losses in order."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def weights(model: Any) -> dict[str, torch.Tensor]:
    """A copy of every weight by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, different
