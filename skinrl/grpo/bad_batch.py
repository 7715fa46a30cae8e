"""Batches that nothing may be trained on: faulty rewards, groups that no reward scores, a loss that is no number."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any

import torch

from skinrl.errors import RunError
from skinrl.grpo.failed_batch import save_failed_batch

logger = logging.getLogger(__name__)


class BadBatchError(RunError):
    """The rewards or the loss of a batch cannot be trained on; the batch is kept if ``keep_failed_batch`` says so."""


class RewardShapeError(ValueError):
    """A reward returned something other than one number or None for each completion."""


def check_values(values: Any, count: int) -> None:
    """Raise :class:`RewardShapeError` unless ``values`` holds ``count`` finite numbers or None (NaN is a None)."""
    if isinstance(values, str | Mapping) or not isinstance(values, Sized):
        raise RewardShapeError(f"returned {values!r:.80}; expected a list of {count} numbers, one per completion")
    if len(values) != count:
        raise RewardShapeError(f"returned {len(values)} rewards for {count} completions; expected one each")
    for index, value in enumerate(values):  # type: ignore[var-annotated,arg-type]
        if value is None:
            continue
        try:
            number = math.nan if isinstance(value, str | Sequence) else float(value)
            wrong = isinstance(value, str | Sequence) or math.isinf(number)
        except (TypeError, ValueError, RuntimeError):
            wrong = True
        if wrong:
            raise RewardShapeError(
                f"returned {value!r:.80} for completion {index + 1} of {count}; expected a finite number, or None "
                "where it cannot be scored"
            )


def check_matrix(trainer: Any, rewards: torch.Tensor, rows: int) -> None:
    """Raise :class:`BadBatchError` unless ``rewards`` is (rows of all processes, reward functions)."""
    expected = (rows * trainer.accelerator.num_processes, len(trainer.reward_funcs))
    if tuple(rewards.shape) != expected:
        raise BadBatchError(
            f"the rewards of step {trainer.state.global_step + 1} are a matrix of {tuple(rewards.shape)}; expected "
            f"{expected}: completions of all processes, reward functions. Nothing was trained on it{kept_in(trainer)}"
        )


def check_loss(trainer: Any, loss: torch.Tensor, batch: Mapping[str, Any]) -> None:
    """Raise :class:`BadBatchError` on all processes where one of them has a loss that is no finite number."""
    bad = 0.0 if bool(torch.isfinite(loss.detach()).all()) else 1.0
    if not (trainer._largest_of_all(bad) if trainer.accelerator.num_processes > 1 else bad):
        return
    found = f"the loss is {loss.detach().float().item()}" if bad else "the loss of another process is no finite number"
    wrong = [
        name
        for name, value in batch.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not torch.isfinite(value).all()
        if name != "sampling_per_token_logps"  # vLLM leaves out what it could not score
    ]
    inside = f"not finite in the batch: {', '.join(wrong)}" if wrong else "every number of the batch is finite"
    raise BadBatchError(
        f"step {trainer.state.global_step + 1}: {found}; {inside}. No gradient of this step was applied"
        f"{kept_in(trainer)}. Resume from the last checkpoint with a lower learning_rate or another number format"
    )


def kept_in(trainer: Any) -> str:
    """Where the batch will lie, as the end of a sentence."""
    if not trainer.args.keep_failed_batch:
        return "; the batch was not kept (keep_failed_batch is false)"
    return f"; the batch is kept in {trainer.args.output_dir}/failed_batches"


class Unscorable:
    """Says and keeps, once per prompt, the groups of which no reward scored any completion."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def look(self, trainer: Any, rows: Sequence[Mapping[str, Any]], completions: Sequence[Any], none: Any) -> None:
        """Look through this process's completions.

        Args:
            none: one bool per completion of this process: its group cannot be scored.
        """
        texts = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
        kept = []
        for row, text, is_none in zip(rows, texts, none, strict=True):
            if is_none and _name(row) not in self._said:
                kept.append({**row, "completion": text})
        if not kept:
            return
        names = sorted({_name(row) for row in kept})
        self._said.update(names)
        step = trainer.state.global_step + 1
        problem = BadBatchError(
            f"step {step}: no reward scored any completion of {', '.join(map(repr, names))}: every one gave None. "
            "Such a group teaches nothing and is not trained on; give its rows a gold that a reward can score, or "
            "take them out"
        )
        folder = None
        if trainer.args.keep_failed_batch:
            folder = save_failed_batch(
                trainer.args.output_dir,
                problem,
                kept,
                None,
                step=step,
                rank=trainer.accelerator.process_index,
                name="unscorable",
            )
        logger.warning("%s%s", problem, f". The group is kept in {folder}" if folder else "")


def _name(row: Mapping[str, Any]) -> str:
    """The id of a row, or its question where it has none."""
    return str(row["id"]) if row.get("id") is not None else str(row["prompt"])[:160]
