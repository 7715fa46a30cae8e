"""Two processes train without flat groups, and with other prompts in their place: `tests/test_grpo_signal.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

NAMES = (
    "loss",
    "grad_norm",
    "rollout/logp_gap_mean",
    "groups/rows_left_out",
    "groups/without_spread",
    "groups/replaced",
)


def train(folder: Path, name: str, rows: list[dict[str, Any]], flat: set[int], **changes: Any) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from test_grpo_signal import flat_on

    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.grpo.trainer import SkinGRPOTrainer

    settings: dict[str, Any] = {
        "output_dir": str(folder / name),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 6,
        "max_steps": 3,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "disable_tqdm": True,
        "optim": "adamw_torch",
        "shuffle_dataset": False,
    }
    args = SkinGRPOConfig(**(settings | changes))
    data = Dataset.from_list(rows)
    trainer = SkinGRPOTrainer(model=str(folder / "model"), reward_funcs=flat_on(flat), args=args, train_dataset=data)
    passes: list[int] = []
    original = trainer._get_per_token_logps_and_entropies

    def counting(model: Any, input_ids: Any, *rest: Any, **named: Any) -> Any:
        if torch.is_grad_enabled():
            passes.append(input_ids.shape[0])
        return original(model, input_ids, *rest, **named)

    trainer._get_per_token_logps_and_entropies = counting
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return {key: [float(step[key]) for step in steps if key in step] for key in NAMES} | {"passes": passes}


def main() -> None:
    import torch
    from accelerate import PartialState
    from tiny_model import build_tiny_vlm, image_rows
    from zero3 import ZERO3

    torch.set_num_threads(1)
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    state = PartialState(cpu=True)
    with state.main_process_first():
        if state.is_main_process:
            build_tiny_vlm(folder / "model")
    # prompts come in order, two a process and step: flat are all of the first process, one of each, all of both
    rows = [{**row, "id": str(i)} for i, row in enumerate(image_rows(12, text_only=frozenset({5})))]
    flat = {0, 1, 4, 6, 8, 9, 10, 11}
    changes = {"deepspeed": ZERO3} if scenario == "zero3" else {}
    result = {
        "whole": train(folder, "whole", rows, flat, skip_flat_groups=False, **changes),
        "skip": train(folder, "skip", rows, flat, **changes),
        "resample": train(folder, "resample", rows, {0, 1, 6, 8}, resample_flat_groups=8, max_steps=2, **changes),
    }
    if state.is_main_process:
        (folder / f"{scenario}.json").write_text(json.dumps(result), encoding="utf-8")
    if scenario == "zero3":  # as skinrl.cli.main does with several processes
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
