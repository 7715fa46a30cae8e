"""Random models of a few thousand weights, of the three families that share ``visual`` and ``language_model``."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

IMAGE, VIDEO, START, END = 50, 51, 52, 53
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_TOKENS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
_TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0},
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
_VISION = {"depth": 2, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2, "initializer_range": 0.2}


def build_family(family: str, *, tied: bool = True) -> Any:
    """A model of ``family`` in float32, always with the same weights."""
    text = _TEXT | {"tie_word_embeddings": tied}
    if family == "qwen2_vl":
        vision = _VISION | {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "patch_size": 4}
        config: Any = Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied, **_TOKENS)
        build: Any = Qwen2VLForConditionalGeneration
    elif family == "qwen2_5_vl":
        vision = _VISION | {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32, "patch_size": 4}
        vision |= {"window_size": 16, "fullatt_block_indexes": [1]}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied, **_TOKENS)
        build = Qwen2_5_VLForConditionalGeneration
    else:
        text["head_dim"] = 16
        text["rope_parameters"] = {**_TEXT["rope_parameters"], "mrope_interleaved": True}
        vision = _VISION | {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32, "patch_size": 4}
        vision |= {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
        config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied, **_TOKENS)
        build = Qwen3VLForConditionalGeneration
    torch.manual_seed(0)
    return build(config)


def batch(*, image: bool) -> dict[str, torch.Tensor]:
    """Two rows of ten tokens; with ``image``, four patches merged into one image token in each."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 49, (2, 10), generator=generator)
    if not image:
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    ids[:, 1], ids[:, 2], ids[:, 3] = START, IMAGE, END
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == IMAGE).long(),
        "pixel_values": torch.randn(8, 3 * 2 * 4 * 4, generator=generator),
        "image_grid_thw": torch.tensor([[1, 2, 2], [1, 2, 2]]),
    }
