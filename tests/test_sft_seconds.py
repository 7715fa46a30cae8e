"""The learning rate that falls over seconds: what the clock says, not the number of steps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny_model import build_tiny_vlm
from tiny_trainers import sft_trainer

from skinrl.errors import InputError
from skinrl.stopping import StopAfterSeconds


def test_the_rate_follows_a_cosine_of_the_share_of_seconds(tmp_path: Path) -> None:
    model = build_tiny_vlm(tmp_path / "model", layers=1)
    settings = {"learning_rate": 8e-4, "warmup_steps": 3, "max_seconds": 100.0, "cosine_over_seconds": True}
    trainer = sft_trainer(model, tmp_path / "run", **settings)
    clock = next(found for found in trainer.callback_handler.callbacks if isinstance(found, StopAfterSeconds))
    trainer.create_optimizer()
    schedule = trainer.create_scheduler(1_000_000)
    rates = [schedule.get_last_lr()[0]]
    for share in (0.0, 0.0, 0.0, 0.5, 0.75, 1.0):
        clock.share = share
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    # three steps of warm-up in quarters, then 1, 1/2, (1 + cos 135°) / 2 and 0 of the rate
    wanted = [0.25, 0.5, 0.75, 1.0, 0.5, (1 - math.sqrt(0.5)) / 2, 0.0]
    assert rates == pytest.approx([8e-4 * factor for factor in wanted], abs=1e-12)


def test_the_fall_needs_seconds_to_fall_over(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs sft\.max_seconds"):
        sft_trainer(tmp_path, tmp_path / "run", cosine_over_seconds=True)
