"""Prompts and completions against the limits of model and engine, before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skinrl.cli.common import Experiment, base_and_adapter

_SAMPLED = 16  # rows whose images are really processed, beside the one with the longest text


def refuse_too_long(
    experiment: Experiment, start: str, rows: Any, *, completion: int | None = None, engine: int | None = None
) -> None:
    """Refuse rows that do not fit.

    Looked at: the row with the longest text and some spread over the rest, tokenised with their images.

    Args:
        start: the checkpoint that the stage starts from.
        rows: of the stage, with ``prompt`` and ``images``, and ``completion`` in SFT.
        completion: most tokens that a completion may have; None takes the row's own completion.
        engine: the engine's limit in tokens, where it has one.

    Raises:
        InputError: prompt and completion are longer than a limit; it says by how much and what to change.
    """
    from skinrl.engine.base import Request
    from skinrl.engine.chat import encode, tokenizer_of
    from skinrl.engine.prompts import check_lengths
    from skinrl.model import load_processor

    model = experiment.recipe.model
    processor = load_processor(
        start, revision=model.revision, min_pixels=model.image.min_pixels, max_pixels=model.image.max_pixels
    )
    tokenizer = tokenizer_of(processor)
    longest = 0
    for number in _numbers(rows):
        row = rows[number]
        ids = encode(processor, [Request(row["prompt"], tuple(row["images"]))])["input_ids"][0]
        written = completion
        if written is None:
            written = len(tokenizer(_text(row["completion"]))["input_ids"]) + 1  # and the token that ends it
        longest = max(longest, len(ids) + written)
    check_lengths([longest - (completion or 0)], completion or 0, engine, "the engine (vllm_max_model_length)")
    limit = _positions(start, model.revision)
    check_lengths([longest - (completion or 0)], completion or 0, limit, "the model (max_position_embeddings)")


def _numbers(rows: Any) -> list[int]:
    texts = rows.remove_columns("images")
    written = [len(_text(row["prompt"])) + len(_text(row.get("completion") or ())) for row in texts]
    spread = range(0, len(rows), max(1, len(rows) // _SAMPLED))
    return sorted({max(range(len(written)), key=written.__getitem__), *spread})


def _text(messages: Sequence[dict[str, str]]) -> str:
    return "".join(message["content"] for message in messages)


def _positions(start: str, revision: str | None) -> int | None:
    """How many positions the model was made for; None where its configuration does not say."""
    from transformers import AutoConfig

    base, _ = base_and_adapter(start)
    config = AutoConfig.from_pretrained(base, revision=revision if not Path(base).is_dir() else None)
    limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit
