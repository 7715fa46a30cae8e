"""Groups worth training on: which have a spread of rewards, and a loss without the completions that move nothing.

A completion whose advantage is exactly zero adds zero to the loss and to every gradient, so it need not pass through
the model. What it does add is its place in the denominator of the loss; :func:`left_out` gives the factor for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import nanstd, split_pixel_values_by_grid, unsplit_pixel_values_by_grid


@dataclass(frozen=True)
class GroupSignal:
    """What the rewards of each group say, over all processes; every tensor is (groups,).

    Args:
        reward: mean of the weighted sum of the rewards; NaN where no completion can be scored.
        spread: standard deviation inside the group (n - 1), 0 where fewer than two completions can be scored.
        unscorable: no reward scored any of its completions.
    """

    reward: torch.Tensor
    spread: torch.Tensor
    unscorable: torch.Tensor

    def flat(self, limit: float) -> torch.Tensor:
        """Groups whose spread is below ``limit``: their advantages are rounding noise."""
        return self.spread < limit

    def replace(self, at: Sequence[int], other: GroupSignal, source: Sequence[int]) -> GroupSignal:
        """The groups at ``at`` become the groups ``source`` of ``other``."""
        parts = []
        for name in ("reward", "spread", "unscorable"):
            values = getattr(self, name).clone()
            values[list(at)] = getattr(other, name)[list(source)]
            parts.append(values)
        return GroupSignal(*parts)


def signal_of(rewards: torch.Tensor, weights: torch.Tensor, generations: int, *, each: bool = False) -> GroupSignal:
    """The signal of each group.

    Args:
        rewards: (groups * generations, rewards), NaN where a reward does not score a completion.
        weights: (rewards,) of the sum.
        each: rewards are normalised one by one (GDPO): a group is flat only where each of them is. Else it is the
            spread of their weighted sum that counts.
    """
    weights = weights.to(rewards.device)
    none = torch.isnan(rewards).all(dim=1)
    total = (rewards * weights).nansum(dim=1).masked_fill(none, torch.nan).view(-1, generations)
    if each:
        used = rewards[:, weights != 0].view(total.shape[0], generations, -1)
        spread = nanstd(used, dim=1).nan_to_num(0.0).amax(-1)
    else:
        spread = nanstd(total, dim=1).nan_to_num(0.0)
    return GroupSignal(torch.nanmean(total, dim=1), spread, none.view(-1, generations).all(dim=1))


def why_all_count(args: Any, *, router: bool) -> str:
    """Why a completion without advantage still moves this policy; empty where it does not.

    Args:
        args: a ``GRPOConfig``.
        router: the loss of a mixture of experts' router is added.
    """
    if args.beta != 0.0:
        return "beta is not 0, so every completion is pulled towards the reference"
    if args.entropy_coef != 0.0 or args.use_adaptive_entropy:
        return "the entropy bonus acts on every completion"
    if args.top_entropy_quantile < 1.0:
        return "top_entropy_quantile ranks the tokens of every completion"
    if router:
        return "the router's loss acts on every completion"
    return ""


@dataclass(frozen=True)
class Kept:
    """A micro-batch without completions that move nothing.

    Args:
        batch: the rows that remain; empty where none does.
        factor: what the loss of those rows is multiplied by to be the loss of all.
        share: of the rows that were left out.
    """

    batch: dict[str, Any]
    factor: float
    share: float


def left_out(batch: Mapping[str, Any], loss_type: str, at_least: int) -> Kept:
    """Leave the rows whose advantage is 0 out of a micro-batch, as TRL's trainer prepares it.

    Args:
        loss_type: TRL's; it decides what the loss is divided by. ``dapo``, ``cispo`` and ``vespo`` divide by the
            tokens of the whole generation batch, which the batch holds as a number; ``grpo``, ``sapo``, ``luspo`` and
            ``dr_grpo`` by rows; ``bnpo`` by the tokens of the micro-batch.
        at_least: rows that must remain: processes that share a model must run the same passes with as many rows. The
            first ones without advantage stay as company.
    """
    advantages = batch["advantages"]
    total = advantages.shape[0]
    with_signal = (advantages.reshape(total, -1) != 0).any(dim=1).tolist()
    spare = max(0, at_least - sum(with_signal))
    keep = []
    for row, counts in enumerate(with_signal):
        if counts or spare > 0:
            keep.append(row)
            spare -= not counts
    if len(keep) == total:
        return Kept(dict(batch), 1.0, 0.0)
    if not keep:
        return Kept({}, 0.0, 1.0)
    return Kept(rows_of(batch, keep), _factor(batch, keep, loss_type), 1.0 - len(keep) / total)


def _factor(batch: Mapping[str, Any], keep: Sequence[int], loss_type: str) -> float:
    if loss_type in ("dapo", "cispo", "vespo"):
        return 1.0
    if loss_type == "bnpo":
        mask = batch["completion_mask"]
        if batch.get("tool_mask") is not None:
            mask = mask * batch["tool_mask"]
        return (mask[list(keep)].sum().clamp(min=1) / mask.sum().clamp(min=1)).item()
    return len(keep) / batch["advantages"].shape[0]


def rows_of(batch: Mapping[str, Any], keep: Sequence[int]) -> dict[str, Any]:
    """Some rows of a micro-batch, each with its own images."""
    total = batch["advantages"].shape[0]
    index = torch.tensor(list(keep), device=batch["advantages"].device)
    chosen: dict[str, Any] = {}
    for name, value in split_pixel_values_by_grid(dict(batch)).items():
        if isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[0] == total:
            chosen[name] = value[index]
        elif isinstance(value, list) and len(value) == total:
            chosen[name] = [value[row] for row in keep]
        else:
            chosen[name] = value
    return unsplit_pixel_values_by_grid(chosen)


def zero_loss(model: torch.nn.Module) -> torch.Tensor:
    """A loss of 0 whose gradients are zeros, not absent: an optimiser skips a parameter without gradient."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = trained[0].device
    return torch.stack([parameter.reshape(-1)[0].float().to(device) * 0.0 for parameter in trained]).sum()
