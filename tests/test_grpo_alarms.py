"""Alarms: what rings, when, and what a run leaves behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tiny_model import build_tiny_text, distinct_tokens_reward, text_rows

from skinrl.checkpoint import verify_checkpoint
from skinrl.errors import InputError
from skinrl.grpo.alarms import ALARMS, AlarmError, AlarmJudge, check_limits
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.trainer import SkinGRPOTrainer


def steps(judge: AlarmJudge, metric: str, values: list[float | None]) -> list[int]:
    """The steps (from 1) at which something rings."""
    rang = []
    for step, value in enumerate(values, start=1):
        if judge.check({} if value is None else {metric: value}, step) is not None:
            rang.append(step)
    return rang


def test_an_alarm_rings_after_its_patience_and_forgets_after_a_good_step() -> None:
    judge = AlarmJudge({"alarm_kl_above": 0.5}, patience=3)
    assert steps(judge, "kl", [0.6, 0.7, 0.5, 0.6, 0.6, 0.6, 0.6]) == [6, 7]


def test_an_alarm_below_its_limit() -> None:
    judge = AlarmJudge({"alarm_entropy_below": 0.5}, patience=2)
    assert steps(judge, "entropy", [0.4, 0.5, 0.4, 0.4]) == [4]


def test_a_step_that_measured_nothing_leaves_the_count_and_one_that_is_no_number_is_beyond() -> None:
    judge = AlarmJudge({"alarm_flat_groups_above": 0.5}, patience=2)
    assert steps(judge, "frac_reward_zero_std", [0.9, None, 0.9]) == [3]
    judge = AlarmJudge({"alarm_entropy_below": 0.5}, patience=2)
    assert steps(judge, "entropy", [math.nan, math.nan]) == [2]


def test_a_message_names_the_number_the_limit_and_what_to_look_at() -> None:
    for alarm in ALARMS:
        message = AlarmJudge({alarm.setting: 0.5}, patience=1).check({alarm.metric: 0.9 if alarm.above else 0.125}, 7)
        assert message is not None
        assert message.startswith(f"{alarm.setting}: {alarm.what} is 0.{9 if alarm.above else 125} at step 7")
        assert f"{'above' if alarm.above else 'below'} 0.5 for 1 steps ({alarm.metric} in the log)" in message
        assert alarm.look_at in message


@pytest.mark.parametrize(
    ("limits", "patience", "message"),
    [
        ({"alarm_truncated_above": 1.0}, 3, "a share never lies above 1"),
        ({"alarm_kl_above": -0.1}, 3, "alarm_kl_above is -0.1: expected a number of at least 0"),
        ({"alarm_entropy_below": math.nan}, 3, "alarm_entropy_below is nan"),
        ({"alarm_length_below": 20.0, "alarm_length_above": 10.0}, 3, "expected less than alarm_length_above"),
        ({}, 0, "alarm_patience is 0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float], patience: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_limits(limits, patience)


# --- in the trainer --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_text(tmp_path_factory.mktemp("text")))


def config(folder: Path, **changes: Any) -> SkinGRPOConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 6,
        "logging_steps": 4,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return SkinGRPOConfig(**settings | changes)


def trainer(text: str, folder: Path, **changes: Any) -> SkinGRPOTrainer:
    return SkinGRPOTrainer(
        model=text,
        reward_funcs=distinct_tokens_reward,
        args=config(folder, **changes),
        train_dataset=Dataset.from_list(text_rows(8)),
    )


def test_an_alarm_saves_a_checkpoint_names_itself_and_stops_the_run(text: str, tmp_path: Path) -> None:
    made = trainer(text, tmp_path, alarm_entropy_below=50.0, alarm_patience=2)
    with pytest.raises(
        AlarmError, match=r"alarm_entropy_below: .* at step 2, and has been below 50 for 2 steps"
    ) as rang:
        made.train()
    checkpoint = tmp_path / "out" / "checkpoint-2"
    assert str(checkpoint) in str(rang.value)
    verify_checkpoint(checkpoint)
    assert made.state.global_step == 2
    assert [entry["step"] for entry in made.state.log_history if "entropy" in entry] == [2]  # though not due before 4


def test_a_resumed_run_goes_on_counting(text: str, tmp_path: Path) -> None:
    limits = {"alarm_entropy_below": 50.0, "alarm_patience": 4}
    trainer(text, tmp_path, **limits, max_steps=3, save_strategy="steps", save_steps=3).train()
    resumed = trainer(text, tmp_path, **limits)
    with pytest.raises(AlarmError, match="at step 4, and has been below 50 for 4 steps"):
        resumed.train(resume_from_checkpoint=True)
    again = trainer(text, tmp_path, **limits)
    with pytest.raises(AlarmError, match="at step 5, and has been below 50 for 5 steps"):
        again.train(resume_from_checkpoint=True)
    raised = trainer(text, tmp_path, alarm_entropy_below=0.01, alarm_patience=4)
    raised.train(resume_from_checkpoint=True)
    assert raised.state.global_step == 6


def test_only_the_numbers_of_the_step_itself_are_judged(text: str, tmp_path: Path) -> None:
    """Rollouts are made at every second step: three steps without spread need six."""

    def equal(completions: list[Any], **kwargs: Any) -> list[float]:
        return [0.5] * len(completions)

    made = SkinGRPOTrainer(
        model=text,
        reward_funcs=equal,
        args=config(
            tmp_path, alarm_flat_groups_above=0.9, alarm_patience=3, num_iterations=2, max_steps=8, logging_steps=99
        ),
        train_dataset=Dataset.from_list(text_rows(8)),
    )
    with pytest.raises(AlarmError, match=r"alarm_flat_groups_above: .* is 1 at step 5, and has been above 0.9 for 3"):
        made.train()


def test_without_limits_nothing_watches_and_a_limit_without_its_number_is_refused(text: str, tmp_path: Path) -> None:
    quiet = trainer(text, tmp_path, alarm_masked_above=None, max_steps=1)
    assert "Alarms" not in {type(callback).__name__ for callback in quiet.callback_handler.callbacks}
    with pytest.raises(InputError, match="alarm_kl_above is set and beta is 0"):
        config(tmp_path, alarm_kl_above=0.1)
    with pytest.raises(InputError, match="alarm_masked_above needs the share of masked sequences"):
        config(tmp_path, step_numbers=False)
