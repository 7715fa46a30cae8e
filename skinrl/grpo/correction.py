"""vLLM's importance correction, formed from the log-probs of the loss itself.

TRL weighs each token or sequence by the ratio of the trainer's probability to the sampler's, and runs a forward pass
of its own for the trainer's side, whenever vLLM samples. Where no optimiser step lies between that pass and the loss
(``gradient_accumulation_steps`` a multiple of ``steps_per_generation * num_iterations``) the loss computes the very
same numbers, so the pass is left out and the ratio formed here. Values and metrics are those of TRL 1.16
(``GRPOTrainer._generate_and_score_completions``); the metrics of a rollout are logged when its last micro-batch has
been seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from skinrl.errors import InputError, RunError

SEQUENCE_MODES = ("sequence_mask", "sequence_truncate")
MASKING_MODES = ("sequence_mask", "token_mask")
MODES = (*SEQUENCE_MODES, "token_mask", "token_truncate")


def importance_ratio(
    logps: torch.Tensor,
    sampled: torch.Tensor,
    mask: torch.Tensor,
    mode: str,
    clip_min: float | None,
    clip_max: float | None,
) -> torch.Tensor:
    """exp(log p_trainer - log p_sampler) per token (B, T) or per sequence (B, 1), limited as ``mode`` says.

    Args:
        logps, sampled: (B, T) nats; a NaN in ``sampled`` (the engine could not say) counts as no difference.
        mask: (B, T), non-zero at the tokens that the policy wrote.
        mode: "token_" or "sequence_", then "truncate" (clamp to the limits) or "mask" (zero outside them).
        clip_min, clip_max: the limits; None is none.

    Raises:
        InputError: another mode.
    """
    if mode not in MODES:
        raise InputError(f"vllm_importance_sampling_mode is {mode!r}: expected one of {', '.join(MODES)}.")
    difference = torch.nan_to_num((logps - sampled) * mask, nan=0.0)
    if mode in SEQUENCE_MODES:
        difference = difference.sum(-1, keepdim=True)
    ratio = difference.exp()
    if mode not in MASKING_MODES:
        return ratio if clip_min is None and clip_max is None else ratio.clamp(clip_min, clip_max)
    low, high = -math.inf if clip_min is None else clip_min, math.inf if clip_max is None else clip_max
    return ratio.masked_fill((ratio < low) | (ratio > high), 0.0)


def masked_out(ratio: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """(B, T) bool: the tokens of ``mask`` that the correction keeps out of the loss; none in the truncating modes."""
    tokens = mask.bool()
    return tokens & (ratio == 0) if mode in MASKING_MODES else torch.zeros_like(tokens)


class CorrectionMetrics:
    """What TRL logs of the correction, collected over the micro-batches of one rollout.

    Args:
        mode: as for :func:`importance_ratio`.
    """

    def __init__(self, mode: str) -> None:
        self._by_sequence = mode in SEQUENCE_MODES
        self._differences: list[torch.Tensor] = []
        self._ratios: list[torch.Tensor] = []

    def add(self, logps: torch.Tensor, sampled: torch.Tensor, mask: torch.Tensor, ratio: torch.Tensor) -> None:
        """One micro-batch: (B, T) tensors and the (B, T) or (B, 1) ``ratio`` made of them."""
        tokens = mask.bool()
        difference = (logps - sampled).abs()
        self._differences.append(difference[tokens & ~difference.isnan()])
        self._ratios.append(ratio.flatten() if self._by_sequence else ratio[tokens])

    def values(self) -> torch.Tensor:
        """(5,): difference mean and max, ratio min, mean and max, on this process; 0 where there is no token."""
        differences, ratios = (torch.cat(found or [torch.zeros(0)]) for found in (self._differences, self._ratios))
        nothing = differences.new_zeros(())
        found = [differences.mean(), differences.max()] if differences.numel() else [nothing] * 2
        found += [ratios.min(), ratios.mean(), ratios.max()] if ratios.numel() else [nothing] * 3
        return torch.stack([value.float() for value in found])


def over_processes(values: torch.Tensor) -> dict[str, float]:
    """(processes, 5) values of :class:`CorrectionMetrics` -> TRL's metrics by name."""
    difference_mean, difference_max, low, mean, high = values.T
    return {
        "sampling/sampling_logp_difference/mean": difference_mean.mean().item(),
        "sampling/sampling_logp_difference/max": difference_max.max().item(),
        "sampling/importance_sampling_ratio/min": low.min().item(),
        "sampling/importance_sampling_ratio/mean": mean.mean().item(),
        "sampling/importance_sampling_ratio/max": high.max().item(),
    }


