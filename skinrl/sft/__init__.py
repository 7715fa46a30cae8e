"""The supervised stage: TRL's ``SFTTrainer`` on prompt, completion and images, with trusted checkpoints."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_LAZY = {
    "FlatLossCallback": "skinrl.sft.flat",
    "SkinSFTConfig": "skinrl.sft.config",
    "SkinSFTTrainer": "skinrl.sft.trainer",
}

__all__ = ["FlatLossCallback", "SkinSFTConfig", "SkinSFTTrainer"]

if TYPE_CHECKING:
    from skinrl.sft.config import SkinSFTConfig
    from skinrl.sft.flat import FlatLossCallback
    from skinrl.sft.trainer import SkinSFTTrainer


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'skinrl.sft' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
