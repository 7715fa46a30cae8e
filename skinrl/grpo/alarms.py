"""Alarms: a run whose numbers stay beyond a limit saves its state, says why, and stops.

For failures that end no run by themselves but waste it: a policy that collapsed onto one answer, that left its
reference, that writes until it is cut off, groups whose rewards never differ, a correction that masks nearly
everything. A limit is a setting of the recipe; ``None`` is no alarm.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from skinrl.errors import InputError, RunError
from skinrl.stopping import any_process

logger = logging.getLogger(__name__)


class AlarmError(RunError):
    """A number of the training stayed beyond its limit; the state is saved."""


@dataclass(frozen=True)
class Alarm:
    """One number that is watched.

    Args:
        setting: its limit in the config.
        metric: where it stands in the log.
        what: in words, with its unit.
        above: whether it rings above its limit, or below.
        largest: the largest limit that can be passed; None is none.
        look_at: what to look at when it rings.
    """

    setting: str
    metric: str
    what: str
    above: bool
    largest: float | None
    look_at: str

    def beyond(self, value: float, limit: float) -> bool:
        """Whether a value lies beyond the limit; one that is not a number does."""
        return not (value <= limit if self.above else value >= limit)


ALARMS = (
    Alarm(
        "alarm_entropy_below", "entropy", "the mean entropy of the policy (nats per token)", False, None,
        "the policy puts all on one answer: look at the completions, then at a lower learning_rate, a higher "
        "temperature or beta, or rewards that one phrase can win",
    ),
    Alarm(
        "alarm_kl_above", "kl", "the mean divergence from the reference (nats per token)", True, None,
        "the policy has left its reference: look at the completions for a text that wins rewards without answering, "
        "then at a lower learning_rate or a higher beta",
    ),
    Alarm(
        "alarm_truncated_above", "completions/clipped_ratio", "the share of completions cut at the token limit", True,
        1.0,
        "most completions never end: look at max_completion_length, at the end tokens of the model, and at rewards "
        "that pay for length",
    ),
    Alarm(
        "alarm_flat_groups_above", "frac_reward_zero_std", "the share of groups whose rewards are all equal", True,
        1.0,
        "such groups teach nothing: look at the rewards (`skinrl rewards score` on the completions log), at the "
        "difficulty of the data, at num_generations and at temperature",
    ),
    Alarm(
        "alarm_length_below", "completions/mean_length", "the mean length of completions (tokens)", False, None,
        "completions shrink: look at rewards that can be won without thinking, and at loss_type (\"grpo\" favours "
        "short right answers)",
    ),
    Alarm(
        "alarm_length_above", "completions/mean_length", "the mean length of completions (tokens)", True, None,
        "completions grow: look at rewards that pay for length, and whether the end of a report is rewarded",
    ),
    Alarm(
        "alarm_masked_above", "masked/sequences", "the share of sequences that the loss leaves out", True, 1.0,
        "hardly anything is trained on: look at masked/truncated_sequences (max_completion_length) and "
        "masked/corrected_sequences (rollout/logp_gap_mean and docs/rollouts.md; for long completions in bfloat16 a "
        "\"token_\" mode of vllm_importance_sampling_mode)",
    ),
)  # fmt: skip
BY_SETTING = {alarm.setting: alarm for alarm in ALARMS}


def check_limits(limits: Mapping[str, float], patience: int) -> None:
    """Refuse limits that can never, or must always, be passed.

    Args:
        limits: by setting, those that are set.

    Raises:
        InputError: a negative limit, a share of 1 or more, a lower limit that is not below the upper, a patience
            below 1.
    """
    if patience < 1:
        raise InputError(f"alarm_patience is {patience}: expected at least 1.")
    for setting, limit in limits.items():
        largest = BY_SETTING[setting].largest
        if not 0 <= limit < math.inf:
            raise InputError(f"{setting} is {limit}: expected a number of at least 0, or null for no alarm.")
        if largest is not None and limit >= largest:
            raise InputError(
                f"{setting} is {limit}: a share never lies above {largest:g}, so this alarm could not ring; expected "
                "less, or null for no alarm."
            )
    lower, upper = limits.get("alarm_length_below"), limits.get("alarm_length_above")
    if lower is not None and upper is not None and lower >= upper:
        raise InputError(
            f"alarm_length_below is {lower:g}: expected less than alarm_length_above, which is {upper:g}."
        )


class AlarmJudge:
    """Counts the steps in a row that each number has been beyond its limit.

    Args:
        limits: by setting, those that are set.
        patience: steps in a row after which an alarm rings.
    """

    def __init__(self, limits: Mapping[str, float], patience: int) -> None:
        self.limits = dict(limits)
        self.patience = patience
        self.counts: dict[str, int] = dict.fromkeys(limits, 0)

    def check(self, values: Mapping[str, float], step: int) -> str | None:
        """Judge one step.

        Args:
            values: by metric. A number that this step did not measure (no rollout was made in it) leaves its count.

        Returns:
            What rang, in words, or None.
        """
        rang = []
        for setting, limit in self.limits.items():
            alarm = BY_SETTING[setting]
            if alarm.metric not in values:
                continue
            value = values[alarm.metric]
            self.counts[setting] = self.counts.get(setting, 0) + 1 if alarm.beyond(value, limit) else 0
            if self.counts[setting] >= self.patience:
                side = "above" if alarm.above else "below"
                rang.append(
                    f"{setting}: {alarm.what} is {value:.4g} at step {step}, and has been {side} {limit:g} for "
                    f"{self.counts[setting]} steps ({alarm.metric} in the log). What to look at: {alarm.look_at}."
                )
        return " ".join(rang) or None


class Alarms(TrainerCallback, ExportableState):
    """Judges the trainer's metrics at the end of each step; at an alarm, saves a checkpoint and ends the training.

    The counts are part of a checkpoint: a run that is resumed goes on counting, and one that is resumed after an
    alarm without a change stops again at the next step beyond the limit.

    Args:
        metrics: the trainer's lists of numbers by name, which grow until they are logged.
        limits, patience: as for :class:`AlarmJudge`.
    """

    def __init__(self, metrics: Mapping[str, list[float]], limits: Mapping[str, float], patience: int) -> None:
        self._metrics = metrics
        self._judge = AlarmJudge(limits, patience)
        self._logged: dict[str, int] = {}  # numbers that earlier steps left in the lists
        self.message: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Steps in a row beyond each limit."""
        return self._judge.counts

    @counts.setter
    def counts(self, counts: dict[str, int]) -> None:
        self._judge.counts = {setting: counts.get(setting, 0) for setting in self._judge.limits}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.message = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._logged = {name: len(values) for name, values in self._metrics.items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        new = {name: values[self._logged.get(name, 0) :] for name, values in self._metrics.items()}
        means = {name: sum(values) / len(values) for name, values in new.items() if values}
        message = self._judge.check(means, state.global_step)
        # The numbers are of all processes and should agree; one that stopped alone would leave the others waiting
        if not any_process(message is not None, args.device):
            return
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self.message = (
            f"{message or 'an alarm rang on another process.'} The state is saved in {checkpoint}; checkpoints before "
            "it may be better. Mend the cause, and begin a run of its own from one of them (docs/monitoring.md); this "
            "one stops again at the next step beyond the limit."
        )
        control.should_log = control.should_save = control.should_training_stop = True
        control.should_evaluate = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.message is not None:
            control.should_save = control.should_evaluate = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.message is not None:
            raise AlarmError(self.message)

    def state(self) -> dict[str, Any]:
        return {
            "args": {"limits": self._judge.limits, "patience": self._judge.patience},
            "attributes": {"counts": self.counts},
        }
