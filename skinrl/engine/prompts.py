"""Prompts as an engine must see them.

A processor writes one image token per image patch into a prompt. vLLM expands images itself, so a
prompt that is already expanded is expanded twice (16 image tokens become 31 for a 112-pixel image
of Qwen2.5-VL) and the engine answers another question than the trainer scores. Nothing warns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skinrl.errors import InputError, RunError


def collapse_image_tokens(token_ids: Sequence[int], image_token_id: int) -> list[int]:
    """Replace each run of image tokens by a single one.

    >>> collapse_image_tokens([1, 9, 9, 9, 2, 9, 9, 3], 9)
    [1, 9, 2, 9, 3]
    """
    collapsed: list[int] = []
    for token in token_ids:
        if token != image_token_id or not collapsed or collapsed[-1] != image_token_id:
            collapsed.append(token)
    return collapsed


def collapse_prompt(token_ids: Sequence[int], image_token_id: int, images: int) -> list[int]:
    """:func:`collapse_image_tokens`, with a check that one run stands for one image.

    Raises:
        RunError: the number of runs is not the number of images, so the runs cannot be told apart.
    """
    collapsed = collapse_image_tokens(token_ids, image_token_id)
    runs = collapsed.count(image_token_id)
    if runs != images:
        raise RunError(
            f"The prompt holds {runs} runs of image tokens (id {image_token_id}) but shows {images} images; expected "
            "one run per image. Check the chat template: every image needs its own placeholder, apart from the next."
        )
    return collapsed


def check_same_prompts(sent: Sequence[Sequence[int]], used: Sequence[Sequence[int]]) -> None:
    """Check that an engine generated from exactly the trainer's prompts.

    Args:
        sent: the trainer's prompts, image tokens expanded.
        used: the prompts that the engine reports, image tokens expanded by the engine.

    Raises:
        RunError: a prompt has another length or another token.
    """
    for row, (ours, theirs) in enumerate(zip(sent, used, strict=True)):
        if len(ours) != len(theirs):
            raise RunError(
                f"Prompt {row} has {len(ours)} tokens in the trainer but {len(theirs)} in the engine, so they answer "
                "different questions. Most often the image is resized differently: give both the same min_pixels and "
                "max_pixels, and the engine the processor files of the model that is trained."
            )
        position = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
        if position is not None:
            raise RunError(
                f"Prompt {row} differs between trainer and engine at token {position}: {ours[position]} in the "
                f"trainer, {theirs[position]} in the engine. Give both the same tokenizer and chat template."
            )


def check_lengths(prompt_lengths: Sequence[int], max_tokens: int, limit: int | None, what: str) -> None:
    """Check that prompt and completion fit.

    Raises:
        InputError: a prompt plus ``max_tokens`` is longer than ``limit`` (tokens); ``what`` names the limit.
    """
    if limit is None or not prompt_lengths:
        return
    longest = max(prompt_lengths)
    if longest + max_tokens > limit:
        raise InputError(
            f"A prompt of {longest} tokens and completions of up to {max_tokens} need {longest + max_tokens} tokens, "
            f"but {what} allows {limit}. Raise that limit, shorten the completions, or lower max_pixels."
        )


def check_image_counts(images: Sequence[Sequence[Any] | None], limit: int | None) -> None:
    """Check that no prompt shows more images than an engine was opened for.

    Raises:
        InputError: a prompt shows more than ``limit``.
    """
    most = max((len(shown or ()) for shown in images), default=0)
    if limit is not None and most > limit:
        raise InputError(
            f"A prompt shows {most} images, but the engine takes {limit} (grpo.vllm_images_per_prompt). Raise it, or "
            "leave it unset for no limit."
        )


def set_image_size(image_processor: Any, min_pixels: int | None, max_pixels: int | None) -> None:
    """Give an image processor of the Qwen-VL kind its pixel limits, in place.

    Raises:
        InputError: the processor has no pixel limits to set.
    """
    if min_pixels is None and max_pixels is None:
        return
    size = image_size(image_processor)
    if size is None:
        raise InputError(
            f"{type(image_processor).__name__} has no pixel limits: leave min_pixels and max_pixels unset for it."
        )
    low, high = size
    low = low if min_pixels is None else min_pixels
    high = high if max_pixels is None else max_pixels
    if low > high:
        raise InputError(f"min_pixels ({low}) is greater than max_pixels ({high}).")
    # a new mapping: the default one is shared by all processors of the class
    image_processor.size = type(image_processor.size)(shortest_edge=low, longest_edge=high)
    for name, value in (("min_pixels", low), ("max_pixels", high)):
        if hasattr(image_processor, name):
            setattr(image_processor, name, value)


def image_size(image_processor: Any) -> tuple[int, int] | None:
    """The (minimum, maximum) number of pixels of a processor of the Qwen-VL kind, or None for other kinds."""
    size = getattr(image_processor, "size", None)
    valid = getattr(getattr(image_processor, "valid_kwargs", None), "__annotations__", {})
    if size is None or "max_pixels" not in valid:
        return None
    return int(size["shortest_edge"]), int(size["longest_edge"])


def engine_image_arguments(image_processor: Any) -> dict[str, int]:
    """Processor arguments that make an engine resize images as ``image_processor`` does."""
    size = image_size(image_processor)
    return {} if size is None else {"min_pixels": size[0], "max_pixels": size[1]}
