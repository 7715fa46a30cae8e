"""A step's numbers: seconds of the right phase, tokens, padding, masks; on several processes too."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from packed_rows import by_rows, model_of
from packed_rows import rows as packed_rows
from programs import run_program
from tiny_model import build_tiny_text, build_tiny_vlm, distinct_tokens_reward, image_rows, text_rows

from skinrl.grpo.alarms import ALARMS
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.numbers import COUNTS, MEMORY, PHASES, Clock, StepNumbers, batch_counts, metrics_of, over_processes
from skinrl.grpo.sharing import SharedPrefix
from skinrl.grpo.trainer import SkinGRPOTrainer


def test_a_phase_does_not_count_what_runs_inside_it() -> None:
    times = iter([0.0, 1.0, 3.0, 6.0, 6.0, 10.0, 12.0, 13.0])
    clock = Clock(now=lambda: next(times))
    with clock.within("training"):  # 0 to 10
        with clock.within("rollout"), clock.within("weight_push"):  # 1 to 6, 3 to 6
            assert clock.phase == "weight_push"
        assert clock.phase == "training"
    assert clock.take() == {"training": 1.0 + 4.0, "rollout": 2.0, "weight_push": 3.0}
    assert clock.take() == {}


def test_an_error_ends_its_phase() -> None:
    clock = Clock()
    with pytest.raises(KeyError), clock.within("training"), clock.within("reward"):
        raise KeyError
    assert clock.phase is None


def batch(**more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Three rows: prompts of 2, 3 and 3 tokens in 3 columns, completions of 4, 2 and 0 in 4."""
    prompt = torch.tensor([[0, 1, 1], [1, 1, 1], [1, 1, 1]])
    completion = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    return {"prompt_mask": prompt, "completion_mask": completion} | more


def test_a_batch_is_counted_by_hand() -> None:
    found = batch_counts(batch(), None, truncated_are_masked=True)
    assert found["trained_tokens"] == 8 + 6
    assert (found["positions"], found["filled"]) == (3 * 7, 8 + 6)
    assert (found["rows"], found["rows_masked"], found["rows_truncated"], found["rows_corrected"]) == (3, 1, 1, 0)
    assert batch_counts(batch(), None, truncated_are_masked=False)["rows_masked"] == 0


@pytest.mark.parametrize(
    ("mode", "ratio", "rows", "tokens"),
    [
        ("sequence_mask", [[0.0], [1.0], [1.0]], 1, 4),
        ("token_mask", [[0.0, 1, 1, 0], [0.0, 0, 1, 1], [1.0, 1, 1, 1]], 1, 4),
        ("token_truncate", [[0.0, 1, 1, 0], [0.0, 0, 1, 1], [1.0, 1, 1, 1]], 0, 0),
    ],
)
def test_sequences_that_the_correction_leaves_out(mode: str, ratio: Any, rows: int, tokens: int) -> None:
    found = batch_counts(batch(importance_sampling_ratio=torch.tensor(ratio)), mode, truncated_are_masked=True)
    assert found["rows_corrected"] == rows
    assert found["rows_masked"] == rows + 1  # and the truncated one
    assert (found["tokens_corrected"], found["loss_tokens"]) == (tokens, 6)


def test_tokens_of_tools_are_no_tokens_of_the_loss() -> None:
    tools = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    ratio = torch.tensor([[0.0, 1, 1, 0], [1.0, 1, 1, 1], [1.0, 1, 1, 1]])
    found = batch_counts(
        batch(tool_mask=tools, importance_sampling_ratio=ratio), "token_mask", truncated_are_masked=False
    )
    assert (found["loss_tokens"], found["tokens_corrected"], found["rows_corrected"]) == (4, 2, 1)


def test_the_slowest_process_counts_and_tokens_add_up() -> None:
    def process(rollout: float, reward: float, peak: float, completion_tokens: int) -> list[float]:
        seconds = dict.fromkeys(PHASES, 0.0) | {"rollout": rollout, "reward": reward}
        memory = dict(zip(MEMORY, (1.0, peak, math.nan), strict=True))
        counts = dict.fromkeys(COUNTS, 0.0) | {"completion_tokens": completion_tokens, "rows": 2, "rows_masked": 1}
        return [*seconds.values(), *memory.values(), *counts.values()]

    found = over_processes(torch.tensor([process(2.0, 1.0, 5.0, 30), process(4.0, 0.5, 3.0, 50)]))
    assert found["time/rollout_s"] == 4.0
    assert found["speed/rollout_tokens_per_s"] == 80 / 4
    assert found["speed/reward_tokens_per_s"] == 80 / 1
    assert found["memory/host_peak_gib"] == 5.0
    assert found["masked/sequences"] == 0.5
    assert math.isnan(found["memory/gpu_peak_gib"])


def test_what_did_not_happen_has_no_speed_and_no_share() -> None:
    found = metrics_of({"training": 2.0}, dict.fromkeys(COUNTS, 0.0))
    assert found == {f"time/{phase}_s": 2.0 if phase == "training" else 0.0 for phase in PHASES}


def test_every_number_and_alarm_is_documented() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    everything = metrics_of(dict.fromkeys(PHASES, 1.0), dict.fromkeys(COUNTS, 1.0))
    for name in (*everything, *MEMORY, *(alarm.setting for alarm in ALARMS), *(alarm.metric for alarm in ALARMS)):
        assert f"`{name}`" in page, name


def test_a_weight_push_is_taken_out_of_the_rollout() -> None:
    numbers = StepNumbers(None, wanted=True)
    pushed = []
    generation = SimpleNamespace(sync_weights=lambda: pushed.append(numbers._clock.phase))
    numbers.watch_pushes(generation)
    with numbers.phase("training"), numbers.phase("rollout"):
        generation.sync_weights()
    assert pushed == ["weight_push"]
    assert set(numbers._clock.take()) == {"training", "rollout", "weight_push"}


