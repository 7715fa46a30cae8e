"""When the validation loss is flat, the supervised stage has taught what it can."""

from __future__ import annotations

import logging
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from skinrl.errors import RunError

logger = logging.getLogger(__name__)


class FlatLossCallback(TrainerCallback, ExportableState):
    """Stop once ``eval_loss`` has not fallen more than ``min_delta`` below its best for ``patience`` evaluations.

    The best moves only on such a fall, so that many small ones add up to one. ``stopped`` says whether it ended the
    run. Its counts are part of the checkpoint.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.without_fall = 0
        self.stopped = False

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        if "eval_loss" not in metrics:
            raise RunError(f"flat_patience needs eval_loss, but the evaluation gave {', '.join(sorted(metrics))}")
        loss = metrics["eval_loss"]
        if self.best is None or loss < self.best - self.min_delta:
            self.best, self.without_fall = loss, 0
            return
        self.without_fall += 1
        if self.without_fall >= self.patience:
            self.stopped = True
            control.should_training_stop = True
            if state.is_world_process_zero:
                logger.warning(
                    "step %d: the validation loss is flat (%.4f, best %.4f, %d evaluations); stopping",
                    state.global_step,
                    loss,
                    self.best,
                    self.without_fall,
                )

    def state(self) -> dict[str, Any]:
        return {
            "args": {"patience": self.patience, "min_delta": self.min_delta},
            "attributes": {"best": self.best, "without_fall": self.without_fall},
        }
