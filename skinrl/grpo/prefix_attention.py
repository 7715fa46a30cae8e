"""Attention over a packed row: each completion sees its group's prompt and itself.

A packed row is ``prompt, completion 1, ..., completion G`` of one group, then of the next. Only attention couples
tokens, so everything else in the model runs on that row as on any other. Attention is computed in two parts: the
prompt to itself (causal), and the completions to the prompt and to themselves. On CUDA, FlexAttention with a block
mask can take its place.

The function is registered with transformers beside the model's own attention, which it calls for ordinary rows
(generation, evaluation): no model file is patched, and what is recomputed under gradient checkpointing, after the
forward has ended, still finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

PREFIX = "shared_prefix_"  # of the registered name; then the form, then the name of the model's own attention
FORMS = ("two_part", "flex")


@dataclass(frozen=True)
class Group:
    """One group of a packed row: a prompt of P tokens, then G completions of C tokens each (padding included)."""

    prompt: int
    completions: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of the group in the packed row."""
        return self.prompt + self.completions * self.length


@dataclass(frozen=True)
class Layout:
    """How a packed row of T tokens is laid out, and which positions are scored.

    ``scored``: (S,) positions whose next token is a completion's, row by row of the batch: the prompt's last
    position stands there once for each completion.
    """

    groups: tuple[Group, ...]
    scored: torch.Tensor

    @cached_property
    def block_mask(self) -> Any:
        """Who attends to whom, as FlexAttention takes it: built once, for all layers of a pass and its backward."""
        from torch.nn.attention.flex_attention import create_block_mask

        tokens = sum(group.tokens for group in self.groups)
        group, part = (labels.to(self.scored.device) for labels in parts_of_row(self.groups))

        def allowed(batch: Any, head: Any, query: Any, key: Any) -> Any:
            seen = (part[key] == 0) | (part[key] == part[query])  # the prompt is part 0 of its group
            return (group[query] == group[key]) & seen & (key <= query)

        return create_block_mask(allowed, None, None, tokens, tokens, device=str(self.scored.device))


def parts_of_row(groups: tuple[Group, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) number of the group, and (T,) part within it: 0 for the prompt, 1 to G for the completions."""
    numbers, parts = [], []
    for number, group in enumerate(groups):
        numbers.append(torch.full((group.tokens,), number))
        completions = torch.arange(1, group.completions + 1).repeat_interleave(group.length)
        parts += [torch.zeros(group.prompt, dtype=torch.long), completions]
    return torch.cat(numbers), torch.cat(parts)


def register(own: str, form: str) -> str:
    """Register the attention beside the implementation called ``own``; returns the name to set on the model.

    Args:
        own: a name in transformers' registry (``"eager"`` is not: it stands in each model's file).
        form: one of ``FORMS``.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name = f"{PREFIX}{form}_{own}"
    AttentionInterface.register(name, attention_beside(ALL_ATTENTION_FUNCTIONS[own], form))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[own])
    return name


def attention_beside(own: Callable[..., Any], form: str) -> Callable[..., Any]:
    """An attention function of transformers' signature: ``own``, or a packed form where the call has a layout."""

    def attend(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        *,
        shared_prefix: Layout | None = None,
        scaling: float | None = None,
        dropout: float = 0.0,
        **rest: Any,
    ) -> tuple[torch.Tensor, None]:
        if shared_prefix is None:
            return own(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest)
        if dropout:
            raise ValueError(f"attention dropout is {dropout}: completions of a group would not share one prompt")
        if form == "flex":
            output = flex_packed_attention(query, key, value, shared_prefix, scaling)
        else:
            output = packed_attention(query, key, value, shared_prefix.groups, scaling)
        return output.transpose(1, 2).contiguous(), None

    return attend


def packed_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, groups: tuple[Group, ...], scale: float | None
) -> torch.Tensor:
    """Attention of a packed row.

    Args:
        query: (1, H, T, D); key, value: (1, K, T, D) with H a multiple of K (grouped queries).
        groups: what the T tokens are.
        scale: of the products; None is 1 / sqrt(D).

    Returns (1, H, T, D).
    """
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:  # `enable_gqa` is several times slower where a mask is needed
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    complete = _merged if query.device.type == "cpu" and query.dtype == torch.float32 else _copied
    parts: list[torch.Tensor] = []
    for group, start, end in _spans(groups):
        middle = start + group.prompt
        q, k, v = (x[:, :, start:middle] for x in (query, key, value))
        parts.append(scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale))
        parts.append(
            complete(query[:, :, middle:end], k, v, key[:, :, middle:end], value[:, :, middle:end], group, scale)
        )
    return torch.cat(parts, 2)


