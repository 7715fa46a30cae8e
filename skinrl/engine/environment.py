"""Environment variables that vLLM and the Hub libraries need, set in one place.

Only defaults: whatever the user has exported wins. Called before the first import of vLLM, and
used to build the environment of a server process.
"""

from __future__ import annotations

import os
from pathlib import Path

# In-process engine: weights are pushed straight into the model runner, and one process owns all its memory.
_EVERYWHERE = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
}
_ON_CPU = {
    # GiB; the default takes half of the machine
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # otherwise vLLM pins the trainer's threads to a few cores and warns at every call
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def on_cpu() -> bool:
    """Whether this process would train and generate on CPU."""
    import torch

    return not torch.cuda.is_available()


def engine_environment(*, model_path: str | None = None, cpu: bool | None = None) -> dict[str, str]:
    """The defaults that apply here, as a mapping. A local model directory switches the Hub off."""
    defaults = dict(_EVERYWHERE)
    if on_cpu() if cpu is None else cpu:
        defaults.update(_ON_CPU)
    if model_path is not None and Path(model_path).is_dir():
        defaults.update(_OFFLINE)
    return defaults


def prepare_environment(*, model_path: str | None = None) -> None:
    """Set the defaults in this process, leaving what is already set."""
    for name, value in engine_environment(model_path=model_path).items():
        os.environ.setdefault(name, value)
