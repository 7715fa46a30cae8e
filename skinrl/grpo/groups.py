"""Groups that stay together: TRL shuffles rows over micro-batches, which scatters the completions of one prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from trl.trainer import grpo_trainer as trl_grpo

from skinrl.errors import InputError


def shuffle_groups(batch: Mapping[str, Any], generations: int) -> dict[str, Any]:
    """A batch whose groups of ``generations`` neighbouring rows are in a random order, rows in theirs.

    Values are tensors (N, ...), sequences of N, numbers or None, as ``trl.trainer.utils.shuffle_sequence_dict``
    takes them. The order comes from torch's global generator, as TRL's does.
    """
    rows = next(len(value) for value in batch.values() if _has_rows(value))
    if rows % generations:
        raise ValueError(f"{rows} rows are not whole groups of {generations}")
    order = torch.randperm(rows // generations)[:, None] * generations + torch.arange(generations)
    permutation = order.flatten()
    return {key: _permuted(value, permutation) for key, value in batch.items()}


def _has_rows(value: Any) -> bool:
    return value is not None and not (isinstance(value, torch.Tensor) and value.ndim == 0)


def _permuted(value: Any, permutation: torch.Tensor) -> Any:
    if not _has_rows(value):
        return value
    return value[permutation] if isinstance(value, torch.Tensor) else [value[index] for index in permutation.tolist()]


@contextmanager
def groups_shuffled_whole(generations: int) -> Iterator[None]:
    """While open, TRL's trainer shuffles groups and not rows. (It calls a function of its module, not a method.)"""
    original = trl_grpo.shuffle_sequence_dict
    trl_grpo.shuffle_sequence_dict = lambda batch: shuffle_groups(batch, generations)
    try:
        yield
    finally:
        trl_grpo.shuffle_sequence_dict = original


def refuse_split_groups(rows: int, generations: int, accumulation: int) -> None:
    """Raise :class:`InputError` where micro-batches of ``rows`` rows would cut groups of ``generations`` in two."""
    if rows % generations == 0:
        return
    sizes = _sizes_that_work(generations, rows * accumulation)
    raise InputError(
        f"grpo.per_device_train_batch_size is {rows} and grpo.num_generations {generations}: a micro-batch would hold "
        f"a part of a group, which then cannot share its prompt and image; expected a multiple of {generations}, such "
        f"as {sizes} (a packed group needs less memory than its rows), or set grpo.shared_prefix=false"
    )


def _sizes_that_work(generations: int, rows_a_step: int) -> str:
    """Batch size and accumulation that keep the rows of an optimiser step where that is possible."""
    fitting: Sequence[int] = [
        size for size in range(generations, rows_a_step + 1, generations) if rows_a_step % size == 0
    ]
    if not fitting:
        return str(generations)
    return f"{fitting[0]} with grpo.gradient_accumulation_steps={rows_a_step // fitting[0]}"