def flex_packed_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scale: float | None
) -> torch.Tensor:
    """The same by FlexAttention, which skips the blocks that nobody sees. Trains on CUDA alone (torch 2.13)."""
    grouped = query.shape[1] != key.shape[1]
    attention = _flex(query.device.type)
    return attention(query, key, value, block_mask=layout.block_mask, scale=scale, enable_gqa=grouped)


@cache
def _flex(device: str) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if device == "cuda" else flex_attention


def _spans(groups: tuple[Group, ...]) -> Iterator[tuple[Group, int, int]]:
    start = 0
    for group in groups:
        yield group, start, start + group.tokens
        start += group.tokens


def _by_completion(x: torch.Tensor, group: Group) -> torch.Tensor:
    """(1, H, G*C, D) -> (G, H, C, D)."""
    return x.unflatten(2, (group.completions, group.length)).squeeze(0).transpose(0, 1)


def _in_a_row(x: torch.Tensor) -> torch.Tensor:
    """(G, H, C, ...) -> (1, H, G*C, ...)."""
    return x.transpose(0, 1).flatten(1, 2).unsqueeze(0)


def _copied(
    query: torch.Tensor, prompt_key: torch.Tensor, prompt_value: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    group: Group, scale: float | None,
) -> torch.Tensor:  # fmt: skip
    """One causal call for all completions, the prompt's keys and values beside each: any device, any kernel."""
    keys = torch.cat([prompt_key.expand(group.completions, -1, -1, -1), _by_completion(key, group)], 2)
    values = torch.cat([prompt_value.expand(group.completions, -1, -1, -1), _by_completion(value, group)], 2)
    mask = causal_lower_right(group.length, group.prompt + group.length)  # flash attention takes it without a tensor
    return _in_a_row(
        scaled_dot_product_attention(_by_completion(query, group), keys, values, attn_mask=mask, scale=scale)
    )


def _merged(
    query: torch.Tensor, prompt_key: torch.Tensor, prompt_value: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    group: Group, scale: float | None,
) -> torch.Tensor:  # fmt: skip
    """Two calls, completions to the prompt and to themselves, put together by their log-sum-exp: nothing is copied.

    With weights w = softmax over both parts, the attention is w1 * o1 + w2 * o2, and w1 = sigmoid(lse1 - lse2).
    """
    to_prompt, lse_prompt = _FlashCPU.apply(query, prompt_key, prompt_value, False, scale)
    to_self, lse_self = _FlashCPU.apply(*(_by_completion(x, group) for x in (query, key, value)), True, scale)
    share = torch.sigmoid(lse_prompt - _in_a_row(lse_self)).unsqueeze(-1).to(query.dtype)
    return share * to_prompt + (1 - share) * _in_a_row(to_self)


class _FlashCPU(torch.autograd.Function):
    """torch's CPU flash attention with its log-sum-exp, differentiable in both (torch's own is not, in the latter).

    With p the weights and D = rowsum(do * o), the gradient of the scores is p * (do v' - D); a gradient dl of the
    log-sum-exp adds p * dl. So the kernel's backward serves, given an ``o`` whose rowsum(do * o) is D - dl.
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, causal: bool, scale: float | None) -> Any:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, scale=scale
        )
        ctx.save_for_backward(query, key, value, output, lse)
        ctx.causal, ctx.scale = causal, scale
        return output, lse

    @staticmethod
    def backward(ctx: Any, d_output: Any, d_lse: Any) -> Any:
        query, key, value, output, lse = ctx.saved_tensors
        d_output = d_output.contiguous()
        squares = d_output.float().square().sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        shifted = output - (d_output * (d_lse.unsqueeze(-1) / squares)).to(output.dtype)
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            d_output, query, key, value, shifted, lse, 0.0, ctx.causal, scale=ctx.scale
        )
        return *grads, None, None
