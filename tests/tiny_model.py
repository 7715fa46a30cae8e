"""Tiny random models for trainer tests: a Qwen2.5-VL and a text-only Qwen2, made from a configuration.

No taxonomy, no phantom, no network. A model takes a second to build and a few megabytes on disk.
Weights are drawn wider than usual: with the usual 0.02 a random model hardly looks at its prompt,
and a fault in the prompt would not show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VISION_TOKENS = SPECIAL_TOKENS[3:]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CORPUS = [
    "Findings: erythematous scaly plaque with a well defined border. Diagnosis: psoriasis. Malignancy: benign.",
    "What do you see? Diagnose the lesion. Reasoning: brown network, irregular border. Diagnosis: melanoma.",
] * 20


def build_tokenizer(vocabulary: int = 400) -> Any:
    """A byte-level BPE tokenizer with Qwen's special tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_tiny_vlm(
    path: Path, *, seed: int = 0, tied: bool = True, hidden: int = 128, layers: int = 2, max_pixels: int = 112 * 112
) -> Path:
    """Write a random Qwen2.5-VL checkpoint directory (model, tokenizer, processor); returns ``path``."""
    import torch
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = build_tokenizer()
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": hidden // 32,  # vLLM's CPU attention wants heads of at least 32
            "num_key_value_heads": hidden // 64,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": tied,
            "initializer_range": 0.06,
        },
        vision_config={
            "depth": 2,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_heads": hidden // 32,
            "out_hidden_size": hidden,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.06,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=tied,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(path)
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": max_pixels}),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(path)
    return path


def build_tiny_relative(path: Path, family: str) -> Path:
    """Write a random Qwen2-VL ("qwen2_vl") or Qwen3-VL ("qwen3_vl") checkpoint directory; returns ``path``."""
    import torch
    import transformers

    tokenizer = build_tokenizer()
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIAL_TOKENS}
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "rope_parameters": rope,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
        "initializer_range": 0.06,
    }
    vision = {
        "hidden_size": 128,
        "num_heads": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": 0.06,
    }
    if family == "qwen2_vl":
        name, patch = "Qwen2VL", 14
        vision |= {"depth": 2, "embed_dim": 128, "mlp_ratio": 2, "patch_size": patch}
    else:
        name, patch = "Qwen3VL", 16
        text |= {"head_dim": 32, "rope_parameters": {**rope, "mrope_section": [6, 5, 5], "mrope_interleaved": True}}
        vision |= {"depth": 3, "intermediate_size": 256, "out_hidden_size": 128, "patch_size": patch}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2]}
    config = getattr(transformers, f"{name}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(path)
    size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    getattr(transformers, f"{name}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(size=size, patch_size=patch),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, f"{name}VideoProcessor")(),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(path)
    return path


def build_tiny_text(path: Path, *, seed: int = 0, hidden: int = 64) -> Path:
    """Write a random text-only Qwen2 checkpoint directory (model, tokenizer); returns ``path``."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = build_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        initializer_range=0.06,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def random_image(seed: int, width: int = 112, height: int = 112) -> Image.Image:
    """An RGB image of noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def image_rows(count: int, *, start: int = 0, text_only: frozenset[int] = frozenset()) -> list[dict[str, Any]]:
    """GRPO rows (``prompt``, ``images``, ``label``); the rows in ``text_only`` have no image."""
    return [
        {
            "prompt": [{"role": "user", "content": f"Diagnose lesion {i}."}],
            "images": [] if i in text_only else [random_image(i)],
            "label": "psoriasis",
        }
        for i in range(start, start + count)
    ]


def text_rows(count: int) -> list[dict[str, Any]]:
    """GRPO rows with a text prompt alone."""
    return [{"prompt": [{"role": "user", "content": f"Diagnose lesion {i}."}], "label": "x"} for i in range(count)]


def distinct_tokens_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    """A reward that any random policy can climb: distinct characters of the completion, over 50."""
    return [len(set(c if isinstance(c, str) else c[0]["content"])) / 50 for c in completions]
