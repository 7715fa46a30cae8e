"""Batches without an image: run the vision tower on one zero image, times zero.

Under ZeRO-3 every process must gather and reduce the same modules in the same order, and under DDP every parameter
must take part in backward. A process whose batch holds no image never calls the vision tower; its peers do; the job
hangs or crashes. The cure adds exactly zero to the input embeddings, through the tower, on the batches that have no
image, so that every process does the same work and the gradients stay what they were.

No model file is patched: two pre-hooks on the modules named ``visual`` and ``language_model``, which Qwen2-VL,
Qwen2.5-VL and Qwen3-VL share.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_ATTRIBUTE = "_skinrl_text_only"


class TextOnlyHook:
    """What ``install_text_only`` attached: ``calls`` counts the forwards that ran the tower on the zero image."""

    def __init__(self, multimodal: Any) -> None:
        self.calls = 0
        self._visual: nn.Module = multimodal.visual
        self._needed = False
        self._handles = [
            multimodal.register_forward_pre_hook(self._look, with_kwargs=True),
            multimodal.language_model.register_forward_pre_hook(self._touch, with_kwargs=True),
        ]

    def remove(self) -> None:
        """Detach the hooks."""
        for handle in self._handles:
            handle.remove()

    def _look(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        # TRL slices a batch's pixels by row, so a slice without images arrives as tensors of no rows
        pixels = kwargs.get("pixel_values")
        if pixels is not None and pixels.shape[0] == 0:
            kwargs = {**kwargs, "pixel_values": None, "image_grid_thw": None}
        self._needed = kwargs.get("pixel_values") is None and kwargs.get("pixel_values_videos") is None
        return args, kwargs

    def _touch(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        needed, self._needed = self._needed, False
        embeddings = kwargs.get("inputs_embeds")
        cache = kwargs.get("past_key_values")
        # Decoding steps after the first never call the tower, on any process
        if not needed or embeddings is None or (cache is not None and cache.get_seq_length() > 0):
            return None
        self.calls += 1
        nothing = _run_on_zero_image(self._visual, embeddings.device) * 0
        kwargs["inputs_embeds"] = embeddings + nothing.to(embeddings.dtype)
        return args, kwargs


def install_text_only(model: nn.Module) -> TextOnlyHook | None:
    """Attach the hooks to ``model`` (wrapped by PEFT or not) and return them; ``None`` if it has no vision tower.

    Installing twice returns the first hook. Install before the model is wrapped by DeepSpeed or DDP, and on the
    reference model too where there is one.
    """
    for module in model.modules():
        # `_modules`, because some classes offer properties of the same names that lead to the same parts
        if {"visual", "language_model"} <= module._modules.keys():
            hook = getattr(module, _ATTRIBUTE, None)
            if hook is None:
                hook = TextOnlyHook(module)
                setattr(module, _ATTRIBUTE, hook)
            return hook
    return None


def _run_on_zero_image(visual: nn.Module, device: torch.device) -> torch.Tensor:
    """Sum of all outputs of the vision tower on the smallest image, so that every parameter is part of the graph."""
    config: Any = visual.config
    side = config.spatial_merge_size  # one merged patch
    pixels = config.in_channels * config.temporal_patch_size * config.patch_size**2
    # Of the parameters, not of the module: under ZeRO-3 a module has no other dtype
    dtype = next(visual.parameters()).dtype
    patches = torch.zeros(side * side, pixels, device=device, dtype=dtype)
    output = visual(patches, grid_thw=torch.tensor([[1, side, side]], device=device))
    features = [output] if torch.is_tensor(output) else [output.pooler_output]
    # Qwen3-VL: the mergers of the intermediate layers
    features += getattr(output, "deepstack_features", None) or []
    total = torch.zeros((), device=device, dtype=dtype)
    for feature in features:
        total = total + (feature if torch.is_tensor(feature) else torch.cat(list(feature))).sum()
    return total