def test_outside_a_step_nothing_is_timed_and_the_loss_scores_as_training() -> None:
    numbers = StepNumbers(None, wanted=True)
    seen = []
    for phases in (["rollout"], ["training", "scoring"], ["training", "preprocess", "scoring"]):  # an evaluation first
        with ExitStack() as running:
            for phase in phases:
                running.enter_context(numbers.phase(phase))
            seen.append(numbers._clock.phase)
    assert seen == [None, "training", "scoring"]


# --- in the trainer --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_text(tmp_path_factory.mktemp("text")))


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_vlm(tmp_path_factory.mktemp("vlm")))


def train(model: str, folder: Path, rows: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    """The logged steps of a short run."""
    settings: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 12,
        "gradient_accumulation_steps": 2,
        "max_steps": 3,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    data = Dataset.from_list(rows)
    trainer = SkinGRPOTrainer(
        model=model,
        reward_funcs=distinct_tokens_reward,
        args=SkinGRPOConfig(**settings | changes),
        train_dataset=data,
        eval_dataset=data.select(range(2)),
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_positions_of_packed_groups_and_the_tokens_among_them() -> None:
    model, batch = model_of("qwen2_5_vl"), packed_rows([(4, 9, []), (3, 12, []), (1, 2, [])])
    sharing = SharedPrefix([model], "float32", float)
    sharing.score(model, batch, len(batch), lambda part: by_rows(model, part))
    lengths = batch.attention_mask[:, batch.prompt_width :].sum(-1).tolist()
    groups = [(9, lengths[:4]), (12, lengths[4:7]), (2, lengths[7:])]
    assert sharing.ran == (sum(prompt + len(own) * max(own) for prompt, own in groups), 9 + 12 + 2 + sum(lengths))
    nothing_to_share = packed_rows([(1, 12, []), (1, 12, [])], width=2)  # runs as rows
    sharing.score(model, nothing_to_share, 1, lambda part: by_rows(model, part))
    assert sharing.ran == (2 * 14, int(nothing_to_share.attention_mask.sum()))


@pytest.mark.parametrize("images", [False, True], ids=["text", "images"])
def test_every_step_logs_its_numbers(text: str, vlm: str, tmp_path: Path, images: bool) -> None:
    model, rows = (vlm, image_rows(4)) if images else (text, text_rows(4))
    evaluation = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4}
    steps = train(model, tmp_path, rows, skip_flat_groups=False, **evaluation)
    assert len(steps) == 3
    for step in steps:
        for phase in PHASES:
            assert step[f"time/{phase}_s"] >= 0
        for phase in ("data", "preprocess", "rollout", "reward", "training"):
            assert step[f"time/{phase}_s"] > 0
        assert step["time/weight_push_s"] == step["time/scoring_s"] == 0
        # speed times seconds are the tokens, those of the evaluation between the steps not among them
        sampled = step["speed/rollout_tokens_per_s"] * step["time/rollout_s"]
        assert sampled == pytest.approx(8 * step["completions/mean_length"])
        trained = step["speed/training_tokens_per_s"] * step["time/training_s"]
        prompts = step["speed/preprocess_tokens_per_s"] * step["time/preprocess_s"]
        assert trained == pytest.approx(sampled + prompts)
        assert 0 <= step["padding/share"] < 1
        assert step["masked/sequences"] == 0
        assert 0 < step["memory/host_gib"] <= step["memory/host_peak_gib"] * 1.01
        assert "memory/gpu_peak_gib" not in step
    tokens = [step["num_tokens"] for step in steps]
    assert tokens == sorted(tokens)


def test_truncated_completions_that_are_masked_are_counted(text: str, tmp_path: Path) -> None:
    steps = train(text, tmp_path, text_rows(4), mask_truncated_completions=True, skip_flat_groups=False)
    shares = [step["completions/clipped_ratio"] for step in steps]
    assert [step["masked/truncated_sequences"] for step in steps] == pytest.approx(shares)
    assert [step["masked/sequences"] for step in steps] == pytest.approx(shares)
    assert max(shares) > 0.5


def test_scoring_is_the_passes_before_the_loss(text: str, tmp_path: Path) -> None:
    steps = train(text, tmp_path, text_rows(4), beta=0.1)
    assert all(step["time/scoring_s"] > 0 for step in steps)


def test_without_the_numbers_none_are_logged(text: str, tmp_path: Path) -> None:
    steps = train(text, tmp_path, text_rows(4), step_numbers=False, alarm_masked_above=None)
    assert not [name for name in steps[0] if name.startswith(("time/", "speed/", "padding/", "masked/", "memory/"))]


@pytest.mark.slow
def test_two_processes_count_together_ring_together_and_correct_as_trl_does(tmp_path: Path) -> None:
    ranks = run_program("grpo_numbers_program.py", "both", tmp_path, processes=2, timeout=240)
    assert [rank["rank"] for rank in ranks] == [0, 1]
    for rank in ranks:
        assert rank["alarm"].startswith("alarm_entropy_below: ")
        assert rank["stopped_at"] == 2
        assert rank["checkpoint"]
    step = ranks[0]["steps"][0]
    sampled = step["speed/rollout_tokens_per_s"] * step["time/rollout_s"]
    assert sampled == pytest.approx(8 * step["completions/mean_length"])  # four completions on each
    for name, theirs in ranks[0]["stock"].items():
        assert ranks[0]["ours"][name] == pytest.approx(theirs, rel=1e-3, abs=1e-5), name
