"""A LoRA adapter beside the base weights in a vLLM engine of this process, pushed alone and never merged.

A merged push moves the whole model at every step, and in bfloat16 the sum of a weight and a small update is rounded to
the weight's few digits; the trainer computes both products apart, and so does vLLM with an adapter. Each push is a new
adapter: under an old name vLLM keeps the old weights, and its prefix cache knows adapters by name alone.
"""

from __future__ import annotations

import copy
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from skinrl.engine.merged import base_parameters, can_merge
from skinrl.engine.push import push_into, reset_caches

# Families whose adapters were compared with the trainer, log-prob by log-prob
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM takes as max_lora_rank
_HEADS = ("lm_head", "embed_tokens")

Gather = Callable[[list[Any]], AbstractContextManager[Any]]


def why_not_unmerged(model: Any, *, any_family: bool = False) -> str:
    """Why vLLM cannot serve the adapter of a ``PeftModel`` as it is, in words; empty where it can.

    Args:
        any_family: also answer for models that no test has compared.
    """
    from peft.tuners.lora import LoraLayer
    from torch import nn

    family = model.config.model_type
    if family not in FAMILIES and not any_family:
        return f"the model is {family!r}; compared with the trainer: {', '.join(FAMILIES)}"
    if not can_merge(model):
        return "it is not plain LoRA"
    if len(model.active_adapters) != 1:
        return f"{len(model.active_adapters)} adapters are active"
    name = model.active_adapters[0]
    config = model.peft_config[name]
    if max(_ranks(model, name), default=0) > _RANKS[-1]:
        return f"its rank is above {_RANKS[-1]}"
    usual = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    for path, layer in model.named_modules():
        if not isinstance(layer, LoraLayer) or name not in layer.scaling:
            continue
        if not isinstance(layer.get_base_layer(), nn.Linear) or any(head in path for head in _HEADS):
            return f"it adapts {path.rsplit('.', 1)[-1]}"
        if layer.scaling[name] != usual:
            return "its layers are scaled differently"
    return ""


def _ranks(model: Any, name: str) -> set[int]:
    from peft.tuners.lora import LoraLayer

    return {layer.r[name] for layer in model.modules() if isinstance(layer, LoraLayer) and name in layer.r}


class UnmergedAdapter:
    """The active adapter of ``model`` in one engine.

    Args:
        model: a ``PeftModel`` for which :func:`why_not_unmerged` is empty.
        gather: makes partitioned parameters whole (ZeRO-3); a no-op elsewhere.
    """

    def __init__(self, model: Any, gather: Gather) -> None:
        self.model, self._gather = model, gather
        self.name = model.active_adapters[0]
        self.pushes = 0
        self._request: Any = None
        trained = [path for path, parameter in model.named_parameters() if parameter.requires_grad]
        self._base_trains = any(model.prefix not in path for path in trained)

    def engine_arguments(self) -> dict[str, Any]:
        """What ``vllm.LLM`` needs to take the adapter."""
        rank = max(_ranks(self.model, self.name))
        paths = [path for path, _ in self.model.named_parameters() if self.model.prefix in path]
        return {
            "enable_lora": True,
            "max_loras": 1,
            "max_cpu_loras": 1,
            "max_lora_rank": next(size for size in _RANKS if size >= rank),
            "enable_tower_connector_lora": any(".visual." in path for path in paths),
        }

    def push(self, llm: Any) -> None:
        """Put the adapter into the engine, and the base weights where it is the first time or they train too."""
        from vllm.lora.request import LoRARequest

        if self.pushes == 0 or self._base_trains:
            push_into(llm, base_parameters(self.model, self._gather))
        if self._request is not None:
            llm.llm_engine.remove_lora(self._request.lora_int_id)
        self.pushes += 1
        memory = Path("/dev/shm")
        folder = Path(tempfile.mkdtemp(prefix="skinrl-adapter-", dir=memory if memory.is_dir() else None))
        try:
            write_adapter(self.model, self.name, folder, self._gather)
            self._request = LoRARequest(f"policy-{self.pushes}", self.pushes, str(folder))
            llm.llm_engine.add_lora(self._request)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        reset_caches(llm)

    @contextmanager
    def served(self, llm: Any) -> Iterator[None]:
        """While open, ``llm.generate`` answers with the adapter."""
        generate = llm.generate
        llm.generate = functools.partial(generate, lora_request=self._request)
        try:
            yield
        finally:
            llm.generate = generate


def write_adapter(model: Any, name: str, folder: Path, gather: Gather) -> None:
    """Write the adapter ``name`` of a ``PeftModel`` as PEFT does, without the other weights that PEFT would add."""
    from safetensors.torch import save_file

    ending = f".{name}.weight"  # of every matrix of plain LoRA; in the file the adapter's name is left out
    parameters = {
        path.removesuffix(ending) + ".weight": value
        for path, value in model.named_parameters()
        if model.prefix in path and path.endswith(ending)
    }
    with gather(list(parameters.values())):
        copies = {path: value.detach().to("cpu", copy=True).contiguous() for path, value in parameters.items()}
    save_file(copies, folder / "adapter_model.safetensors")
    config = copy.copy(model.peft_config[name])
    config.modules_to_save = None  # those are part of the base in the engine
    config.inference_mode = True
    config.save_pretrained(folder)
