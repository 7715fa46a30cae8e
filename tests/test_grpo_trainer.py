"""SkinGRPOTrainer with ``generate``: stock numbers with its options off, one policy with them on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_model import (
    VISION_TOKENS,
    build_tiny_text,
    build_tiny_vlm,
    distinct_tokens_reward,
    image_rows,
    random_image,
    text_rows,
)
from trl import GRPOConfig, GRPOTrainer

from skinrl.errors import InputError
from skinrl.grpo.config import STOCK_SETTINGS, SkinGRPOConfig
from skinrl.grpo.gap import RolloutGapError
from skinrl.grpo.trainer import SkinGRPOTrainer

GAP = 1e-5  # nats per token, float32
LORA_TARGETS = r".*(q_proj|v_proj|qkv)$"


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_vlm(tmp_path_factory.mktemp("vlm")))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_text(tmp_path_factory.mktemp("text")))


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 16,
        "max_steps": 3,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return {**defaults, **changes}


def build(
    model: str, folder: Path, rows: Sequence[dict[str, Any]], reward: Any = distinct_tokens_reward, **changes: Any
) -> SkinGRPOTrainer:
    peft_config = changes.pop("peft_config", None)
    return SkinGRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=SkinGRPOConfig(**settings(folder, **changes)),
        train_dataset=Dataset.from_list(list(rows)),
        peft_config=peft_config,
    )


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_with_the_options_off_losses_and_gradients_are_stock_grpos(text: str, tmp_path: Path) -> None:
    changes = {"max_steps": 4, "gradient_accumulation_steps": 2, "beta": 0.1}
    stock = GRPOTrainer(
        model=text,
        reward_funcs=distinct_tokens_reward,
        args=GRPOConfig(**settings(tmp_path, **changes)),
        train_dataset=Dataset.from_list(text_rows(8)),
    )
    stock.train()
    ours = build(text, tmp_path, text_rows(8), **changes, **STOCK_SETTINGS)
    ours.train()
    for name in ("loss", "grad_norm", "reward", "kl", "entropy"):
        assert len(logged(stock, name)) == 4
        assert logged(ours, name) == logged(stock, name), name
    assert logged(ours, "rollout/logp_gap_mean") == []
    for theirs, mine in zip(stock.model.parameters(), ours.model.parameters(), strict=True):
        assert torch.equal(theirs, mine)


def test_measuring_the_gap_changes_no_number(text: str, tmp_path: Path) -> None:
    changes = {"max_steps": 2, **STOCK_SETTINGS}
    without = build(text, tmp_path, text_rows(4), **changes)
    without.train()
    measured = build(text, tmp_path, text_rows(4), **{**changes, "rollout_gap": True})
    measured.train()
    assert logged(measured, "loss") == logged(without, "loss")
    assert logged(measured, "grad_norm") == logged(without, "grad_norm")
    assert len(logged(measured, "rollout/logp_gap_mean")) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "temperature": 0.7},
        {"num_iterations": 2, "max_steps": 4},
        {"beta": 0.1},
    ],
    ids=["plain", "accumulated", "reused", "reference"],
)
def test_generate_samples_the_trained_policy_at_every_step(vlm: str, tmp_path: Path, changes: dict[str, Any]) -> None:
    trainer = build(vlm, tmp_path, image_rows(4, text_only=frozenset({1})), **changes)
    trainer.train()
    gaps = logged(trainer, "rollout/logp_gap_mean")
    assert len(gaps) == trainer.args.max_steps
    assert 0 < max(gaps) <= GAP
    assert max(logged(trainer, "rollout/logp_gap_max")) <= 1e-4


def test_generate_with_lora_samples_the_trained_policy(vlm: str, tmp_path: Path) -> None:
    from peft import LoraConfig

    lora = LoraConfig(r=4, lora_dropout=0.5, target_modules=LORA_TARGETS, task_type="CAUSAL_LM")
    trainer = build(vlm, tmp_path, image_rows(4), peft_config=lora)
    trainer.train()
    assert 0 < max(logged(trainer, "rollout/logp_gap_mean")) <= GAP


def test_dropout_is_off_unless_asked_for_and_the_guard_finds_it(text: str, tmp_path: Path) -> None:
    changes = {"model_init_kwargs": {"attention_dropout": 0.3}, "max_steps": 12}
    quiet = build(text, tmp_path, text_rows(4), **{**changes, "max_steps": 2})
    quiet.train()
    assert max(logged(quiet, "rollout/logp_gap_mean")) <= GAP
    noisy = build(text, tmp_path, text_rows(4), **changes, disable_dropout=False)
    with pytest.raises(RolloutGapError, match="not samples of the policy that is trained") as stopped:
        noisy.train()
    assert "dropout left on" in str(stopped.value)
    assert noisy.state.global_step == 2  # the third step in a row, before its update
    assert (tmp_path / "out" / "failed_batches" / "step-000003-rank-0" / "rows.jsonl").is_file()


def test_banned_tokens_are_never_sampled_and_log_probs_are_those_without_them(vlm: str, tmp_path: Path) -> None:
    seen: list[int] = []

    def reward(completions: list[Any], completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        seen.extend(token for ids in completion_ids for token in ids)
        return distinct_tokens_reward(completions)

    trainer = build(vlm, tmp_path, image_rows(4), reward, max_steps=4, max_completion_length=24)
    banned = trainer.banned_token_ids
    assert banned == tuple(sorted(trainer._tokenizer.convert_tokens_to_ids(list(VISION_TOKENS))))
    trainer.train()
    assert len(seen) > 500  # about 8 of them would be banned ones
    assert not set(seen) & set(banned)

    trainer.model.eval()
    batch = trainer._generate_and_score_completions([row for row in image_rows(2) for _ in range(4)])
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
        "pixel_values": batch["pixel_values"],
        "image_grid_thw": batch["image_grid_thw"],
        "mm_token_type_ids": batch["mm_token_type_ids"],
    }
    length = batch["completion_ids"].shape[1]
    scored, entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        inputs["input_ids"],
        inputs["attention_mask"],
        length,
        compute_entropy=True,
        num_images=batch["num_images"],
        **{name: inputs[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")},
    )
    # brute force: the same model without its ban, the banned columns taken out of the softmax
    head = trainer.model.get_output_embeddings()
    head.bias = None
    with torch.no_grad():
        logits = trainer.model(**inputs).logits[:, -length - 1 : -1]
    logits[..., list(banned)] = float("-inf")
    logps = logits.log_softmax(-1)
    expected = logps.gather(-1, batch["completion_ids"][..., None])[..., 0]
    mask = batch["completion_mask"].bool()
    torch.testing.assert_close(scored[mask], expected[mask], rtol=0, atol=1e-5)
    entropy = -(logps.exp() * logps.masked_fill(logps.isinf(), 0)).sum(-1)
    torch.testing.assert_close(entropies[mask], entropy[mask], rtol=0, atol=1e-4)


def test_rewards_learn_which_completions_ended_by_themselves(text: str, tmp_path: Path) -> None:
    def reward(completions: list[Any], finished: list[bool], label: list[str], **kwargs: Any) -> list[float]:
        return [float(flag) for flag in finished]

    trainer = build(text, tmp_path, text_rows(4), reward)
    end = trainer._tokenizer.eos_token_id
    rows = text_rows(3)
    prompts = [row["prompt"] for row in rows]
    scores = trainer._calculate_rewards(rows, prompts, prompts, [[5, end], [end, 5], [5, 5]])
    assert scores[:, 0].tolist() == [1.0, 0.0, 0.0]
    assert "finished" not in rows[0]  # the caller's rows stay as they were


def test_rollouts_repeat_whatever_else_drew_random_numbers(text: str, tmp_path: Path) -> None:
    def rollout(disturb: bool) -> list[list[int]]:
        trainer = build(text, tmp_path, text_rows(2))
        if disturb:
            torch.rand(17)
        rows = [row for row in text_rows(2) for _ in range(4)]
        return [trainer._generate_and_score_completions(rows)["completion_ids"].tolist() for _ in range(2)]

    plain, disturbed = rollout(False), rollout(True)
    assert plain == disturbed
    assert plain[0] != plain[1]  # the second rollout of a step draws its own


def test_image_size_of_the_settings_reaches_the_trainers_prompt(vlm: str, tmp_path: Path) -> None:
    trainer = build(vlm, tmp_path, image_rows(2), min_pixels=28 * 28, max_pixels=56 * 56)
    prompt = [{"role": "user", "content": [{"type": "image", "image": random_image(0)}]}]
    ids, _, _ = trainer._tokenize_prompts([prompt])
    assert list(ids[0]).count(trainer.processing_class.image_token_id) == 4


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'shm': expected one of auto, nccl, file"):
        SkinGRPOConfig(**settings(tmp_path, vllm_weight_push="shm"))
    with pytest.raises(InputError, match="reports no log-probs"):
        SkinGRPOConfig(**settings(tmp_path, use_transformers_continuous_batching=True))
    with pytest.raises(InputError, match="rollout_gap_patience is 0"):
        SkinGRPOConfig(**settings(tmp_path, rollout_gap_patience=0))
