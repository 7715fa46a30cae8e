"""The policy to train: load it, freeze its parts, give it adapters. Knows nothing of what the model is asked.

A model has parts, told apart by parameter name: ``vision`` (the tower), ``merger`` (its projection into the language
model), ``language`` (embeddings and layers), ``head`` (an output head with weights of its own) and ``adapter``
(LoRA matrices and other added weights).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
from transformers.integrations import is_deepspeed_zero3_enabled

from skinrl.checkpoint import strict_load_adapter
from skinrl.errors import InputError

FREEZABLE = ("vision", "merger", "language")
PARTS = (*FREEZABLE, "head", "adapter")
_LORA_KEYS = ("r", "alpha", "dropout", "target_modules")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "auto": "auto"}
_ADAPTER_CONFIG = "adapter_config.json"
# Paths of the modules of each part, for PEFT's match of whole names
_PREFIXES = {
    "vision": r".*visual\.(?!\w*merger)(?:.*\.)?",
    "merger": r".*visual\.(?=\w*merger)(?:.*\.)?",
    "language": r"(?!.*visual\.)(?:.*\.)?",
}


def part_of_parameter(name: str) -> str:
    """The part a parameter belongs to, by its name in ``named_parameters()``, wrappers' prefixes included.

    >>> part_of_parameter("model.visual.merger.mlp.0.weight")
    'merger'
    """
    steps = name.split(".")
    if any(step.startswith("lora_") or step in ("modules_to_save", "image_adapter") for step in steps):
        return "adapter"
    if "visual" in steps:
        # Qwen3-VL has further mergers for intermediate layers: deepstack_merger_list
        inside = steps[steps.index("visual") + 1 :]
        return "merger" if inside and "merger" in inside[0] else "vision"
    return "head" if "lm_head" in steps else "language"


def count_parts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Part -> (trainable, total) numbers of parameters, whole numbers under ZeRO-3 too; absent parts are left out."""
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        size = int(getattr(parameter, "ds_numel", parameter.numel()))
        trainable, total = counts.get(part_of_parameter(name), (0, 0))
        counts[part_of_parameter(name)] = (trainable + size * parameter.requires_grad, total + size)
    return {part: counts[part] for part in PARTS if part in counts}


def freeze_parts(model: nn.Module, parts: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Freeze ``parts`` (of ``vision``, ``merger``, ``language``) and return part -> (trainable, total).

    ``language`` takes the output head with it. Other parameters are left as they are: what PEFT froze stays frozen.

    Raises:
        InputError: an unknown part, or one that this model does not have.
    """
    parts = list(parts)
    present = count_parts(model)
    for part in parts:
        if part not in FREEZABLE:
            raise InputError(f"freeze: found {part!r}; expected some of {', '.join(FREEZABLE)}")
        if part not in present:
            raise InputError(f"freeze: {type(model).__name__} has no part {part!r}; it has {', '.join(present)}")
    frozen = {*parts, "head"} if "language" in parts else set(parts)
    for name, parameter in model.named_parameters():
        if part_of_parameter(name) in frozen:
            parameter.requires_grad_(False)
    counts = count_parts(model)
    if not any(trainable for trainable, _ in counts.values()):
        raise InputError(f"freeze: {', '.join(parts)} leaves nothing to train; leave one part out, or use LoRA")
    return counts


def describe_parts(counts: Mapping[str, tuple[int, int]]) -> str:
    """One line per part for a person: how many of its parameters are trained."""
    lines = [
        f"  {part:<9}{trainable:>15,} of {total:>15,} parameters trained{'' if trainable else ' (frozen)'}"
        for part, (trainable, total) in counts.items()
    ]
    return "\n".join(lines)


def load_policy(
    path: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "bfloat16",
    attention: str | None = None,
    lora: Mapping[str, Any] | None = None,
    freeze: Iterable[str] = (),
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> tuple[Any, Any]:
    """Load a model and its processor for training and print what is trained.

    Under ZeRO-3, call this after the trainer's config was made, so that weights are partitioned as they are read.

    Args:
        path: Folder of a checkpoint or hub id. A folder that holds an adapter is loaded onto its base model, and
            training continues the same adapter.
        revision: Revision of a hub id.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto`` (that of the checkpoint).
        attention: transformers' ``attn_implementation``; ``None`` leaves the choice to transformers.
        lora: ``r``, ``alpha``, ``dropout``, ``target_modules`` (names of layers, or ``all-linear``). Adapters go
            into the parts that are not frozen, never onto the output head; the model itself is frozen by PEFT.
        freeze: Parts that stay as they are.
        min_pixels: Smallest image area in pixels, width x height; set on the processor, which is saved with the
            model, so that every stage sees the same resolution.
        max_pixels: Largest image area in pixels.

    Returns:
        The model (a ``PeftModel`` where there is an adapter) and the processor.

    Raises:
        InputError: no model there, weights missing or superfluous, unknown settings.
    """
    freeze = list(freeze)
    if dtype not in _DTYPES:
        raise InputError(f"model.dtype: found {dtype!r}; expected one of {', '.join(_DTYPES)}")
    source = str(path)
    has_adapter = (Path(source) / _ADAPTER_CONFIG).is_file()
    model = _load_weights(_base_of(source) if has_adapter else source, revision, dtype, attention)
    if has_adapter:
        model = _continue_adapter(model, source, lora)
    elif lora is not None:
        model = _add_lora(model, lora, freeze)
    counts = freeze_parts(model, freeze)
    if os.environ.get("RANK", "0") == "0":
        print(f"{source}\n{describe_parts(counts)}", flush=True)
    processor = load_processor(source, revision=revision, min_pixels=min_pixels, max_pixels=max_pixels)
    return model, processor


def load_processor(
    path: str | Path, *, revision: str | None = None, min_pixels: int | None = None, max_pixels: int | None = None
) -> Any:
    """The processor (or tokenizer, for a model without images) beside a checkpoint, at one image resolution."""
    source = str(path)
    folder = Path(source)
    if (folder / _ADAPTER_CONFIG).is_file() and not (folder / "tokenizer_config.json").is_file():
        source = _base_of(source)
    try:
        processor = AutoProcessor.from_pretrained(source, revision=revision)
    except OSError as error:
        raise InputError(f"{source}: found no processor there ({_first_line(error)})") from error
    if min_pixels is None and max_pixels is None:
        return processor
    images = getattr(processor, "image_processor", None)
    if images is None:
        raise InputError(f"{source}: image resolution is set, but the model takes no images")
    size = images.size
    low = size["shortest_edge"] if min_pixels is None else min_pixels
    high = size["longest_edge"] if max_pixels is None else max_pixels
    if low > high:
        raise InputError(f"model.image: min_pixels {low} is above max_pixels {high}")
    images.size = {"shortest_edge": low, "longest_edge": high}
    return processor


def _load_weights(source: str, revision: str | None, dtype: str, attention: str | None) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
        auto: Any = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
        settings = {"attn_implementation": attention} if attention else {}
        model, found = auto.from_pretrained(
            source, revision=revision, dtype=_DTYPES[dtype], output_loading_info=True, **settings
        )
    except OSError as error:
        raise InputError(
            f"{source}: no model could be loaded from there ({_first_line(error)}); expected a folder with "
            "config.json and safetensors weights, or the id of a model in the local cache"
        ) from error
    # transformers fills what is missing with random numbers and goes on
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[kind]:
            names = sorted(str(key) for key in found[kind])
            raise InputError(
                f"{source}: {len(names)} {kind.replace('_', ' ')} in the weights, such as {names[0]}; the checkpoint "
                f"does not fit {type(model).__name__}"
            )
    return model


def _add_lora(model: Any, lora: Mapping[str, Any], freeze: list[str]) -> Any:
    from peft import LoraConfig, get_peft_model

    for key in lora:
        if key not in _LORA_KEYS:
            raise InputError(f"model.lora: unknown key {key!r}; expected some of {', '.join(_LORA_KEYS)}")
    config = LoraConfig(
        r=lora.get("r", 16),
        lora_alpha=lora.get("alpha", 32),
        lora_dropout=lora.get("dropout", 0.0),
        target_modules=_lora_targets(model, lora.get("target_modules", "all-linear"), freeze),
        bias="none",
        task_type="CAUSAL_LM",
    )
    # ZeRO-3 gathers small tensors in one buffer of one dtype: adapters must then have the model's
    return get_peft_model(model, config, autocast_adapter_dtype=not is_deepspeed_zero3_enabled())


def _lora_targets(model: nn.Module, targets: str | Iterable[str], freeze: list[str]) -> str:
    """A regular expression for PEFT: the named linear layers of the unfrozen parts.

    Layers of the tower and of the language model share names (``gate_proj``), so names alone would reach the tower.
    """
    if isinstance(targets, str) and targets != "all-linear":
        targets = [targets]
    wanted = None if targets == "all-linear" else set(targets)
    found: dict[str, set[str]] = {}
    for name, module in model.named_modules():
        part = part_of_parameter(f"{name}.weight")
        if isinstance(module, nn.Linear) and part in FREEZABLE and part not in freeze:
            # With the parent's name: in the tower, attn.proj is linear and patch_embed.proj is not
            label = ".".join(name.split(".")[-2:])
            last = name.rpartition(".")[2]
            if wanted is None or label in wanted or last in wanted:
                found.setdefault(part, set()).add(label)
    used = {name for labels in found.values() for label in labels for name in (label, label.rpartition(".")[2])}
    unmatched = sorted((wanted or set()) - used)
    if unmatched or not found:
        trained = [part for part in FREEZABLE if part not in freeze]
        raise InputError(
            f"model.lora.target_modules: no linear layer {', '.join(unmatched) or 'at all'} in the parts that are "
            f"not frozen ({', '.join(trained) or 'none'})"
        )
    return "|".join(
        f"(?:{_PREFIXES[part]}(?:{'|'.join(map(re.escape, sorted(labels)))}))"
        for part, labels in sorted(found.items())
    )


def _continue_adapter(base: Any, source: str, lora: Mapping[str, Any] | None) -> Any:
    from peft import PeftConfig, PeftModel

    config: Any = PeftConfig.from_pretrained(source)
    stored = {"r": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
    for key, value in stored.items():
        if lora is not None and key in lora and lora[key] != value:
            raise InputError(f"model.lora.{key}: found {lora[key]}, but the adapter at {source} was made with {value}")
    config.inference_mode = False
    model = PeftModel(base, config, autocast_adapter_dtype=not is_deepspeed_zero3_enabled())
    strict_load_adapter(model, Path(source), "default")
    return model


def _base_of(source: str) -> str:
    from peft import PeftConfig

    base = PeftConfig.from_pretrained(source).base_model_name_or_path
    if not base:
        raise InputError(f"{source}/{_ADAPTER_CONFIG}: base_model_name_or_path is empty; name the base model there")
    return str(base)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
