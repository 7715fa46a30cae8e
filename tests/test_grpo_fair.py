"""Fair groups: weights by hand, balanced orders, and both inside the trainer."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_model import build_tiny_text, text_rows

from skinrl.data.columns import group_values
from skinrl.data.dataset import grpo_rows, with_groups
from skinrl.data.questions import QuestionSpec
from skinrl.data.record import Record, SkinTone
from skinrl.errors import DataError, InputError
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.fair import BalancedSampler, GroupWeights, balanced_order, column_values, shares_of
from skinrl.grpo.trainer import SkinGRPOTrainer
from skinrl.taxonomy import Taxonomy

# Weights


def test_the_update_is_that_of_group_dro() -> None:
    # q = (1/2, 1/2), rewards 0.2 and 0.6, step 1: q_a = e^-0.2 / (e^-0.2 + e^-0.6) = 1 / (1 + e^-0.4) = 0.598688
    weights = GroupWeights({"a": 0.5, "b": 0.5}, step=1.0, memory=0.0, mix=0.0)
    assert (weights.weight("a"), weights.weight("b"), weights.weight(None)) == (1.0, 1.0, 1.0)
    weights.update([("a", 0.1), ("b", 0.6), ("a", 0.3), (None, 0.0), ("b", math.nan)])
    assert weights.probabilities["a"] == pytest.approx(0.598688, abs=1e-6)
    assert weights.weight("a") == pytest.approx(1.197375, abs=1e-6)
    assert weights.weight("b") == pytest.approx(0.802625, abs=1e-6)
    assert weights.worst == "a"
    # once more with the same rewards: the odds are multiplied by e^0.4 again, 1 / (1 + e^-0.8) = 0.689974
    weights.update([("a", 0.2), ("b", 0.6)])
    assert weights.probabilities["a"] == pytest.approx(0.689974, abs=1e-6)


def test_the_mean_weight_of_the_prompts_stays_one() -> None:
    shares = {"a": 0.7, "b": 0.2, "c": 0.1}
    weights = GroupWeights(shares, step=0.5, memory=0.9, mix=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        weights.update([(group, torch.rand(1, generator=generator).item()) for group in "aabc"])
        assert math.fsum(shares[group] * weights.weight(group) for group in shares) == pytest.approx(1)


def test_a_running_reward_forgets_and_a_group_not_seen_is_taken_for_typical() -> None:
    weights = GroupWeights({"a": 0.5, "b": 0.25, "c": 0.25}, step=1.0, memory=0.9, mix=0.0)
    weights.update([("a", 1.0), ("b", 0.0)])
    weights.update([("a", 0.0)])
    assert weights.rewards == pytest.approx({"a": 0.9, "b": 0.0})
    # two updates: a's score falls by 1 + 0.9, b's by 0, c's by the means 0.5 + 0.45
    odds = {"a": 0.5 * math.exp(-1.9), "b": 0.25, "c": 0.25 * math.exp(-0.95)}
    expected = {group: value / sum(odds.values()) for group, value in odds.items()}
    assert weights.probabilities == pytest.approx(expected)


def test_the_pull_back_lets_a_group_return() -> None:
    # for ever the worst by 0.5: without a pull all weight goes to it, with one q settles below
    free = GroupWeights({"a": 0.5, "b": 0.5}, step=1.0, memory=0.0, mix=0.0)
    held = GroupWeights({"a": 0.5, "b": 0.5}, step=1.0, memory=0.0, mix=0.2)
    for _ in range(200):
        for weights in (free, held):
            weights.update([("a", 0.0), ("b", 0.5)])
    assert free.weight("a") == pytest.approx(2.0)
    # the fixed point of q = 0.8 q / (q + (1 - q) e^-0.5) + 0.1
    q = held.probabilities["a"]
    assert q == pytest.approx(0.8 * q / (q + (1 - q) * math.exp(-0.5)) + 0.1)
    assert 1.5 < held.weight("a") < 1.8
    for _ in range(3):
        held.update([("a", 1.0), ("b", 0.0)])
        free.update([("a", 1.0), ("b", 0.0)])
    assert held.weight("a") < 1 < free.weight("a")


def test_weights_come_back_from_their_state() -> None:
    one = GroupWeights({"a": 0.5, "b": 0.5}, step=1.0, memory=0.9, mix=0.1)
    one.update([("a", 0.0), ("b", 0.5)])
    other = GroupWeights({"a": 0.5, "b": 0.5}, step=1.0, memory=0.9, mix=0.1)
    other.state = one.state
    for weights in (one, other):
        weights.update([("a", 0.3), ("b", 0.1)])
    assert one.state == other.state
    stranger = GroupWeights({"a": 0.5, "c": 0.5}, step=1.0, memory=0.9, mix=0.1)
    stranger.state = one.state  # other groups: begins anew
    assert stranger.weight("c") == 1.0


# Sampling


def test_a_balanced_order_shows_every_group_equally_often_and_spread_out() -> None:
    values = ["a"] * 70 + ["b"] * 20 + ["c"] * 9 + [None]
    order = balanced_order(values, torch.Generator().manual_seed(1))
    shown = Counter(values[row] for row in order)
    assert len(order) == 100
    assert shown == {"a": 33, "b": 33, "c": 33, None: 1}
    times = Counter(order)
    assert {times[row] for row in range(70)} == {0, 1}
    assert {times[row] for row in range(70, 90)} == {1, 2}
    assert {times[row] for row in range(90, 99)} == {3, 4}
    for start in range(0, 90, 9):  # of nine in a row about three are of each
        window = Counter(values[row] for row in order[start : start + 9])
        assert all(1 <= window[group] <= 5 for group in "abc"), window


def test_the_order_follows_from_seed_and_epoch_and_keeps_trls_form() -> None:
    values = ["a"] * 6 + ["b"] * 2

    def sampler() -> BalancedSampler:
        return BalancedSampler(values, seed=3, mini_repeat_count=2, batch_size=2, repeat_count=3)

    first = list(sampler())
    assert first == list(sampler())
    assert len(first) == len(sampler()) == 8 * 2 * 3
    assert first[:4] == first[4:8] == first[8:12]  # a batch comes repeat_count times
    assert first[0] == first[1]
    later = sampler()
    later.set_epoch(1)
    assert list(later) != first
    later.set_epoch(0)
    assert list(later) == first
    drawn = Counter(values[row] for row in first[:: 2 * 3])
    assert drawn == {"a": 4, "b": 4}


def test_shares_are_those_of_the_prompts_that_are_sampled() -> None:
    values = ["a", "a", "a", "b", None]
    assert shares_of(values, balanced=False) == {"a": 0.75, "b": 0.25}
    assert shares_of(values, balanced=True) == {"a": 0.5, "b": 0.5}


def test_a_column_without_two_groups_is_refused() -> None:
    data = Dataset.from_dict({"prompt": ["x", "y"], "tone": ["", None], "source": ["s", "s"]})
    with pytest.raises(InputError, match="no such column; it has prompt, source, tone"):
        column_values(data, "tones")
    with pytest.raises(InputError, match="hold no value at all"):
        column_values(data, "tone")
    with pytest.raises(InputError, match="hold one group, 's'"):
        column_values(data, "source")


# In the trainer


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_text(tmp_path_factory.mktemp("text")))


def rows_of_tones() -> list[dict[str, Any]]:
    """Six prompts of tone a, one of b, one of none."""
    return [{**row, "tone": "a" if i < 6 else "b" if i == 6 else ""} for i, row in enumerate(text_rows(8))]


def tone_reward(completions: Any, tone: Any, **kwargs: Any) -> list[float]:
    """Low for b; with a spread in every group, whatever is written."""
    return [(0.2 if value == "b" else 0.8) + 0.01 * (i % 4) ** 2 for i, value in enumerate(tone)]


def build(model: str, folder: Path, **changes: Any) -> SkinGRPOTrainer:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 32,
        "num_generations": 4,
        "max_completion_length": 4,
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
    data = Dataset.from_list(rows_of_tones())
    return SkinGRPOTrainer(model=model, reward_funcs=tone_reward, args=args, train_dataset=data)


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_advantages_are_weighted_by_group_and_the_weights_resume(text: str, tmp_path: Path) -> None:
    fair = {"fair_column": "tone", "fair_weights": True, "fair_step": 1.0, "fair_memory": 0.5, "fair_mix": 0.1}
    plain, weighted = build(text, tmp_path / "plain"), build(text, tmp_path / "fair", **fair)
    rows = [row for row in rows_of_tones() for _ in range(4)]
    advantages = []
    for trainer in (plain, weighted):
        trainer.model.train()
        advantages.append(trainer._generate_and_score_completions(rows)["advantages"].view(8, 4))
    expected = GroupWeights({"a": 6 / 7, "b": 1 / 7}, step=1.0, memory=0.5, mix=0.1)
    spread = (0 + 0.01 + 0.04 + 0.09) / 4  # mean of what is added inside a group
    expected.update([("a", 0.8 + spread)] * 6 + [("b", 0.2 + spread)])
    factors = torch.tensor([expected.weight("a")] * 6 + [expected.weight("b"), 1.0])
    assert factors[6] > 1 > factors[0]
    torch.testing.assert_close(advantages[1], advantages[0] * factors[:, None], rtol=1e-4, atol=1e-5)
    assert weighted._metrics["train"]["fair/weight/b"] == [pytest.approx(factors[6].item(), rel=1e-5)]

    stopped = build(text, tmp_path / "resumed", save_strategy="steps", save_steps=1, max_steps=1, **fair)
    stopped.train()
    resumed = build(text, tmp_path / "resumed", **fair)
    resumed.train(resume_from_checkpoint=True)
    through = build(text, tmp_path / "through", **fair)
    through.train()
    assert resumed.fair_state == through.fair_state
    assert logged(resumed, "fair/weight/b")[-1] == logged(through, "fair/weight/b")[-1]


def test_balanced_sampling_shows_the_rare_group_as_often(text: str, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    def watching(completions: Any, tone: Any, **kwargs: Any) -> list[float]:
        seen.update(tone[::4])
        return tone_reward(completions, tone)

    trainer = build(text, tmp_path, fair_column="tone", fair_sampling=True, max_steps=2)
    trainer.reward_funcs = [watching]
    trainer.train()
    assert seen["a"] + seen["b"] + seen[""] == 16
    assert abs(seen["a"] - seen["b"]) <= 2
    assert seen[""] == 2


def test_settings_that_do_nothing_or_make_no_sense_are_refused(text: str, tmp_path: Path) -> None:
    for settings, said in (
        ({"fair_weights": True}, "need fair_column"),
        ({"fair_column": "tone"}, "does nothing by itself"),
        ({"fair_column": "tone", "fair_weights": True, "fair_step": 0.0}, "fair_step is 0.0"),
        ({"fair_column": "tone", "fair_weights": True, "fair_mix": 1.0}, "fair_mix 1.0"),
        ({"fair_column": "skin", "fair_weights": True}, "no such column"),
    ):
        with pytest.raises(InputError, match=said):
            build(text, tmp_path, **settings)


# The column


def records() -> list[Record]:
    tone = SkinTone("fitzpatrick", "5")
    return [
        Record("1", (), "clinical", "s", (("melanoma", 1.0),), skin_tone=tone, slices={"sex": "f"}, text_only=True),
        Record("2", (), "dermoscopy", "t", (("psoriasis", 1.0),), slices={"prompt": "x"}, text_only=True),
        Record("3", (), "clinical", "t", (), text_only=True),
    ]


def test_records_are_grouped_by_what_the_recipe_names(taxonomy: Taxonomy) -> None:
    def values(column: str) -> list[str]:
        return group_values(records(), column, taxonomy)

    assert values("skin_tone") == ["fitzpatrick 5", "", ""]
    assert values("source") == ["s", "t", "t"]
    assert values("modality") == ["clinical", "dermoscopy", "clinical"]
    assert values("label") == ["melanoma", "psoriasis", ""]
    classes = values("disease_class")
    assert classes == [taxonomy.path("melanoma")[0], taxonomy.path("psoriasis")[0], ""]
    assert set(classes[:2]) <= set(taxonomy.children(taxonomy.root))
    assert values("sex") == ["f", "", ""]
    with pytest.raises(DataError, match=r"by 'age'; expected one of skin_tone, .*, prompt, sex"):
        values("age")


def test_the_column_is_on_the_rows_and_in_no_prompt(taxonomy: Taxonomy) -> None:
    plain = grpo_rows(records(), taxonomy, QuestionSpec(), seed=0)
    rows = with_groups(plain, records(), "skin_tone", taxonomy)
    assert rows["skin_tone"][:] == ["fitzpatrick 5", "", ""]
    assert rows["prompt"][:] == plain["prompt"][:]
    assert "fitzpatrick" not in str(rows["prompt"][:])
    with pytest.raises(DataError, match="a column 'prompt' of their own"):
        with_groups(plain, records(), "prompt", taxonomy)
