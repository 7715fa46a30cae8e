"""Which tokens a policy must never write: those that stand for images and videos.

A sampled image token makes the training forward pass fail (features and tokens no longer match),
so these tokens are removed from the policy on both sides: where it samples and where it is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# vLLM clips a logit bias to [-100, 100]; exp(-100) is 0 beside 1 in float32
ENGINE_BAN = -100.0

# Names under which model configurations of the Qwen, LLaVA, InternVL, Gemma and Idefics families hold the ids
_CONFIG_FIELDS = (
    "image_token_id",
    "image_token_index",
    "video_token_id",
    "video_token_index",
    "vision_start_token_id",
    "vision_end_token_id",
    "boi_token_index",
    "eoi_token_index",
)
# Tokens that configurations leave out
_TOKEN_TEXTS = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<image>",
    "<|image|>",
    "<fake_token_around_image>",
    "<start_of_image>",
    "<end_of_image>",
)


def vision_token_ids(config: Any, tokenizer: Any) -> tuple[int, ...]:
    """Sorted ids of all vision tokens of a model; empty for a text-only model.

    Args:
        config: the model's configuration (``PreTrainedConfig``).
        tokenizer: its tokenizer, or None to go by the configuration alone.
    """
    if getattr(config, "vision_config", None) is None:
        return ()
    found = {getattr(config, name, None) for name in _CONFIG_FIELDS}
    if tokenizer is not None:
        added = tokenizer.get_added_vocab()
        found |= {added.get(text) for text in _TOKEN_TEXTS}
    return tuple(sorted(token for token in found if isinstance(token, int) and token >= 0))


def end_token_ids(generation_config: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a completion: the tokenizer's end token and those of the generation configuration (TRL's rule)."""
    configured = getattr(generation_config, "eos_token_id", None)
    ids = [configured] if isinstance(configured, int) else list(configured or ())
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
        ids.insert(0, tokenizer.eos_token_id)
    return tuple(ids)


def ended(token_ids: Sequence[int], eos_token_ids: Sequence[int]) -> bool:
    """Whether a completion ended by itself: its last token is an end-of-sequence token."""
    return len(token_ids) > 0 and token_ids[-1] in eos_token_ids
