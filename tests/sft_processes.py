"""Run on two processes: what they make of rows with and without images. Arguments: MODEL OUT zero3|ddp."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from sft_setup import GRADIENT_CASES, InOrder, sft_rows, sft_trainer
from transformers import TrainerCallback

from skinrl.checkpoint import RunStoppedError

faulthandler.dump_traceback_later(150, exit=True)  # a hang is a failure, with a traceback
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
    # Partitioned as they were read: no process holds a whole weight
    assert all(hasattr(weight, "ds_id") == (KIND == "zero3") for weight in made.model.parameters())
    return made


for case, rows in GRADIENT_CASES.items():
    one = trainer(case, rows, trainer_class=InOrder, **InOrder.settings)
    one.train()
    one.save_model(str(OUT / case))
    print(f"rank {RANK} {case}: {one.text_only.calls} zero images", flush=True)

# Seven steps of two epochs; the same, resumed in the second
rows = sft_rows(16, text_only=frozenset({2, 3, 4, 5, 8, 9, 10, 11, 12, 15}))
settings: dict[str, Any] = {"max_steps": 7, "save_strategy": "steps", "save_steps": 6}
whole = trainer("run", rows, **settings)
whole.train()
whole.save_model(str(OUT / "whole"))
resumed = trainer("run", rows, **settings)
resumed.train(resume_from_checkpoint=str(OUT / "run" / "checkpoint-6"))
resumed.save_model(str(OUT / "resumed"))

# A signal to one process saves and stops both
stopped = trainer("stopped", rows, **settings)
stopped.add_callback(SignalOneProcess())
try:
    stopped.train()
except RunStoppedError as error:
    print(f"rank {RANK}: {error}", flush=True)
print(f"rank {RANK} done", flush=True)
