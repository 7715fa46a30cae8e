"""Weights of a model under LoRA as they act: base plus adapters, without touching the base.

PEFT's ``merge_adapter`` and ``unmerge_adapter`` add and subtract in place. In bfloat16 that does not
give back what was there, so a push at every step wears the frozen base away; and under ZeRO-3 the
whole model has to be gathered at once. Here each merged weight is a new tensor, one module at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_WRAPPER = "base_model.model."
_SAVED = "modules_to_save."


def can_merge(model: Any) -> bool:
    """Whether every adapted layer of a PEFT model is plain LoRA on a weight matrix (no DoRA, no parameters)."""
    from peft.tuners.lora import LoraLayer, ParamWrapper
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            plain = isinstance(module, LoraLayer) and not isinstance(module, ParamWrapper)
            if not plain or any(module.use_dora.values()) or any(module.lora_bias.values()):
                return False
    return True


def merged_parameters(
    model: Any, gather: Callable[[list[Any]], AbstractContextManager[Any]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of a PEFT model with its active adapters merged, under the base model's own names.

    Args:
        model: a ``PeftModel`` for which :func:`can_merge` holds.
        gather: context manager that makes partitioned parameters whole (ZeRO-3); a no-op elsewhere.
    """
    for name, parameter in model.named_parameters():
        name = name.removeprefix(_WRAPPER)
        if model.prefix in name or "original_module" in name:
            continue
        if ".base_layer.weight" not in name:
            with gather([parameter]):
                yield _plain(name), parameter.data
            continue
        layer = model.get_submodule(_WRAPPER + name.removesuffix(".base_layer.weight"))
        # frozen copies (the reference of the KL term) are adapters too, but not active ones
        active = [adapter for adapter in layer.active_adapters if adapter in layer.scaling]
        deltas = [
            part
            for parts in (layer.lora_A, layer.lora_B, layer.lora_embedding_A, layer.lora_embedding_B)
            for adapter in active
            if adapter in parts
            for part in _parameters(parts[adapter])
        ]
        with gather([parameter, *deltas]):
            weight = parameter.data
            for adapter in active:
                weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
            yield name.replace(".base_layer", ""), weight


def base_parameters(
    model: Any, gather: Callable[[list[Any]], AbstractContextManager[Any]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of a PEFT model without its adapters, under the base model's own names; see above."""
    for name, parameter in model.named_parameters():
        name = name.removeprefix(_WRAPPER)
        if model.prefix in name or "original_module" in name:
            continue
        with gather([parameter]):
            yield _plain(name), parameter.data


def _parameters(part: Any) -> list[Any]:
    return list(part.parameters()) if hasattr(part, "parameters") else [part]


def _plain(name: str) -> str:
    """A base model's own name for a parameter: without PEFT's wrappers."""
    name = name.replace(".base_layer", "")
    if f".{_SAVED}" in name:
        head, tail = name.split(f".{_SAVED}", 1)
        name = f"{head}.{tail.split('.', 1)[1]}"  # the adapter's name goes too
    return name
