"""skinrl: dermatology vision-language models, trained by SFT and GRPO on a disease hierarchy.

The public names load on first use, so that ``import skinrl.rewards`` never loads torch.
Research software, not a medical device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "SkinGRPOTrainer": "skinrl.grpo.trainer",
    "SkinGRPOConfig": "skinrl.grpo.config",
    "load_recipe": "skinrl.recipe",
    "load_taxonomy": "skinrl.taxonomy",
    "DiagnosticReport": "skinrl.report",
}

__all__ = ["DiagnosticReport", "SkinGRPOConfig", "SkinGRPOTrainer", "__version__", "load_recipe", "load_taxonomy"]

if TYPE_CHECKING:
    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.grpo.trainer import SkinGRPOTrainer
    from skinrl.recipe import load_recipe
    from skinrl.report import DiagnosticReport
    from skinrl.taxonomy import load_taxonomy


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'skinrl' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
