"""The importance correction formed in the loss: TRL's numbers, on the same completions, with one pass less."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_model import build_tiny_text, build_tiny_vlm, distinct_tokens_reward, image_rows, text_rows
from trl import GRPOConfig, GRPOTrainer

from skinrl.errors import InputError
from skinrl.grpo.config import STOCK_SETTINGS, SkinGRPOConfig
from skinrl.grpo.correction import MODES, CorrectionMetrics, importance_ratio, masked_out, over_processes
from skinrl.grpo.trainer import SkinGRPOTrainer

LOG2 = math.log(2)
# ratios by token: 2, 1/2, 4 | 1, (unknown), 8 of which the last is padding
LOGPS = torch.tensor([[LOG2, -LOG2, 2 * LOG2], [0.0, 1.0, 3 * LOG2]])
SAMPLED = torch.tensor([[0.0, 0.0, 0.0], [0.0, math.nan, 0.0]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("mode", "expected", "out"),
    [
        ("token_truncate", [[2, 0.5, 3], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]),
        ("token_mask", [[2, 0.5, 0], [1, 1, 1]], [[0, 0, 1], [0, 0, 0]]),
        ("sequence_truncate", [[3], [1]], [[0, 0, 0], [0, 0, 0]]),
        ("sequence_mask", [[0], [1]], [[1, 1, 1], [0, 0, 0]]),
    ],
)
def test_the_four_modes_by_hand(mode: str, expected: list[list[float]], out: list[list[int]]) -> None:
    ratio = importance_ratio(LOGPS, SAMPLED, MASK, mode, None, 3.0)
    torch.testing.assert_close(ratio, torch.tensor(expected, dtype=torch.float32))
    assert masked_out(ratio, MASK, mode).int().tolist() == out


def test_the_lower_limit_and_no_limit() -> None:
    assert importance_ratio(LOGPS, SAMPLED, MASK, "token_mask", 0.9, None)[0].tolist() == pytest.approx([2, 0, 4])
    assert importance_ratio(LOGPS, SAMPLED, MASK, "token_truncate", 0.9, None)[0].tolist() == pytest.approx(
        [2, 0.9, 4]
    )
    assert importance_ratio(LOGPS, SAMPLED, MASK, "token_truncate", None, None)[0].tolist() == pytest.approx(
        [2, 0.5, 4]
    )
    with pytest.raises(InputError, match="'token': expected one of sequence_mask"):
        importance_ratio(LOGPS, SAMPLED, MASK, "token", None, 3.0)


def test_metrics_of_a_rollout_do_not_depend_on_how_it_was_cut() -> None:
    ratio = importance_ratio(LOGPS, SAMPLED, MASK, "token_truncate", None, 3.0)
    whole, cut = CorrectionMetrics("token_truncate"), CorrectionMetrics("token_truncate")
    whole.add(LOGPS, SAMPLED, MASK, ratio)
    for row in (0, 1):
        part = slice(row, row + 1)
        cut.add(LOGPS[part], SAMPLED[part], MASK[part], ratio[part])
    # differences 1, 1, 2, 0 times log 2 (the unknown and the padding left out); ratios 2, 1/2, 3, 1, 1
    expected = [LOG2, 2 * LOG2, 0.5, 1.5, 3.0]
    assert whole.values().tolist() == pytest.approx(expected)
    assert cut.values().tolist() == pytest.approx(expected)
    assert CorrectionMetrics("sequence_mask").values().tolist() == [0.0] * 5  # every completion was left out


def test_processes_are_joined_as_trl_joins_them() -> None:
    joined = over_processes(torch.tensor([[1.0, 2.0, 0.5, 1.0, 3.0], [3.0, 5.0, 0.25, 2.0, 1.0]]))
    assert list(joined.values()) == [2.0, 5.0, 0.25, 1.5, 3.0]


# --- against TRL -----------------------------------------------------------------------------------------------------


class Completions:
    """Completions and sampling log-probs fixed beforehand, handed to a trainer as if vLLM had sampled them.

    vLLM itself is compared in ``test_grpo_engines.py``; here two trainers must get the same tokens.
    """

    fixed_seed = 11

    def _generate_single_turn(self, prompt_ids: Any, *rest: Any) -> tuple[list[list[int]], list[list[float]]]:
        generator = torch.Generator().manual_seed(self.fixed_seed)
        self.fixed_seed += 1
        end, words = self._tokenizer.eos_token_id, len(self._tokenizer)  # type: ignore[attr-defined]
        ids, logps = [], []
        for _ in prompt_ids:
            length = int(torch.randint(3, 9, (1,), generator=generator))
            ids.append([*torch.randint(20, words, (length,), generator=generator).tolist(), end])
            # about what a random policy gives, so that some ratios lie beyond the limit of 3 and some do not
            drawn = -math.log(words) + 0.4 * torch.randn(length + 1, generator=generator)
            drawn[torch.rand(length + 1, generator=generator) < 0.1] = math.nan
            logps.append(drawn.tolist())
        return ids, logps

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        self.passes = getattr(self, "passes", 0) + 1
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)  # type: ignore[misc]


class Stock(Completions, GRPOTrainer):
    pass


class Ours(Completions, SkinGRPOTrainer):
    pass


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_text(tmp_path_factory.mktemp("text")))


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_vlm(tmp_path_factory.mktemp("vlm")))


def train(
    kind: Any, model: str, folder: Path, *, images: bool = False, reward: Any = distinct_tokens_reward, **changes: Any
) -> Any:
    settings: dict[str, Any] = {
        "output_dir": str(folder / kind.__name__),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_generations": 4,
        "max_completion_length": 10,
        "max_steps": 3,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "disable_tqdm": True,
        "disable_dropout": True,
    }
    if kind is Ours:
        off = {} if changes.pop("shared", False) else STOCK_SETTINGS
        settings = {**off, "skip_old_logps": True, "rollout_gap": True, "ban_vision_tokens": False} | settings
        settings |= {"rollout_gap_stop": 99.0}
    changes.pop("shared", None)
    rows = image_rows(8) if images else text_rows(8)
    trainer = kind(
        model=model,
        reward_funcs=reward,
        args=(SkinGRPOConfig if kind is Ours else GRPOConfig)(**settings | changes),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:4]),
    )
    trainer.use_vllm = True
    trainer.train()
    return trainer


def assert_same_numbers(stock: Any, ours: Any) -> None:
    names = {name for entry in stock.state.log_history for name in entry}
    kept = ("loss", "grad_norm", "entropy", "kl", "eval_loss")
    names = {name for name in names if name in kept or "sampling/" in name or "clip_ratio" in name}
    assert "loss" in names
    assert sum("sampling/" in name for name in names) >= 5
    for name in names:
        mine, theirs = ([e[name] for e in t.state.log_history if name in e] for t in (ours, stock))
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("mode", MODES)
def test_losses_gradients_and_metrics_are_trls_with_one_pass_less(text: str, tmp_path: Path, mode: str) -> None:
    changes: dict[str, Any] = {"vllm_importance_sampling_mode": mode}
    stock, ours = (train(kind, text, tmp_path, **changes) for kind in (Stock, Ours))
    assert_same_numbers(stock, ours)
    assert (stock.passes, ours.passes) == (9, 6)  # 3 steps: a scoring pass and two micro-batches; without the scoring
    means = [entry["sampling/importance_sampling_ratio/mean"] for entry in ours.state.log_history if "loss" in entry]
    assert all(mean != pytest.approx(1.0, abs=1e-3) for mean in means)  # the correction did something
    assert len([entry for entry in ours.state.log_history if "rollout/logp_gap_mean" in entry]) == 3


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"loss_type": "grpo", "beta": 0.1}, (12, 9)),
        ({"loss_type": "vespo", "vllm_importance_sampling_mode": "token_truncate"}, (9, 6)),
        ({"steps_per_generation": 1}, (12, 6)),
        ({"gradient_accumulation_steps": 4, "steps_per_generation": 2, "num_iterations": 2}, (15, 12)),
        ({"mask_truncated_completions": True, "vllm_importance_sampling_clip_min": 0.5}, (9, 6)),
        ({"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 4}, None),
        ({"num_iterations": 2, "max_steps": 4}, (10, 10)),
        ({"disable_dropout": False}, (9, 9)),
    ],
    ids=["reference", "vespo", "each", "twice", "truncated", "evaluation", "not-aligned", "dropout"],
)
def test_other_settings_too_and_where_a_step_lies_between_the_pass_stays(
    text: str, tmp_path: Path, changes: dict[str, Any], passes: tuple[int, int] | None
) -> None:
    stock, ours = (train(kind, text, tmp_path, **changes) for kind in (Stock, Ours))
    assert_same_numbers(stock, ours)
    if passes is not None:
        assert (stock.passes, ours.passes) == passes


def test_completions_left_out_of_the_pass_change_no_loss(text: str, tmp_path: Path) -> None:
    def half_flat(completions: list[Any], prompts: list[Any], **kwargs: Any) -> list[float]:
        scores = distinct_tokens_reward(completions)
        lesions = [int(prompt[0]["content"].split()[-1].rstrip(".")) for prompt in prompts]
        return [0.5 if lesion < 4 else score for lesion, score in zip(lesions, scores, strict=True)]

    stock = train(Stock, text, tmp_path, reward=half_flat)
    ours = train(Ours, text, tmp_path, reward=half_flat, skip_flat_groups=True, rollout_gap=False)
    assert ours.passes < 6
    for name in ("loss", "grad_norm"):
        mine, theirs = ([e[name] for e in t.state.log_history if name in e] for t in (ours, stock))
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6), name
    assert len([entry for entry in ours.state.log_history if "sampling/importance_sampling_ratio/mean" in entry]) == 3


def test_packed_groups_with_images_give_trls_correction(vlm: str, tmp_path: Path) -> None:
    stock, ours = (train(kind, vlm, tmp_path, images=True, shared=True) for kind in (Stock, Ours))
    assert ours.state.log_history[0]["shared_prefix/tokens_saved"] > 0.3
    assert stock.passes - ours.passes == 3
    first = [trainer.state.log_history[0] for trainer in (stock, ours)]
    for name in first[0]:
        if "sampling/" in name:
            assert first[1][name] == pytest.approx(first[0][name], rel=1e-3, abs=1e-5), name
