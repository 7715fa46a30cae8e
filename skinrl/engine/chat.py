"""Requests to token ids, through the same processor and chat template that the trainer uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skinrl.engine.base import Request
from skinrl.errors import InputError


def load_processor(model_path: str, revision: str | None = None) -> Any:
    """The processor of a checkpoint (the tokenizer of a text-only one), padding on the left as generation needs."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(model_path, revision=revision, padding_side="left")


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer inside a processor, or the processor itself where it is one."""
    return getattr(processor, "tokenizer", processor)


def generation_prompt(processor: Any) -> str:
    """What the chat template writes after a user's message, where the model is to go on: ``<think>`` with some."""
    content: Any = "x"
    if hasattr(processor, "image_processor"):
        content = [{"type": "text", "text": "x"}]
    messages = [{"role": "user", "content": content}]
    without, written = (
        processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=add) for add in (False, True)
    )
    return str(written).removeprefix(str(without))


def conversation(processor: Any, request: Request) -> list[dict[str, Any]]:
    """The request's messages as the processor wants them, images filled in where TRL would put them.

    Raises:
        InputError: images for a text-only model, or another number of images than placeholders.
    """
    messages = [dict(message) for message in request.messages]
    if not hasattr(processor, "image_processor"):
        if request.images:
            raise InputError(f"The request shows {len(request.images)} images, but the model takes text alone.")
        return messages
    from trl.data_utils import prepare_multimodal_messages

    try:
        return prepare_multimodal_messages(messages, images=list(request.images))
    except ValueError as error:
        raise InputError(f"A request does not fit its images: {error}") from error


def encode(processor: Any, requests: Sequence[Request], **options: Any) -> Any:
    """``apply_chat_template`` over ``requests``: token ids (image tokens expanded) and image tensors."""
    if options and hasattr(processor, "image_processor"):
        options = {"processor_kwargs": options}
    return processor.apply_chat_template(
        [conversation(processor, request) for request in requests],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        **options,
    )
