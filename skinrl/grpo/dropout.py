"""Dropout off: a policy that drops units at random is not the policy that sampled."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


def switch_off_dropout(model: nn.Module) -> None:
    """Set every dropout of a model to 0, in place: modules (LoRA's too) and attention rates kept as plain numbers."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
