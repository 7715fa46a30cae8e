"""Tokens that a policy may never write, removed from its log-probs and from its samples alike.

The policy without the banned tokens has log p(token) - log(1 - p(banned)). Instead of correcting
afterwards, the banned logits are lowered by ``BAN`` before the one softmax that TRL's fused head
computes, through a bias on the output head. That is the same number, and better in three ways:
1 - p(banned) never cancels to zero, entropy and gradient are corrected with it, and no second
product with the head's rows (which ZeRO-3 would have to gather again) is needed. ``generate`` reads
the same bias, so the transformers path samples from the same policy.

The bias is a buffer outside the state dict: no checkpoint, no optimiser and no weight push sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from skinrl.errors import InputError

# Large enough that exp(BAN) is exactly 0 in every dtype, small enough for float16. Not -inf: the
# entropy multiplies each probability by its logit, and 0 * inf is not a number.
BAN = -1e4


def ban_bias(vocabulary: int, banned: Sequence[int], *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(V,) zeros, with ``BAN`` at the banned ids."""
    bias = torch.zeros(vocabulary, dtype=dtype)
    bias[list(banned)] = BAN
    return bias


def without_banned(logps: torch.Tensor, banned_logps: torch.Tensor) -> torch.Tensor:
    """The correction in its other form: log-probs (...) renormalised without the banned tokens.

    Args:
        logps: (...) log-probs of some tokens under the full softmax.
        banned_logps: (..., K) log-probs of the K banned tokens at the same positions.

    Returns log p - log(1 - sum of banned p). Equal to the bias, and used where only log-probs are at hand.
    """
    return logps - torch.log1p(-banned_logps.exp().sum(-1))


def install_ban(model: nn.Module, banned: Sequence[int]) -> None:
    """Ban tokens in a transformers model (or a PEFT model around one), in place.

    Raises:
        InputError: the output head is not a linear layer without a bias of its own.
    """
    if not banned:
        return
    head = _output_head(model)
    if not isinstance(head, nn.Linear) or isinstance(head._parameters.get("bias"), nn.Parameter):
        raise InputError(
            f"ban_vision_tokens needs a linear output head without bias, found {type(head).__name__}. "
            "Set ban_vision_tokens to false, and make sure that the model does not sample image tokens."
        )
    # Under ZeRO-3 the weight is empty between uses; the layer still knows its size.
    bias = ban_bias(head.out_features, banned, dtype=head.weight.dtype).to(head.weight.device)
    head._parameters.pop("bias", None)
    head.register_buffer("bias", bias, persistent=False)


def mark_available(model: nn.Module) -> None:
    """Tell DeepSpeed ZeRO-3 that the bias is whole.

    TRL asks every tensor of the head for its partition status before it gathers them, and a move
    between devices or dtypes makes a new buffer without one; so this is called before each use.
    """
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    bias: Any = getattr(_output_head(model), "bias", None)
    if bias is not None and not hasattr(bias, "ds_status"):
        bias.ds_status = ZeroParamStatus.AVAILABLE


def _output_head(model: Any) -> nn.Module:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_output_embeddings()
