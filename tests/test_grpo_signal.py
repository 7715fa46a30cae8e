"""Groups worth training on: which are flat, a loss without them, other prompts in their place, and bad batches."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from programs import run_program
from tiny_model import build_tiny_text, build_tiny_vlm, image_rows, text_rows

from skinrl.errors import InputError
from skinrl.files import read_jsonl
from skinrl.grpo import signal
from skinrl.grpo.bad_batch import BadBatchError, RewardShapeError, check_values
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.resample import assign
from skinrl.grpo.reward_failure import RewardError
from skinrl.grpo.signal import left_out, signal_of, why_all_count
from skinrl.grpo.trainer import SkinGRPOTrainer

NAN = float("nan")


# Spread


def test_the_spread_is_the_standard_deviation_of_the_weighted_sum_in_the_group() -> None:
    # sums 1, 0, 1, 0 (deviation sqrt(1/3)); 0.5 four times; 2, 2, -, - of which two cannot be scored
    first = [[1, 0], [0, 0], [1, 0], [0, 0]]
    second = [[0.5, 0], [0.3, 0.4], [0.1, 0.8], [0.5, 0]]
    third = [[2, NAN], [1, 2], [NAN, NAN], [NAN, NAN]]
    rewards = torch.tensor(first + second + third)
    found = signal_of(rewards, torch.tensor([1.0, 0.5]), 4)
    assert found.spread.tolist() == pytest.approx([math.sqrt(1 / 3), 0, 0], abs=1e-6)
    assert found.reward.tolist() == pytest.approx([0.5, 0.5, 2.0])
    assert found.flat(1e-6).tolist() == [False, True, True]
    assert found.unscorable.tolist() == [False, False, False]


def test_where_rewards_are_normalised_one_by_one_each_has_to_be_flat() -> None:
    opposed = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # the sum is 1 twice
    assert signal_of(opposed, torch.ones(2), 2).flat(1e-6).item()
    assert not signal_of(opposed, torch.ones(2), 2, each=True).flat(1e-6).item()
    assert signal_of(opposed, torch.tensor([0.0, 0.0]), 2).flat(1e-6).item()


def test_one_completion_that_can_be_scored_has_no_spread_and_none_at_all_is_unscorable() -> None:
    found = signal_of(torch.tensor([[1.0], [NAN], [NAN], [NAN]]), torch.ones(1), 2)
    assert found.flat(1e-6).tolist() == [True, True]
    assert found.unscorable.tolist() == [False, True]
    assert math.isnan(found.reward[1].item())


def test_rounding_noise_is_no_spread() -> None:
    rewards = torch.tensor([0.1, 0.2, 0.3]).expand(8, 3).clone()
    rewards[::2] = rewards[::2].flip(1)  # the same sum in another order
    assert signal_of(rewards, torch.ones(3), 8).flat(1e-6).item()


# What is left out


def test_the_factor_of_the_loss_is_what_trl_divides_by() -> None:
    batch = {
        "advantages": torch.tensor([1.0, 0.0, -1.0, 0.0]),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 0]]),
        "num_items_in_batch": torch.tensor(8),
        "names": list("abcd"),
    }
    assert left_out(batch, "dapo", 0).factor == 1.0
    assert left_out(batch, "grpo", 0).factor == 0.5
    assert left_out(batch, "bnpo", 0).factor == pytest.approx(5 / 8)
    kept = left_out(batch, "dr_grpo", 0)
    assert (kept.factor, kept.share, kept.batch["names"]) == (0.5, 0.5, ["a", "c"])
    assert kept.batch["num_items_in_batch"].item() == 8
    company = left_out(batch, "grpo", 3)
    assert company.batch["names"] == ["a", "b", "c"]
    assert company.factor == 0.75
    assert left_out({**batch, "advantages": torch.zeros(4)}, "grpo", 0).batch == {}
    assert left_out({**batch, "advantages": torch.zeros(4)}, "grpo", 1).batch["names"] == ["a"]


# In the trainer


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_text(tmp_path_factory.mktemp("text")))


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_vlm(tmp_path_factory.mktemp("vlm")))


def number_of(prompt: Any) -> int:
    content = prompt[0]["content"]
    return int((content if isinstance(content, str) else content[-1]["text"]).rstrip(".").rsplit(" ", 1)[1])


def flat_on(flat: Any) -> Any:
    """A graded reward that is the same for all completions of the prompts in ``flat``."""

    def graded(prompts: Any, completions: Any, **kwargs: Any) -> list[float]:
        texts = [c[0]["content"] for c in completions]
        return [
            0.4 if number_of(p) in flat else len(set(t)) / 50 + 0.0013 * i * i
            for i, (p, t) in enumerate(zip(prompts, texts, strict=True))
        ]

    return graded


def build(model: str, folder: Path, rows: list[dict[str, Any]], reward: Any, **changes: Any) -> SkinGRPOTrainer:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 2,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    args = SkinGRPOConfig(**(settings | changes))
    return SkinGRPOTrainer(model=model, reward_funcs=reward, args=args, train_dataset=Dataset.from_list(rows))


def with_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "id": f"case {i}"} for i, row in enumerate(rows)]


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def count_rows(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a trainer record how many rows each scored pass has."""
    seen: list[int] = []
    original = trainer._get_per_token_logps_and_entropies

    def counting(model: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(input_ids.shape[0])
        return original(model, input_ids, *args, **kwargs)

    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", counting)
    return seen


@pytest.fixture(scope="module")
def rollout(vlm: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """A trainer and a micro-batch of four groups of four, two of them flat; one without an image."""
    rows = image_rows(4, text_only=frozenset({3}))
    trainer = build(vlm, tmp_path_factory.mktemp("run"), rows, flat_on({0, 2}), rollout_gap=False)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer, trainer._prepare_inputs([row for row in rows for _ in range(4)])


def loss_and_gradients(trainer: Any, batch: dict[str, Any], skips: bool) -> tuple[float, list[torch.Tensor]]:
    trainer._groups._skips = skips
    trainer._groups._kept.clear()
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]


def differences(trainer: Any, batch: dict[str, Any]) -> tuple[float, float]:
    """Of the loss, and the largest of the gradients, relative to the norm of the whole batch's own."""
    (loss, whole), (ours, kept) = (loss_and_gradients(trainer, batch, skips) for skips in (False, True))
    gradients = zip(whole, kept, strict=True)
    worst = max(((b - a).norm() / a.norm()).item() for a, b in gradients if a.norm() > 1e-7)
    return abs(loss - ours), worst


LOSSES = ("dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo")


@pytest.mark.parametrize("loss_type", LOSSES)
def test_loss_and_gradients_are_those_of_keeping_flat_groups(
    rollout: Any, monkeypatch: pytest.MonkeyPatch, loss_type: str
) -> None:
    trainer, batch = rollout
    batch = {**batch, "completion_mask": batch["completion_mask"].clone()}
    batch["completion_mask"][::3, 5:] = 0  # completions of other lengths
    monkeypatch.setattr(trainer, "loss_type", loss_type)
    passes = count_rows(trainer, monkeypatch)
    loss, gradient = differences(trainer, batch)
    assert loss < 1e-5
    assert gradient < 1e-4
    assert passes == [16, 8]
    if loss_type in ("dapo", "cispo", "vespo"):
        return
    # a planted fault: the rows that are left out no longer count in the denominator
    monkeypatch.setattr(signal, "_factor", lambda *_: 1.0)
    assert differences(trainer, batch)[1] > 0.1


def test_company_that_other_processes_need_changes_no_number(rollout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, batch = rollout
    monkeypatch.setattr(trainer, "loss_type", "grpo")
    right = signal.left_out
    monkeypatch.setattr("skinrl.grpo.group_training.left_out", lambda batch, kind, least: right(batch, kind, 11))
    passes = count_rows(trainer, monkeypatch)
    loss, gradient = differences(trainer, batch)
    assert passes == [16, 11]
    assert loss < 1e-5
    assert gradient < 1e-4


def test_training_is_that_of_keeping_flat_groups(text: str, tmp_path: Path) -> None:
    changes = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "optim": "sgd",
        "learning_rate": 1.0,
    }
    whole = build(text, tmp_path / "whole", text_rows(4), flat_on({1, 2}), skip_flat_groups=False, **changes)
    whole.train()
    skipping = build(text, tmp_path / "skip", text_rows(4), flat_on({1, 2}), **changes)
    skipping.train()
    assert logged(skipping, "loss") == pytest.approx(logged(whole, "loss"), abs=1e-5)
    assert logged(skipping, "grad_norm") == pytest.approx(logged(whole, "grad_norm"), rel=1e-4)
    for ours, theirs in zip(skipping.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    assert logged(skipping, "groups/without_spread") == [0.5, 0.5]
    assert logged(skipping, "groups/rows_left_out") == [0.5, 0.5]


@pytest.mark.parametrize(("gap", "rows_a_step"), [(True, [1]), (False, [])], ids=["gap measured", "no gap"])
def test_a_step_of_flat_groups_alone_costs_one_row_for_the_gap_and_leaves_the_weights(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gap: bool, rows_a_step: list[int]
) -> None:
    trainer = build(text, tmp_path, with_ids(text_rows(4)), flat_on({0, 1, 2, 3}), rollout_gap=gap)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    passes = count_rows(trainer, monkeypatch)
    trainer.train()
    assert passes == rows_a_step * 2
    assert len(logged(trainer, "rollout/logp_gap_mean")) == 2 * len(rows_a_step)
    assert logged(trainer, "loss") == [0.0, 0.0]
    assert logged(trainer, "grad_norm") == [0.0, 0.0]
    for old, new in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(old, new)
    lines = read_jsonl(tmp_path / "dropped_groups.jsonl", grown=True)
    assert len(lines) == 8
    assert {line["id"] for line in lines} == {f"case {i}" for i in range(4)}
    expected = {"reward": 0.4, "spread": 0.0, "reason": "rewards without spread", "fate": "left out", "step": 1}
    assert {key: lines[0][key] for key in expected} == expected


@pytest.mark.parametrize(
    "changes", [{"beta": 0.1}, {"entropy_coef": 0.01}, {"top_entropy_quantile": 0.5}], ids=lambda c: next(iter(c))
)
def test_flat_groups_are_kept_where_they_count_for_something_else(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    trainer = build(text, tmp_path, text_rows(4), flat_on({1, 2}), max_steps=1, **changes)
    assert why_all_count(trainer.args, router=False)
    passes = count_rows(trainer, monkeypatch)
    trainer.train()
    assert passes[-1] == 16
    assert logged(trainer, "groups/rows_left_out") == []


# Resampling


def test_other_prompts_take_the_place_of_flat_groups(text: str, tmp_path: Path) -> None:
    rows = with_ids(text_rows(12))
    flat = set(range(0, 12, 2))
    trainer = build(text, tmp_path, rows, flat_on(flat), resample_flat_groups=4, log_completions=True)
    trainer.train()
    assert logged(trainer, "groups/rows_left_out") == [0.0] * 2
    assert logged(trainer, "frac_reward_zero_std") == [0.0] * 2
    without = logged(trainer, "groups/without_spread")  # as the prompts were drawn
    replaced = logged(trainer, "groups/replaced")
    assert replaced == without
    assert max(without) > 0
    lines = read_jsonl(tmp_path / "dropped_groups.jsonl", grown=True)
    resampled = [line for line in lines if line["fate"] == "resampled"]
    assert len(resampled) == round(4 * sum(replaced))
    assert all(int(line["id"].split()[1]) in flat for line in resampled)
    # every line of TRL's own log is of a group that was trained on, with the right row beside it
    import pandas

    for step, file in enumerate(sorted((tmp_path / "completions").glob("*.parquet")), start=1):
        table = pandas.read_parquet(file)
        assert len(table) == 16, step
        assert not {int(name.split()[1]) for name in table["id"]} & flat
        for prompt, name in zip(table["prompt"], table["id"], strict=True):
            assert number_of(prompt) == int(name.split()[1])


def test_a_candidate_takes_the_place_of_a_flat_group_of_its_own_process_first() -> None:
    # two processes, three groups and two candidates each
    assert assign([0, 1, 4], [1, 2, 3], groups=3, share=2) == [(0, 1), (1, 3), (4, 2)]
    assert assign([0, 1], [2, 3], groups=3, share=2) == [(0, 2), (1, 3)]
    assert assign([5], [], groups=3, share=2) == []


def test_resampling_stops_at_its_cap_and_leaves_the_rest_out(text: str, tmp_path: Path) -> None:
    trainer = build(
        text, tmp_path, with_ids(text_rows(12)), flat_on(set(range(12))), resample_flat_groups=1, max_steps=1
    )
    trainer.train()
    assert logged(trainer, "groups/resample_rounds") == [1.0]
    assert logged(trainer, "groups/replaced") == [0.0]
    assert logged(trainer, "groups/rows_left_out") == [15 / 16]  # one row stays for the gap
    fates = [line["fate"] for line in read_jsonl(tmp_path / "dropped_groups.jsonl", grown=True)]
    assert sorted(fates) == ["left out"] * 4 + ["not taken"] * 4


def test_resampling_changes_nothing_where_every_group_has_a_spread(text: str, tmp_path: Path) -> None:
    plain = build(text, tmp_path / "plain", text_rows(4), flat_on(set()), beta=0.1)
    plain.train()
    resampling = build(text, tmp_path / "re", text_rows(4), flat_on(set()), beta=0.1, resample_flat_groups=3)
    resampling.train()
    for name in ("loss", "grad_norm", "reward", "reward_std", "kl", "completions/mean_length"):
        assert logged(resampling, name) == logged(plain, name), name


def test_resampled_images_belong_to_their_prompts(vlm: str, tmp_path: Path) -> None:
    rows = image_rows(8, text_only=frozenset({3}))
    trainer = build(vlm, tmp_path, rows, flat_on({0, 1, 2}), resample_flat_groups=4)
    trainer.train()
    assert logged(trainer, "groups/rows_left_out") == [0.0, 0.0]
    assert max(logged(trainer, "rollout/logp_gap_mean")) < 1e-5


def test_resampling_is_refused_where_groups_lie_across_processes(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="resample_flat_groups is -1"):
        build(text, tmp_path, text_rows(4), flat_on(set()), resample_flat_groups=-1)


# Bad batches


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 0.5], r"returned 2 rewards for 3 completions"),
        (0.5, r"returned 0\.5; expected a list of 3"),
        ("abc", r"expected a list of 3"),
        ([1.0, [0.5], 0.0], r"returned \[0\.5\] for completion 2 of 3"),
        ([1.0, "0.5", 0.0], r"returned '0\.5' for completion 2 of 3"),
        ([1.0, 0.0, math.inf], r"returned inf for completion 3 of 3"),
        (torch.zeros(3, 2), r"for completion 1 of 3"),
    ],
    ids=str,
)
def test_rewards_of_a_wrong_shape_are_named(values: Any, said: str) -> None:
    with pytest.raises(RewardShapeError, match=said):
        check_values(values, 3)


