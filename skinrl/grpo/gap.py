"""The gap between two policies that should be one: what sampled, and what is trained.

For every sampled token, the absolute difference in nats between the log-prob that sampling reported
and the one that the trainer computes. In float32 it is rounding (below 1e-5); in bfloat16 the two
sides round differently (below about 0.02). More than that is a fault: another prompt, other
weights, another dtype, a stale cache. GRPO's importance ratios then correct for a fault, or hide it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skinrl.errors import RunError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# dtype of the policy -> mean gap in nats per token at which to warn, and to stop
LIMITS = {"float32": (1e-4, 1e-3), "bfloat16": (0.03, 0.1), "float16": (0.01, 0.05)}

ADVICE = (
    "Look, in this order, at: (1) the prompt: does the engine resize images as the trainer does (min_pixels, "
    "max_pixels), and is exact_rollouts on? (2) the weights: a large gap that starts after the first update means "
    "that a push is incomplete (tied lm_head, vision tower, encoder cache, a server started without skinrl's worker "
    "extension); (3) the dtype of the engine against bf16/fp16 of the trainer; (4) sampling that the trainer does "
    "not model: top_p, top_k, min_p, repetition_penalty, logit processors; (5) dropout left on. "
    "docs/rollouts.md says how to tell them apart."
)


class RolloutGapError(RunError):
    """The rollouts are not the trainer's policy."""


@dataclass(frozen=True)
class Gap:
    """Statistics of the per-token gap in nats; NaN where no token was compared."""

    mean: float
    p99: float
    max: float
    tokens: int


def token_gaps(trainer_logps: torch.Tensor, sampling_logps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Absolute differences at the sampled tokens, flat.

    Args:
        trainer_logps, sampling_logps: (B, T), nats.
        mask: (B, T), non-zero at the tokens that the policy wrote.

    Tokens whose sampling log-prob is NaN (the engine could not say) are left out; a NaN on the
    trainer's side stays, since it is a fault.
    """
    keep = mask.bool() & ~sampling_logps.isnan()
    return (trainer_logps.float() - sampling_logps.float()).abs()[keep]


def summarise(gaps: torch.Tensor) -> Gap:
    """Mean, 99th percentile and maximum of a flat tensor of gaps."""
    if gaps.numel() == 0:
        return Gap(float("nan"), float("nan"), float("nan"), 0)
    gaps = gaps.float()
    return Gap(gaps.mean().item(), gaps.quantile(0.99).item(), gaps.max().item(), gaps.numel())


class GapGuard:
    """Warns when the mean gap passes one limit, stops the run when it stays above another.

    Args:
        warn, stop: mean gap in nats per token.
        patience: consecutive steps above ``stop`` before :class:`RolloutGapError` is raised.
    """

    def __init__(self, warn: float, stop: float, patience: int) -> None:
        self.warn = warn
        self.stop = stop
        self.patience = patience
        self._above_stop = 0
        self._warned = False

    @classmethod
    def for_dtype(cls, dtype: str, *, warn: float | None, stop: float | None, patience: int) -> GapGuard:
        """The limits of ``dtype`` ("float32", "bfloat16", "float16"), where none are given."""
        default_warn, default_stop = LIMITS.get(dtype, LIMITS["bfloat16"])
        return cls(default_warn if warn is None else warn, default_stop if stop is None else stop, patience)

    def check(self, gap: Gap, step: int) -> None:
        """Judge one step. A mean that is not a number counts as above every limit.

        Raises:
            RolloutGapError: the last ``patience`` steps were all above ``stop``.
        """
        if gap.tokens == 0:
            return
        found = (
            f"Rollout/trainer log-prob gap at step {step}: mean {gap.mean:.2g}, p99 {gap.p99:.2g}, max {gap.max:.2g} "
            f"nats over {gap.tokens} tokens"
        )
        self._above_stop = self._above_stop + 1 if not gap.mean <= self.stop else 0
        if self._above_stop >= self.patience:
            raise RolloutGapError(
                f"{found}. The mean has been above {self.stop:g} for {self._above_stop} steps, so the completions are "
                f"not samples of the policy that is trained. {ADVICE}"
            )
        above = not gap.mean <= self.warn
        if above and not self._warned:
            logger.warning("%s; expected a mean of at most %g. %s", found, self.warn, ADVICE)
        self._warned = above
