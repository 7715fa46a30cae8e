"""Two processes, rows against packed groups: ``shared_prefix_program.py zero3|ddp FOLDER`` under torchrun.

Every run takes one step of SGD at a rate so high that the change of the weights is the gradient, and saves the
weights; ``test_grpo_shared_prefix_training.py`` compares them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

RATE = 1e6
RUNS: dict[str, dict[str, Any]] = {
    "rows": {"shared_prefix": False},
    "packed": {},
    "budget": {"shared_prefix_max_tokens": 90, "gradient_checkpointing": True},
    "fault": {"unchecked": True, "fault": "all"},
    "fault_on_one": {"fault": "one"},
    "lora_rows": {"shared_prefix": False, "lora": True},
    "lora_packed": {"lora": True},
    "lora_fault": {"unchecked": True, "fault": "all", "lora": True},
}


def build(kind: str, folder: Path, *, lora: bool, **changes: Any) -> Any:
    from datasets import Dataset
    from packed_rows import LORA_TARGETS
    from peft import LoraConfig
    from tiny_model import distinct_tokens_reward, image_rows
    from zero3 import ZERO3

    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.grpo.trainer import SkinGRPOTrainer

    settings: dict[str, Any] = {
        "output_dir": str(folder / "out"), "per_device_train_batch_size": 8, "num_generations": 4,
        "max_completion_length": 12, "max_steps": 1, "report_to": [], "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "learning_rate": RATE, "lr_scheduler_type": "constant", "optim": "sgd",
        "max_grad_norm": 0.0, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "seed": 7,
    }  # fmt: skip
    settings |= {"deepspeed": ZERO3} if kind == "zero3" else {"ddp_backend": "gloo"}
    # Random adapters, so that both factors have a gradient; dropout would make both ways differ
    adapter = LoraConfig(r=4, lora_alpha=8, target_modules=LORA_TARGETS, init_lora_weights=False)
    torch.manual_seed(0)
    return SkinGRPOTrainer(
        model=str(folder / "model"),
        reward_funcs=distinct_tokens_reward,
        args=SkinGRPOConfig(**(settings | changes)),
        train_dataset=Dataset.from_list(image_rows(4, text_only=frozenset({1}))),
        peft_config=adapter if lora else None,
    )


def run(kind: str, folder: Path, name: str, options: dict[str, Any]) -> dict[str, Any]:
    from accelerate import PartialState
    from packed_rows import FAULTS, planted

    options = {"lora": False, **options}
    fault, unchecked = options.pop("fault", ""), options.pop("unchecked", False)
    trainer = build(kind, folder, **options)
    if unchecked:
        trainer._sharing._checked = True
    here = fault == "all" or (fault == "one" and PartialState().process_index == 1)
    with planted(FAULTS[0]) if here else nullcontext():
        trainer.train()
    trainer.save_model(str(folder / name))
    log = next(entry for entry in trainer.state.log_history if "loss" in entry)
    return {
        "loss": log["loss"],
        "saved": log.get("shared_prefix/tokens_saved"),
        "off": trainer._sharing.off if trainer._sharing is not None else None,
    }


def main() -> None:
    torch.set_num_threads(1)
    kind, folder = sys.argv[1], Path(sys.argv[2])
    begun = time.monotonic()
    from accelerate import PartialState
    from tiny_model import build_tiny_vlm

    state = PartialState(cpu=True)
    with state.main_process_first():
        if state.is_main_process:
            build_tiny_vlm(folder / "model")
    names = RUNS if kind == "zero3" else ("rows", "budget")
    result = {name: run(kind, folder, name, RUNS[name]) for name in names}
    offs: list[Any] = [None] * state.num_processes
    torch.distributed.all_gather_object(offs, {name: bool(found["off"]) for name, found in result.items()})
    if state.is_main_process:
        report = {"runs": result, "off": offs, "seconds": time.monotonic() - begun}
        (folder / f"{kind}.json").write_text(json.dumps(report), encoding="utf-8")
    torch.distributed.barrier()
    sys.stdout.flush()
    os._exit(0)  # as skinrl.cli.main does with several processes


if __name__ == "__main__":
    main()
