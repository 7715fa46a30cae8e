"""DeepSpeed's ZeRO-3 for tiny models on CPU, as the two-process programs of the tests use it."""

from __future__ import annotations

from typing import Any

ZERO3: dict[str, Any] = {
    "bf16": {"enabled": False},
    "zero_optimization": {
        "stage": 3,
        "overlap_comm": False,
        "stage3_param_persistence_threshold": 0,  # at its default every tensor of a tiny model stays whole
        "stage3_gather_16bit_weights_on_model_save": True,
    },
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
}
