"""Run by tests/test_checkpoint_crash.py: four steps of SFT that meet their end. Arguments: MODEL OUT kill|term."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from tiny_trainers import sft_trainer
from transformers import TrainerCallback

from skinrl.checkpoint import RunStoppedError

faulthandler.dump_traceback_later(90, exit=True)
MODEL, OUT, HOW = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]


class WaitForSignal(TrainerCallback):
    """Tells the parent where the run is and gives it time to send the signal."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            print("in step 2", flush=True)
            signal.sigtimedwait([signal.SIGUSR2], 30)


def killed_in_the_middle(value: Any, target: Any, *args: Any, **kwargs: Any) -> None:
    save(value, target, *args, **kwargs)
    if str(target).endswith("checkpoint-3/rng_state.pth"):  # weights, optimiser: written; the rest: not
        os.kill(os.getpid(), signal.SIGKILL)


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
save = torch.save
if HOW == "kill":
    torch.save = killed_in_the_middle
trainer = sft_trainer(MODEL, OUT, max_steps=4, save_strategy="steps", save_steps=1 if HOW == "kill" else 100)
if HOW == "term":
    trainer.add_callback(WaitForSignal())
try:
    trainer.train()
except RunStoppedError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
