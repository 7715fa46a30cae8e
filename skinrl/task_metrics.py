"""Task metrics during training: measure every n steps, keep the best model, stop when nothing is gained any more.

Knows no task: it is given a function from the step to numbers. What the numbers are is settled by the caller
(``skinrl/cli/task_metrics.py``); with what they are measured, by ``skinrl.engine.trainer_engine``.
"""

from __future__ import annotations

import logging
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from skinrl.errors import RunError
from skinrl.files import read_json, write_json
from skinrl.manifest import publish, verify_checkpoint, write_manifest
from skinrl.stopping import SaveOnSignal

logger = logging.getLogger(__name__)

NOTE = "best.json"
_TEMPORARY = "tmp-best-"
_KEPT = re.compile(r"best-(\d+)")

Measure = Callable[[int], Mapping[str, float | None]]


@dataclass(frozen=True)
class Plan:
    """When to measure, and what follows from it.

    Args:
        every: steps between two measurements. The start and the last step are measured too.
        metric: the number that best model and early stopping go by.
        larger_is_better: whether the best value is the largest.
        patience: stop after so many measurements in a row without a gain; None never stops.
        min_delta: a gain is more than this beyond the value of the last gain, so that many small ones add up to one.
        min_steps: measurements before this step are logged and count for nothing else.
        keep_best: whether the best model is kept on disk.
    """

    every: int
    metric: str
    larger_is_better: bool = True
    patience: int | None = None
    min_delta: float = 0.0
    min_steps: int = 1
    keep_best: bool = False


class TaskMetrics(TrainerCallback, ExportableState):
    """Calls ``measure`` on every process and logs what the main process got, as ``task/<name>``.

    What was measured leaves no trace in the training: random states, the step's own numbers and the model's mode are
    as before. All processes act on the main one's numbers. Its counts are part of a checkpoint, so that a resumed
    run goes on counting; the best model of a run stays in ``best-<step>`` whatever is resumed.

    Args:
        trainer: the trainer; the callback is still to be added to it.
        measure: the step -> numbers by name; called by all processes at the same step, in evaluation mode and
            without gradients. None is a number that is not defined.
        plan: when to measure and what follows.
    """

    def __init__(self, trainer: Any, measure: Measure, plan: Plan) -> None:
        self.plan = plan
        self._trainer = trainer
        self._measure = measure
        self.best: float | None = None
        self.best_step: int | None = None
        self.last_gain: float | None = None  # the value that min_delta counts from
        self.without_gain = 0
        self.measured_at = -1
        self.stopped = False

    @property
    def folder(self) -> Path:
        """Where ``best-<step>`` stands."""
        return Path(self._trainer.args.output_dir)

    def kept(self) -> tuple[Path, dict[str, Any]] | None:
        """The best model of the run on disk and its note (``step``, ``metric``, ``value``), or None.

        Every process must call it; all get what the main process finds.
        """
        sign = 1 if self.plan.larger_is_better else -1
        paths = _kept(self.folder) if self._trainer.is_world_process_zero() else []
        notes = [(path, read_json(path / NOTE)) for path in paths if (path / NOTE).is_file()]
        return _of_main(max(notes, key=lambda one: (sign * one[1]["value"], one[1]["step"]), default=None))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.should_save:
            for stale in self.folder.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(stale)
        step = state.global_step
        # A signal leaves out what was due at its step; the run that goes on from there makes up for it
        if step == 0 or (step % self.plan.every == 0 and self.measured_at < step):
            self._look(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        signals = (one for one in self._trainer.callback_handler.callbacks if isinstance(one, SaveOnSignal))
        if any(one.stopping for one in signals):
            return
        if state.global_step % self.plan.every == 0 or control.should_training_stop:
            self._look(state, control)

    def _look(self, state: Any, control: Any) -> None:
        from skinrl.engine.trainer_engine import evaluating

        step, begun = state.global_step, time.monotonic()
        with random_states_kept():
            with evaluating(self._trainer):
                own = dict(self._measure(step))
            numbers = _of_main(own)
            held = self.kept()
            self.measured_at = step
            best = self._is_best(numbers.get(self.plan.metric), step)
            # A run that goes on from an older checkpoint may have made a better model on the way that was cut off
            worse = held is not None and self._beats(held[1]["value"], self.best)
            if best and self.plan.keep_best and not worse:
                self._keep(step)
        self._log({**numbers, "best": self.best, "seconds": time.monotonic() - begun}, control)
        if self._is_flat(step):
            self.stopped = control.should_training_stop = True
            if state.is_world_process_zero:
                logger.warning(
                    "step %d: %s has not gained for %d measurements (best %s at step %s); stopping",
                    step, self.plan.metric, self.without_gain, self.best, self.best_step,
                )  # fmt: skip

    def _beats(self, value: float | None, other: float | None, by: float = 0.0) -> bool:
        if value is None or other is None:
            return value is not None
        return value > other + by if self.plan.larger_is_better else value < other - by

    def _is_best(self, value: float | None, step: int) -> bool:
        """Count one measurement; whether it is the best so far."""
        if step < self.plan.min_steps:
            return False
        if self._beats(value, self.last_gain, self.plan.min_delta):
            self.last_gain, self.without_gain = value, 0
        else:
            self.without_gain += 1
        if not self._beats(value, self.best):
            return False
        self.best, self.best_step = value, step
        return True

    def _is_flat(self, step: int) -> bool:
        patience = self.plan.patience
        return patience is not None and self.without_gain >= patience and step >= self.plan.min_steps

    def _log(self, numbers: Mapping[str, float | None], control: Any) -> None:
        due = control.should_log
        known = {f"task/{name}": value for name, value in numbers.items() if value is not None}
        # Not by the trainer's own class: TRL's would empty the numbers of the step that is still to be logged
        Trainer.log(self._trainer, known)
        control.should_log = due

    def _keep(self, step: int) -> None:
        """Save the model as ``best-<step>``, whole or not at all, and remove the one before it."""
        trainer, staged = self._trainer, self.folder / f"{_TEMPORARY}{step}"
        trainer.accelerator.wait_for_everyone()
        try:
            trainer.save_model(str(staged), _internal_call=True)
            trainer.accelerator.wait_for_everyone()
            if trainer.args.should_save:
                note = {"step": step, "metric": self.plan.metric, "value": self.best}
                write_json(staged / NOTE, note)
                write_manifest(staged, step=step, world_size=trainer.args.world_size)
                publish(staged, self.folder / f"best-{step}")
                for other in _kept(self.folder):
                    if other.name != f"best-{step}":
                        shutil.rmtree(other)
        except OSError as error:
            raise RunError(f"{staged}: the best model could not be written ({error}); free some space") from error
        trainer.accelerator.wait_for_everyone()

    def state(self) -> dict[str, Any]:
        names = ("best", "best_step", "last_gain", "without_gain", "measured_at")
        return {"args": {}, "attributes": {name: getattr(self, name) for name in names}}


def copy_best(best: Path, to: Path) -> None:
    """Copy a kept model, checked against its manifest, without what belongs to its being kept.

    Raises:
        CheckpointError: it is damaged.
    """
    verify_checkpoint(best)
    shutil.copytree(best, to, ignore=shutil.ignore_patterns(NOTE, "manifest.json"))


def _kept(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("best-*")) if _KEPT.fullmatch(path.name) and path.is_dir()]


def _of_main(value: Any) -> Any:
    """The main process's value, on all processes."""
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Give Python's, numpy's and torch's random states (CPU and this process's GPU) back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
