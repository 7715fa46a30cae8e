"""Checkpoints that can be trusted, for any transformers ``Trainer``: strict, atomic, checksummed, on signals too.

Put ``CheckpointMixin`` before the trainer class. What it adds to the stock trainer:

* **Strict resume.** transformers 5.17 saves Qwen2.5-VL under other names than the model's own and loads them back
  non-strictly: every key is "unexpected", a warning is logged, and training goes on from the initial weights. Here
  weights come through ``from_pretrained`` and a strict ``load_state_dict``; adapters likewise. DeepSpeed loads its own
  states.
* **Atomic saves**, see ``skinrl.manifest``; a crash while writing leaves the checkpoint before it the newest.
* **Complete state.** GRPO's step counter and buffered rollouts, per process; random states are saved by the stock
  trainer. A resumed run equals an uninterrupted one in float32 (rollouts from vLLM aside, whose sampler has a state
  of its own).
* **Signals.** SIGTERM and SIGUSR1 save at the end of the step and raise ``RunStoppedError``.

Resume state is loaded from the run's own directory alone, after its checksums were verified: part of it is pickled by
torch or DeepSpeed, and a pickle from elsewhere can run code.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import nn
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import rotate_checkpoints

from skinrl.errors import RunError
from skinrl.files import read_json
from skinrl.manifest import (
    MANIFEST,
    TEMPORARY,
    CheckpointError,
    checkpoints,
    clean_stale,
    last_complete_checkpoint,
    publish,
    verify_checkpoint,
    write_manifest,
)
from skinrl.stopping import RunStoppedError, SaveOnSignal, StopAfterSeconds

# A mixin: its other half, a transformers Trainer, is known only where the two meet
if TYPE_CHECKING:
    from typing import Any as _Base
else:
    _Base = object

__all__ = [
    "CheckpointError",
    "CheckpointMixin",
    "RunStoppedError",
    "last_complete_checkpoint",
    "strict_load",
    "strict_load_adapter",
    "verify_checkpoint",
]

logger = logging.getLogger(__name__)

_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TRAINING_ARGS = "training_args.bin"
_STATE = "trainer_state.json"

# Several processes on CPU call their device "cpu:0", "cpu:1", which the stock trainer passes to torch.load, which
# knows "cpu" alone
torch.serialization.register_package(
    100, lambda storage: None, lambda storage, place: storage if place.startswith("cpu:") else None
)

if os.environ.get("DS_ACCELERATOR") == "cpu":
    # DeepSpeed would compile a shared-memory kernel for minutes, and a process killed meanwhile leaves a lock on which
    # every later run waits for ever; without it DeepSpeed uses gloo
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def strict_load(model: nn.Module, folder: Path | str) -> None:
    """Load the weights in ``folder`` into ``model`` (wrapped by PEFT or not), or fail.

    Raises:
        CheckpointError: weights that the model needs are missing, or there are some that it does not know.
    """
    folder = Path(folder)
    adapters = getattr(model, "peft_config", None)
    if adapters:
        for name in adapters:
            # PEFT saves "default" in the folder itself, others (GRPO's frozen reference) in folders of their own
            strict_load_adapter(model, folder if name == "default" else folder / name, name)
        return
    dtypes = {parameter.dtype for parameter in model.parameters()}
    # The widest, so that narrower parameters lose nothing on the way
    widest = max(dtypes, key=lambda dtype: dtype.itemsize)
    read: Any = type(model)
    loaded, found = read.from_pretrained(folder, dtype=widest, output_loading_info=True)
    _refuse_gaps(folder, found["missing_keys"], found["unexpected_keys"])
    model.load_state_dict(loaded.state_dict(), strict=True)


def strict_load_adapter(model: Any, folder: Path, name: str) -> None:
    """Load one adapter's weights into a ``PeftModel`` that has an adapter ``name`` of the same shape, or fail."""
    from peft import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict

    if not (folder / _ADAPTER_WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: expected the weights of adapter {name!r} in {_ADAPTER_WEIGHTS}")
    weights = load_peft_weights(str(folder), device="cpu")
    expected = get_peft_model_state_dict(model, adapter_name=name).keys()
    _refuse_gaps(folder, expected - weights.keys(), weights.keys() - expected)
    result: Any = set_peft_model_state_dict(model, weights, adapter_name=name)
    _refuse_gaps(folder, (), result.unexpected_keys)


def _refuse_gaps(folder: Path, missing: Any, unexpected: Any) -> None:
    for keys, what in ((missing, "missing from"), (unexpected, "unknown to the model in")):
        if keys:
            names = sorted(str(key) for key in keys)
            raise CheckpointError(
                f"{folder}: {len(names)} weights are {what} the checkpoint, such as {names[0]}; it was written by "
                "another model or other settings (freeze, LoRA)"
            )


class CheckpointMixin(_Base):
    """See the module. Reads ``max_seconds`` of the trainer's config where there is one."""

    # What else a resumed run needs, per process: GRPO's place in its buffer of rollouts; SFT's count of tokens
    resumed_attributes: tuple[str, ...] = ("_step", "_buffered_inputs", "_total_train_tokens")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._staging: Path | None = None
        super().__init__(*args, **kwargs)
        self._signals = SaveOnSignal()
        self.add_callback(self._signals)
        max_seconds = getattr(self.args, "max_seconds", None)
        if max_seconds is not None:
            self.add_callback(StopAfterSeconds(max_seconds))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; see ``Trainer.train``.

        Args:
            resume_from_checkpoint: ``True``: go on from the newest complete checkpoint of the run's own directory,
                or begin where there is none. A path: that checkpoint, which must lie in the run's own directory.

        Raises:
            CheckpointError: the checkpoint is damaged, incomplete, or not this run's own.
            RunStoppedError: a signal ended the run; its checkpoint is saved.
        """
        checkpoint = self._checkpoint_to_resume(resume_from_checkpoint)
        with self._signals.listening():
            result = super().train(str(checkpoint) if checkpoint else None, *args, **kwargs)
        if self._signals.stopping:
            name = signal.Signals(self._signals.caught).name if self._signals.caught else "a signal to another process"
            raise RunStoppedError(
                f"stopped by {name} after step {self.state.global_step}; saved in "
                f"{Path(self.args.output_dir) / f'checkpoint-{self.state.global_step}'}; the same command goes on"
            )
        return result

    def _send_telemetry(self) -> None:
        """TRL would tell its makers of the run, and the variable that forbids it is often set too late."""

    # Which checkpoint

    def _checkpoint_to_resume(self, wanted: str | bool | None) -> Path | None:
        """Chosen and verified once per file system, agreed on by all processes."""
        answer: tuple[str | None, str | None] | None = None
        if self.args.should_save:
            clean_stale(Path(self.args.output_dir))
            try:
                chosen = self._choose(wanted)
            except CheckpointError as error:
                answer = (None, str(error))
            else:
                answer = (str(chosen) if chosen else None, None)
        answers = {one for one in gather_object([answer]) if one is not None}
        for _, problem in sorted(answers, key=str):
            if problem is not None:
                raise CheckpointError(problem)
        if len(answers) > 1:
            found = ", ".join(sorted(str(path) for path, _ in answers))
            raise CheckpointError(f"nodes hold different newest checkpoints: {found}; copy or delete until they agree")
        path = answers.pop()[0]
        if path is None:
            return None
        written_by = read_json(Path(path) / MANIFEST, error=CheckpointError)["world_size"]
        if written_by != self.args.world_size:
            logger.warning(
                "%s was written by %d processes, this run has %d: the order of the data and the random numbers "
                "will differ from an uninterrupted run",
                path,
                written_by,
                self.args.world_size,
            )
        return Path(path)

    def _choose(self, wanted: str | bool | None) -> Path | None:
        if not wanted:
            return None
        own = Path(self.args.output_dir).resolve()
        if wanted is True:
            chosen = last_complete_checkpoint(own)
            if chosen is None:
                if broken := checkpoints(own):
                    raise CheckpointError(
                        f"{own}: none of its {len(broken)} checkpoints is complete; delete them to begin anew"
                    )
                return None
        else:
            chosen = Path(wanted).resolve()
            if not chosen.is_relative_to(own):
                raise CheckpointError(
                    f"{chosen}: is not in the run's own directory {own}, and resume state can run code when it is "
                    "loaded; to start from other weights, name them as the model"
                )
            verify_checkpoint(chosen)
        state = chosen / ("latest" if self.is_deepspeed_enabled else "optimizer.pt")
        for file in (chosen / _STATE, state):
            if not file.is_file():
                raise CheckpointError(
                    f"{file}: is missing; this checkpoint cannot be resumed with these settings (DeepSpeed or not, "
                    "save_only_model)"
                )
        return chosen

    # Saving

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        run = Path(super()._get_output_dir(trial))
        final = run / f"checkpoint-{self.state.global_step}"
        staging = run / f"{TEMPORARY}{self.state.global_step}"
        staged = staging / final.name  # the trainer's own name, below a temporary one
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            super()._save_checkpoint(model, trial)
            self._save_resume_state(staged)
            self.accelerator.wait_for_everyone()
            if self.state.best_model_checkpoint == str(staged):
                self.state.best_model_checkpoint = str(final)
            if self.args.should_save:
                self.state.save_to_json(str(staged / _STATE))
                write_manifest(staged, step=self.state.global_step, world_size=self.args.world_size)
                publish(staged, final)
                staging.rmdir()
                rotate_checkpoints(
                    str(run), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
                )
        except OSError as error:
            raise RunError(
                f"{final}: could not be written ({error}); the checkpoint before it is the newest"
            ) from error
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle that nothing here reads; the resolved recipe says the same in the open
        (Path(output_dir or self.args.output_dir) / _TRAINING_ARGS).unlink(missing_ok=True)

    def _resume_state_file(self, folder: Path) -> Path:
        return folder / f"resume_state_{self.args.process_index}.pt"

    def _save_resume_state(self, folder: Path) -> None:
        state = {name: getattr(self, name) for name in self.resumed_attributes if hasattr(self, name)}
        if "_buffered_inputs" in state and self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            state["_buffered_inputs"] = None  # used up: the next step generates anew
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(_to(state, torch.device("cpu")), self._resume_state_file(folder))

    # Loading

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            strict_load(self.model if model is None else model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if self._signals.stopping:
            return
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            strict_load(self.model, self.state.best_model_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        file = self._resume_state_file(Path(checkpoint))
        if not file.is_file():  # more processes than when it was written
            file = Path(checkpoint) / "resume_state_0.pt"
        state = torch.load(file, map_location=self.args.device, weights_only=True)
        written_by = read_json(Path(checkpoint) / MANIFEST, error=CheckpointError)["world_size"]
        if written_by != self.args.world_size and "_buffered_inputs" in state:
            state["_buffered_inputs"] = None  # rollouts of other prompts than this process's
        for name, value in state.items():
            setattr(self, name, value)

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        places = super()._init_training_state(*args, **kwargs)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ExportableState):
                # The stock trainer fails on a callback that the checkpoint did not know
                stored = self.state.stateful_callbacks.setdefault(type(callback).__name__, callback.state())
                if isinstance(stored, Mapping):
                    for name, value in stored["attributes"].items():
                        setattr(callback, name, value)
        return places

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        set_sampler_epoch(kwargs["train_dataloader"], kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)


def set_sampler_epoch(loader: Any, epoch: int) -> None:
    """Tell the sampler at the bottom of a data loader which epoch begins.

    accelerate does not reach it through two wrappers, so that a run resumed in its second epoch on several
    processes, and any GRPO run, would see the first epoch's order again. TRL's sampler has no ``set_epoch``: it draws
    one permutation per epoch from one generator, so those of earlier epochs are drawn and thrown away.
    """
    batches: Any = getattr(loader, "batch_sampler", None)
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    sampler: Any = getattr(batches, "sampler", None)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    elif getattr(sampler, "shuffle", False) and hasattr(sampler, "mini_repeat_count"):
        sampler.generator.manual_seed(sampler.seed)
        for _ in range(epoch):
            torch.randperm(sampler.num_samples, generator=sampler.generator)


def _to(value: Any, device: torch.device) -> Any:
    """``value`` with every tensor in it on ``device``; tuples become lists."""
    if torch.is_tensor(value):
        return value.detach().to(device)
    if isinstance(value, Mapping):
        return {key: _to(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to(item, device) for item in value]
    return value
