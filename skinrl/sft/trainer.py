"""TRL's ``SFTTrainer``, thinly: batches without images on any process, trusted checkpoints, a stop when flat."""

from __future__ import annotations

import math
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from trl import SFTTrainer

from skinrl.checkpoint import CheckpointMixin
from skinrl.sft.config import SkinSFTConfig
from skinrl.sft.flat import FlatLossCallback
from skinrl.stopping import StopAfterSeconds
from skinrl.text_only import install_text_only


class SkinSFTTrainer(CheckpointMixin, SFTTrainer):
    """Trains on rows of ``prompt`` and ``completion`` (messages) and ``images`` (a list, which may be empty).

    The loss is the mean over the completions' tokens of the whole batch. Rows with and without images may be mixed in
    any way over batches and processes; ``text_only`` is the hook that makes the processes agree (``None`` for a model
    without a vision tower).
    """

    _tag_names = ("trl", "sft", "skinrl")

    def __init__(self, model: Any, args: SkinSFTConfig, **kwargs: Any) -> None:
        hook = None if isinstance(model, str) else install_text_only(model)
        if hook is not None and args.ddp_find_unused_parameters is None:
            # With the hook every parameter takes part in every backward
            args.ddp_find_unused_parameters = False
        super().__init__(model, args, **kwargs)
        # Qwen-VL classes refuse the number of target tokens of the whole batch, because their own loss cannot take it.
        # TRL computes the loss itself and can; without the number it averages the means of unequal micro-batches, and
        # the gradient depends on how rows are dealt to processes and accumulation steps.
        self.model_accepts_loss_kwargs = True
        self.text_only = install_text_only(self.model)
        if args.flat_patience is not None:
            self.add_callback(FlatLossCallback(args.flat_patience, args.flat_min_delta))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """TRL's, or the cosine over seconds."""
        if not self.args.cosine_over_seconds:
            return super().create_scheduler(num_training_steps, optimizer)
        clock = next(found for found in self.callback_handler.callbacks if isinstance(found, StopAfterSeconds))
        warmup = self.args.get_warmup_steps(num_training_steps)

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * clock.share))

        self.lr_scheduler = LambdaLR(self.optimizer if optimizer is None else optimizer, factor)
        return self.lr_scheduler
