"""Prompts of unequal length in one batch: the image must be looked for where the padding put it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_model import build_tiny_vlm, distinct_tokens_reward, random_image


def rows_of_unequal_length() -> list[dict[str, Any]]:
    """Text before the image would hide the fault: the questions differ by a few tokens after it."""
    questions = [
        "Diagnose.",
        "Diagnose this lesion.",
        "Diagnose this lesion, brown, scaly, with a border.",
        "Melanoma?",
    ]
    return [
        {"prompt": [{"role": "user", "content": question}], "images": [random_image(number)], "label": "x"}
        for number, question in enumerate(questions)
    ]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_processor_that_pads_on_either_side_gives_the_same_policy(side: str, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.grpo.trainer import SkinGRPOTrainer

    model_path = build_tiny_vlm(tmp_path / "model")
    args = SkinGRPOConfig(
        output_dir=str(tmp_path / "run"),
        max_steps=1,
        per_device_train_batch_size=8,
        num_generations=2,
        max_completion_length=6,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    trainer = SkinGRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(model_path),
        reward_funcs=distinct_tokens_reward,
        args=args,
        train_dataset=Dataset.from_list(rows_of_unequal_length()),
        processing_class=AutoProcessor.from_pretrained(model_path, padding_side=side),
    )
    trainer.train()
    (gap,) = (row["rollout/logp_gap_max"] for row in trainer.state.log_history if "rollout/logp_gap_max" in row)
    assert gap <= 1e-5
