"""Run on two processes: what they make of rows with and without images. Arguments: MODEL OUT zero3|ddp."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tiny_trainers import GRADIENT_CASES, InOrder, grpo_trainer, sft_rows, sft_trainer
from transformers import TrainerCallback

from skinrl.checkpoint import RunStoppedError

faulthandler.dump_traceback_later(280, exit=True)  # a hang is a failure, with a traceback
torch.set_num_threads(1)
MODEL, OUT, KIND = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
RANK = int(os.environ["RANK"])


class SignalOneProcess(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1 and RANK == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def trainer(name: str, rows: list[dict[str, Any]], **settings: Any) -> Any:
    made = sft_trainer(MODEL, OUT / name, rows=rows, ddp_backend="gloo", **settings)
    assert made.is_deepspeed_enabled == (KIND == "zero3")
    # Partitioned as they were read: no process holds a whole weight (adapters are, when the engine starts)
    read = [weight for name, weight in made.model.named_parameters() if "lora_" not in name]
    assert all(hasattr(weight, "ds_id") == (KIND == "zero3") for weight in read)
    return made


for case, rows in GRADIENT_CASES.items():
    one = trainer(case, rows, trainer_class=InOrder, **InOrder.settings)
    one.train()
    one.save_model(str(OUT / case))
    print(f"rank {RANK} {case}: {one.text_only.calls} zero images", flush=True)


def run_and_resume(name: str, make: Any, saved_at: int) -> None:
    """Train to the end, then again from a checkpoint on the way; the parent compares what each saved."""
    whole = make(save_strategy="steps", save_steps=saved_at)
    whole.train()
    whole.save_model(str(OUT / f"{name}-whole"))
    resumed = make()
    resumed.train(resume_from_checkpoint=str(OUT / name / f"checkpoint-{saved_at}"))
    resumed.save_model(str(OUT / f"{name}-resumed"))


rows = sft_rows(16, text_only=frozenset({2, 3, 4, 5, 8, 9, 10, 11, 12, 15}))
# Four steps an epoch: resumed in the second
run_and_resume("sft", partial(trainer, "sft", rows, max_steps=7), 6)
lora = {"lora": {"r": 4, "alpha": 8, "dropout": 0.1}, "freeze": ["vision"]}
run_and_resume("lora", partial(trainer, "lora", rows, max_steps=3, load=lora), 2)
# A buffer of two steps: resumed in its middle
grpo = {"per_device_train_batch_size": 2, "steps_per_generation": 2, "log_multimodal": False, "ddp_backend": "gloo"}
run_and_resume("grpo", partial(grpo_trainer, MODEL, OUT / "grpo", max_steps=5, **grpo), 3)

# A signal to one process saves and stops both
stopped = trainer("stopped", rows, max_steps=7)
stopped.add_callback(SignalOneProcess())
try:
    stopped.train()
except RunStoppedError as error:
    print(f"rank {RANK}: {error}", flush=True)
print(f"rank {RANK} done", flush=True)
# As skinrl.cli.main does: threads of the collectives abort an interpreter that ends before them, now and then
torch.distributed.destroy_process_group()
sys.stdout.flush()
os._exit(0)
