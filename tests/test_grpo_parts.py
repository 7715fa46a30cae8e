"""GRPO's small parts: the gap and its guard, the ban, recorded log-probs, seeds, dropout, the failed batch."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from skinrl.engine.sampling import SampledLogProbs, recorded_generate, rollout_seed, seeded
from skinrl.errors import InputError
from skinrl.grpo.ban import ban_bias, install_ban, without_banned
from skinrl.grpo.dropout import switch_off_dropout
from skinrl.grpo.failed_batch import KEEP, save_failed_batch
from skinrl.grpo.gap import Gap, GapGuard, RolloutGapError, summarise, token_gaps

NAN = float("nan")


# The gap


def test_gap_counts_the_sampled_tokens_alone() -> None:
    trained = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]])
    sampled = torch.tensor([[-1.5, -2.0, -9.0], [-1.0, NAN, -1.25]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert token_gaps(trained, sampled, mask).tolist() == [0.5, 0.0, 0.0, 0.25]


def test_gap_keeps_a_nan_of_the_trainer_because_that_is_a_fault() -> None:
    gaps = token_gaps(torch.tensor([[NAN, -1.0]]), torch.tensor([[-1.0, -1.0]]), torch.ones(1, 2))
    assert math.isnan(summarise(gaps).mean)
    assert summarise(gaps).tokens == 2


def test_gap_statistics_are_mean_p99_and_max() -> None:
    gap = summarise(torch.arange(101, dtype=torch.float32))
    assert (gap.mean, gap.p99, gap.max, gap.tokens) == (50.0, 99.0, 100.0, 101)
    assert summarise(torch.zeros(0)).tokens == 0


def test_guard_stops_only_after_its_patience_and_forgets_after_a_good_step() -> None:
    guard = GapGuard(warn=0.03, stop=0.1, patience=3)
    bad, good = Gap(0.2, 0.5, 1.0, 100), Gap(0.02, 0.05, 0.1, 100)
    for step, gap in enumerate((bad, bad, good, bad, bad)):
        guard.check(gap, step)
    with pytest.raises(RolloutGapError, match=r"step 5: mean 0.2.*above 0.1 for 3 steps.*min_pixels"):
        guard.check(bad, 5)


def test_guard_takes_a_gap_that_is_not_a_number_for_a_fault() -> None:
    guard = GapGuard(warn=0.03, stop=0.1, patience=1)
    with pytest.raises(RolloutGapError):
        guard.check(Gap(NAN, NAN, NAN, 5), 1)
    GapGuard(warn=0.03, stop=0.1, patience=1).check(Gap(NAN, NAN, NAN, 0), 1)  # nothing was compared


def test_guard_warns_once_for_each_time_the_gap_rises(caplog: pytest.LogCaptureFixture) -> None:
    guard = GapGuard(warn=0.03, stop=0.1, patience=3)
    with caplog.at_level(logging.WARNING, logger="skinrl.grpo.gap"):
        for step, mean in enumerate((0.05, 0.05, 0.01, 0.05)):
            guard.check(Gap(mean, mean, mean, 10), step)
    assert len(caplog.records) == 2
    assert "expected a mean of at most 0.03" in caplog.text


@pytest.mark.parametrize(
    ("dtype", "limits"), [("float32", (1e-4, 1e-3)), ("bfloat16", (0.03, 0.1)), ("float16", (0.01, 0.05))]
)
def test_limits_follow_the_dtype_unless_given(dtype: str, limits: tuple[float, float]) -> None:
    guard = GapGuard.for_dtype(dtype, warn=None, stop=None, patience=3)
    assert (guard.warn, guard.stop) == limits
    assert GapGuard.for_dtype(dtype, warn=0.5, stop=0.7, patience=3).stop == 0.7


# The ban


def test_a_banned_token_leaves_its_probability_to_the_others() -> None:
    # p = (1/2, 1/4, 1/4); without the last: (2/3, 1/3)
    logits = torch.log(torch.tensor([2.0, 1.0, 1.0]))
    banned = torch.log_softmax(logits + ban_bias(3, [2]), -1).exp()
    assert banned[:2].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-7)
    assert banned[2] == 0
    logps = torch.log_softmax(logits, -1)
    assert without_banned(logps[:2], logps[2:]).exp().tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-7)


def test_the_bias_equals_the_correction_by_brute_force_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 11, dtype=torch.float64, requires_grad=True)
    banned, targets = [0, 4, 7], torch.tensor([1, 2, 3, 5, 6, 10])
    by_bias = torch.log_softmax(logits + ban_bias(11, banned, dtype=torch.float64), -1)
    by_bias = by_bias.gather(1, targets[:, None])[:, 0]
    logps = torch.log_softmax(logits, -1)
    by_formula = without_banned(logps.gather(1, targets[:, None])[:, 0], logps[:, banned])
    # and both equal a softmax that never saw the banned tokens
    kept = [i for i in range(11) if i not in banned]
    brute = torch.stack(
        [torch.log_softmax(row[kept], -1)[kept.index(t)] for row, t in zip(logits, targets.tolist(), strict=True)]
    )
    torch.testing.assert_close(by_bias, brute, rtol=0, atol=1e-12)
    torch.testing.assert_close(by_formula, brute, rtol=0, atol=1e-12)
    weights = torch.randn(6, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((values * weights).sum(), logits, retain_graph=True)[0]
        for values in (by_bias, by_formula, brute)
    ]
    torch.testing.assert_close(gradients[0], gradients[2], rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients[1], gradients[2], rtol=0, atol=1e-12)
    assert gradients[0][:, banned].abs().max() == 0


def test_the_bias_holds_where_the_correction_cancels_to_nothing() -> None:
    # nearly all probability on the banned token: 1 - p rounds to 0 in float32
    logits = torch.tensor([0.0, 1.0, 40.0])
    exact = torch.log_softmax(logits[:2], -1)
    torch.testing.assert_close(torch.log_softmax(logits + ban_bias(3, [2]), -1)[:2], exact)
    logps = torch.log_softmax(logits, -1)
    assert not torch.isfinite(without_banned(logps[:2], logps[2:])).all()


class Headed(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def test_the_ban_is_no_part_of_the_state_dict_or_the_parameters() -> None:
    model = Headed(nn.Linear(4, 6, bias=False))
    names = list(model.state_dict())
    install_ban(model, [1, 5])
    assert list(model.state_dict()) == names == ["head.weight"]
    assert [name for name, _ in model.named_parameters()] == ["head.weight"]
    probabilities = model.head(torch.randn(3, 4)).softmax(-1)
    assert probabilities[:, [1, 5]].abs().max() == 0


def test_nothing_is_installed_without_banned_tokens_and_a_head_with_a_bias_is_refused() -> None:
    model = Headed(nn.Linear(4, 6, bias=False))
    install_ban(model, [])
    assert model.head.bias is None
    with pytest.raises(InputError, match="output head without bias"):
        install_ban(Headed(nn.Linear(4, 6)), [1])


# Recorded log-probs and seeds


def test_recorded_log_probs_are_those_of_the_sampled_tokens_at_the_temperature() -> None:
    torch.manual_seed(0)
    steps = [torch.randn(2, 5) for _ in range(3)]
    recorder = SampledLogProbs(temperature=0.7)
    sequences = torch.tensor([[9], [9]])
    expected = []
    for scores in steps:
        assert torch.equal(recorder(sequences, scores), scores)
        token = torch.randint(5, (2, 1))
        expected.append((scores / 0.7).log_softmax(-1).gather(1, token))
        sequences = torch.cat([sequences, token], dim=1)
    torch.testing.assert_close(recorder.finish(sequences), torch.cat(expected, 1))


class Generating(nn.Module):
    def generate(self, prompt: torch.Tensor, logits_processor: Any = None) -> torch.Tensor:
        for processor in logits_processor or []:
            processor(prompt, torch.zeros(prompt.shape[0], 4))
        return torch.cat([prompt, torch.ones(prompt.shape[0], 1, dtype=torch.long)], dim=1)


def test_recording_is_undone_after_the_block_even_on_an_error() -> None:
    model = Generating()
    prompt = torch.zeros(2, 1, dtype=torch.long)
    with recorded_generate(model, 1.0) as record:
        model.generate(prompt)
    assert record.per_completion([1, 0]) == [[pytest.approx(-math.log(4))], []]
    with pytest.raises(RuntimeError), recorded_generate(model, 1.0):
        raise RuntimeError
    assert "generate" not in vars(model)


def test_a_seeded_block_repeats_and_leaves_the_outer_stream_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeded(5):
        first = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5):
        assert torch.equal(torch.rand(3), first)


def test_rollout_seeds_differ_by_process_phase_step_and_count() -> None:
    seeds = {
        rollout_seed(0, stream, phase, step, count)
        for stream in (0, 1)
        for phase in ("train", "eval")
        for step in (0, 1)
        for count in (0, 1)
    }
    assert len(seeds) == 16
    assert all(0 <= seed < 2**63 for seed in seeds)


# Dropout


def test_every_kind_of_dropout_is_off() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Dropout2d(0.2)), nn.Linear(2, 2))
    model[2].attention_dropout = 0.3  # a rate kept as a plain number, as attention layers do
    switch_off_dropout(model)
    assert model[0].p == model[1][0].p == model[2].attention_dropout == 0.0


# The failed batch


def fail() -> BaseException:
    try:
        raise ValueError("image features and image tokens do not match")
    except ValueError as error:
        return error


def test_a_failed_batch_is_kept_with_rows_images_tensors_and_traceback(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "images": [Image.new("RGB", (4, 4), (1, 2, 3))], "gold_nodes": ["psoriasis"]}]
    tensors = [{"completion_ids": torch.tensor([[1, 2]]), "num_images": [1]}]
    folder = save_failed_batch(tmp_path, fail(), rows, tensors, step=7, rank=1)
    assert folder == tmp_path / "failed_batches" / "step-000007-rank-1"
    assert "image features and image tokens do not match" in (folder / "error.txt").read_text()
    row = json.loads((folder / "rows.jsonl").read_text())
    assert row == {"prompt": "a", "images": ["row-0-image-0.png"], "gold_nodes": ["psoriasis"]}
    assert Image.open(folder / "row-0-image-0.png").getpixel((0, 0)) == (1, 2, 3)
    assert load_file(folder / "tensors.safetensors")["0.completion_ids"].tolist() == [[1, 2]]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing partial is left


def test_only_the_last_failed_batches_of_a_process_are_kept(tmp_path: Path) -> None:
    for step in range(KEEP + 2):
        save_failed_batch(tmp_path, fail(), [], None, step=step, rank=0)
    names = sorted(path.name for path in (tmp_path / "failed_batches").iterdir())
    assert names == [f"step-{step:06d}-rank-0" for step in range(2, KEEP + 2)]


def test_a_disk_that_refuses_does_not_hide_the_error(tmp_path: Path) -> None:
    (tmp_path / "failed_batches").write_text("a file where the folder should be")
    assert save_failed_batch(tmp_path, fail(), [], None, step=1, rank=0) is None