def test_numbers_none_and_nan_are_rewards() -> None:
    import numpy

    check_values([None, NAN, True], 3)
    check_values(numpy.zeros(3), 3)
    check_values(torch.zeros(3), 3)


def test_a_reward_of_a_wrong_shape_stops_the_run_before_the_weights_change(text: str, tmp_path: Path) -> None:
    def short(completions: Any, **kwargs: Any) -> list[float]:
        return [0.0] * (len(completions) - 1)

    trainer = build(text, tmp_path, text_rows(4), short)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    with pytest.raises(RewardError, match=r"'short' returned 15 rewards for 16 completions.*failed_batches"):
        trainer.train()
    (kept,) = (tmp_path / "failed_batches").iterdir()
    assert len((kept / "rows.jsonl").read_text().splitlines()) == 16
    for old, new in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_matrix_of_a_wrong_shape_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import GRPOTrainer

    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", lambda self, rows, *rest: torch.zeros(len(rows), 3))
    trainer = build(text, tmp_path, text_rows(4), flat_on(set()))
    with pytest.raises(BadBatchError, match=r"a matrix of \(16, 3\); expected \(16, 1\)"):
        trainer.train()
    assert list((tmp_path / "failed_batches").iterdir())


def test_a_loss_that_is_no_number_stops_the_run_before_the_weights_change(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(text, tmp_path, text_rows(4), flat_on(set()))
    original = trainer._generate_and_score_completions

    def poisoned(rows: Any) -> Any:
        output = original(rows)
        output["advantages"][3] = NAN
        return output

    monkeypatch.setattr(trainer, "_generate_and_score_completions", poisoned)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    with pytest.raises(BadBatchError, match=r"step 1: the loss is nan; not finite in the batch: advantages.*kept in"):
        trainer.train()
    (kept,) = (tmp_path / "failed_batches").iterdir()
    assert (kept / "tensors.safetensors").is_file()
    for old, new in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(old, new)


def silent_on(silent: Any) -> Any:
    """A reward that scores no completion of some prompts."""

    def partly(prompts: Any, completions: Any, **kwargs: Any) -> list[float | None]:
        return [None if number_of(p) in silent else 0.1 * i for i, p in enumerate(prompts)]

    return partly


def test_a_group_that_nothing_scores_is_said_kept_and_not_trained_on(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = build(text, tmp_path, with_ids(text_rows(4)), silent_on({2}))
    with caplog.at_level("WARNING", logger="skinrl.grpo.bad_batch"):
        trainer.train()
    said = [record.getMessage() for record in caplog.records if record.name == "skinrl.grpo.bad_batch"]
    assert len(said) == 1  # once per prompt, though two steps show it
    assert "no reward scored any completion of 'case 2'" in said[0]
    (kept,) = (tmp_path / "failed_batches").iterdir()
    rows = [json.loads(line) for line in (kept / "rows.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["case 2"] * 4
    assert logged(trainer, "groups/unscorable") == [0.25, 0.25]
    assert logged(trainer, "groups/rows_left_out") == [0.25, 0.25]
    lines = read_jsonl(tmp_path / "dropped_groups.jsonl", grown=True)
    assert [line["reason"] for line in lines] == ["no completion could be scored"] * 2
    assert lines[0]["reward"] is None


def test_a_step_that_nothing_scores_stops_the_run(text: str, tmp_path: Path) -> None:
    trainer = build(text, tmp_path, text_rows(4), silent_on({0, 1, 2, 3}))
    with pytest.raises(BadBatchError, match=r"no reward scored any of the 4 groups"):
        trainer.train()


# Two processes


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["ddp", "zero3"])
def test_two_processes_leave_out_flat_groups_with_equal_passes_and_the_same_numbers(
    tmp_path: Path, scenario: str
) -> None:
    result = run_program("grpo_groups_program.py", scenario, tmp_path, processes=2, timeout=280)
    whole, skip, resample = result["whole"], result["skip"], result["resample"]
    assert len(whole["loss"]) == 3
    assert skip["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert skip["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3, abs=1e-6)
    assert whole["passes"] == [8, 8, 8]
    assert skip["passes"] == [8, 4, 1]  # as many rows as the process with most signal; one where none has any
    assert skip["groups/without_spread"] == [0.5, 0.5, 1.0]
    # the first process drew two flat groups; one of the candidates in their place is the other process's
    assert resample["groups/without_spread"] == resample["groups/replaced"] == [0.5, 0.25]
    assert max(resample["rollout/logp_gap_mean"]) < 1e-5  # completions moved with their images and log-probs
    assert all(norm > 0 for norm in resample["grad_norm"])
