"""Qwen2.5-VL of published and of small shapes, from a configuration and random weights: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen2.5-VL, by the names of its configuration; defaults are common to the published models."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    mrope_section: tuple[int, int, int] = (16, 24, 24)
    vision_depth: int = 32
    vision_hidden_size: int = 1280
    vision_intermediate_size: int = 3420
    vision_num_heads: int = 16
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)
    window_size: int = 112
    initializer_range: float = 0.02
    max_position_embeddings: int = 128_000


# config.json of huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct and -3B-Instruct (released January 2025)
QWEN2_5_VL_7B = Shape(3584, 18_944, 28, 28, 4, 152_064, tie_word_embeddings=False)
QWEN2_5_VL_3B = Shape(2048, 11_008, 36, 16, 2, 151_936, tie_word_embeddings=True)


def shrink(shape: Shape) -> Shape:
    """The same architecture in a few megabytes: every kind of layer is still there, and tied heads stay tied.

    Weights are drawn wider: at 0.02 so small a model hardly looks at its prompt, and a fault there would not show.
    """
    return Shape(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,  # vLLM's CPU attention wants heads of at least 32
        num_key_value_heads=2,
        vocab_size=1024,
        tie_word_embeddings=shape.tie_word_embeddings,
        mrope_section=(4, 6, 6),
        vision_depth=2,
        vision_hidden_size=64,
        vision_intermediate_size=128,
        vision_num_heads=2,
        fullatt_block_indexes=(1,),
        window_size=56,
        initializer_range=0.06,
        max_position_embeddings=4096,
    )


# Making a checkpoint


def build_tokenizer(vocabulary: int, texts: Sequence[str]) -> Any:
    """A byte-level BPE tokenizer trained on ``texts``, filled up to ``vocabulary`` tokens; Qwen's special ones last.

    The filling can be decoded, whatever a random model samples, and is never written by the tokenizer itself.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from skinrl.phantom.model import CHAT_TEMPLATE, SPECIAL_TOKENS

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    size = min(4096, vocabulary - len(SPECIAL_TOKENS))
    learner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    learnt = json.loads(learner.to_str())["model"]
    words = [*learnt["vocab"]]
    words += [f"<filling_{n}>" for n in range(len(words), vocabulary - len(SPECIAL_TOKENS))]
    vocab = {word: number for number, word in enumerate([*words, *SPECIAL_TOKENS])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[(left, right) for left, right in learnt["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def model_config(shape: Shape, tokenizer: Any) -> Any:
    """The transformers configuration of ``shape``, with the ids of ``tokenizer``."""
    from transformers import Qwen2_5_VLConfig

    token = tokenizer.convert_tokens_to_ids
    text = {
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": list(shape.mrope_section),
        },
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "initializer_range": shape.initializer_range,
    }
    vision = {
        "depth": shape.vision_depth,
        "hidden_size": shape.vision_hidden_size,
        "intermediate_size": shape.vision_intermediate_size,
        "num_heads": shape.vision_num_heads,
        "out_hidden_size": shape.hidden_size,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": shape.window_size,
        "fullatt_block_indexes": list(shape.fullatt_block_indexes),
        "initializer_range": shape.initializer_range,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=shape.tie_word_embeddings,
    )


def count_parameters(shape: Shape) -> int:
    """The number of parameters of a model of ``shape``, without making it."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = model_config(shape, build_tokenizer(1024, ["x"]))
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    return sum(parameter.numel() for parameter in model.parameters())


def write_checkpoint(
    folder: Path, shape: Shape, *, texts: Sequence[str], dtype: str = "float32", device: str = "cpu", seed: int = 0
) -> Path:
    """Write a random Qwen2.5-VL of ``shape`` (weights, tokenizer, processor) to ``folder``; returns ``folder``."""
    import torch
    from transformers import (
        AutoModelForImageTextToText,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = build_tokenizer(shape.vocab_size, texts)
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(model_config(shape, tokenizer), dtype=getattr(torch, dtype))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    return folder