# --- in the trainer --------------------------------------------------------------------------------------------------


class LossCorrection:
    """The correction in the place of a trainer's extra pass. One per trainer.

    Args:
        trainer: read at every rollout, so that its settings may change.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._metrics: CorrectionMetrics | None = None  # of the rollout being trained on
        self._missing = 0  # micro-batches of that rollout whose loss is still to come
        self._batch: dict[str, Any] | None = None  # the micro-batch whose loss is being computed

    @property
    def replaces_the_pass(self) -> bool:
        """Whether TRL would score the old log-probs for the correction alone, and the loss would score them again."""
        trainer, args = self._trainer, self._trainer.args
        uses = args.steps_per_generation * trainer.num_iterations
        return (
            args.skip_old_logps
            and args.disable_dropout  # with dropout, two passes differ
            and trainer.use_vllm
            and trainer.vllm_importance_sampling_correction
            and args.gradient_accumulation_steps % uses == 0
        )

    @contextmanager
    def rollout(self) -> Iterator[None]:
        """While TRL makes and scores a rollout: have it leave out the pass, and expect the rollout's micro-batches."""
        self._metrics = None
        if not self.replaces_the_pass:
            yield
            return
        trainer = self._trainer
        trainer.vllm_importance_sampling_correction = False
        try:
            yield
        finally:
            trainer.vllm_importance_sampling_correction = True
        self._missing = trainer.args.steps_per_generation if trainer.model.training else 1
        self._metrics = CorrectionMetrics(trainer.vllm_importance_sampling_mode)

    @contextmanager
    def loss_of(self, batch: dict[str, Any]) -> Iterator[None]:
        """While TRL computes the loss of ``batch``, which is to get its ratio from :meth:`scored`.

        A rollout used again (``num_iterations``) keeps its ratio: no step lies between.
        """
        metrics = self._metrics
        if metrics is not None and "importance_sampling_ratio" not in batch:
            self._batch = batch
        try:
            yield
        finally:
            self._batch = None
        if metrics is None or self._missing == 0:
            return
        self._missing -= 1
        if self._missing == 0:
            self._log(metrics)

    def _log(self, metrics: CorrectionMetrics) -> None:
        trainer = self._trainer
        gathered = trainer.accelerator.gather(metrics.values().to(trainer.accelerator.device)[None])
        for name, value in over_processes(gathered).items():
            trainer._metrics["train" if trainer.model.training else "eval"][name].append(value)

    def scored(self, logps: torch.Tensor) -> None:
        """Take the (B, T) log-probs of the loss, and put the ratio into the batch before TRL reads it there."""
        batch, metrics, trainer = self._batch, self._metrics, self._trainer
        if batch is None or metrics is None:
            return
        if "sampling_per_token_logps" not in batch:
            raise RunError(
                "the rollout reported no log-probs of its tokens, which the importance correction needs: have "
                "rollout_func return them, or set vllm_importance_sampling_correction to false."
            )
        sampled, mask = batch["sampling_per_token_logps"], batch["completion_mask"]
        if "tool_mask" in batch:
            mask = mask * batch["tool_mask"]
        mode = trainer.vllm_importance_sampling_mode
        limits = trainer.vllm_importance_sampling_clip_min, trainer.vllm_importance_sampling_clip_max
        logps = logps.detach()
        ratio = batch["importance_sampling_ratio"] = importance_ratio(logps, sampled, mask, mode, *limits)
        if self._missing:
            metrics.add(logps, sampled, mask, ratio)
