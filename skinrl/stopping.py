"""Ways to end training before its last step: a signal from the cluster, or a budget of seconds.

Both are decided at the end of a step, by all processes together: a signal may reach one process only, and clocks
differ.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from skinrl.errors import RunError

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class RunStoppedError(RunError):
    """A signal asked the run to stop: its state is saved, and the same command goes on from there."""


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` holds on any process; every process must call it. ``device``: where collectives run."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    shared = torch.tensor([int(flag)], device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared.item())


def largest(value: float, device: torch.device) -> float:
    """The largest ``value`` of all processes; every process must call it. ``device``: where collectives run."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    shared = torch.tensor([value], device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return float(shared.item())


class SaveOnSignal(TrainerCallback):
    """On SIGTERM or SIGUSR1: save a checkpoint at the end of the current step and stop.

    ``caught`` is the number of the signal that this process saw; ``stopping`` is the same on all processes.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.stopping = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block; outside, they end the process as always."""
        owner = os.getpid()

        def remember(number: int, frame: FrameType | None) -> None:
            if os.getpid() == owner:
                self.caught = number
            else:  # a forked data loader worker inherits the handler, but not the duty
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        previous = {number: signal.signal(number, remember) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if any_process(self.caught is not None, args.device):
            self.stopping = True
            control.should_save = control.should_training_stop = True
            # The cluster kills soon: an evaluation due at this step is left out
            control.should_evaluate = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stopping:
            control.should_save = control.should_evaluate = False


class StopAfterSeconds(TrainerCallback, ExportableState):
    """Stop at the end of the first step after ``max_seconds`` of training.

    Counted: everything between the first step and now, evaluations and checkpoints included; the seconds before a
    resume count too, up to the checkpoint. ``stopped`` says whether the budget ended the run, ``share`` how much of it
    was used at the end of the last step, the same on all processes.
    """

    def __init__(self, max_seconds: float) -> None:
        self.max_seconds = max_seconds
        self.stopped = False
        self.share = 0.0
        self._before = 0.0
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds used so far."""
        return self._before + time.monotonic() - self._start

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._start = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.share = min(1.0, largest(self.elapsed, args.device) / self.max_seconds)
        if self.share == 1.0:
            self.stopped = True
            control.should_training_stop = True
            if state.is_world_process_zero:
                logger.warning("step %d: stopping after %.0f seconds of training", state.global_step, self.elapsed)

    def state(self) -> dict[str, Any]:
        return {"args": {"max_seconds": self.max_seconds}, "attributes": {"_before": self.elapsed}}
