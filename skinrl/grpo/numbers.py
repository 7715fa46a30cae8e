"""Where a step's time goes, how much of a batch is padding, how many sequences the loss leaves out, memory.

One :class:`StepNumbers` per trainer. Methods marked with :func:`timed` run on its clock; at the end of a step the
numbers of all processes are gathered once and logged under the names of docs/monitoring.md.
"""

from __future__ import annotations

import functools
import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from transformers import TrainerCallback

from skinrl.grpo.correction import masked_out

PHASES = ("data", "preprocess", "rollout", "weight_push", "reward", "scoring", "training")
# phase -> the tokens by which its speed is counted
HANDLED = {
    "preprocess": "prompt_tokens",
    "rollout": "completion_tokens",
    "weight_push": "completion_tokens",
    "reward": "completion_tokens",
    "training": "trained_tokens",
}
COUNTS = (
    "prompt_tokens", "completion_tokens", "trained_tokens", "positions", "filled", "rows", "rows_masked",
    "rows_truncated", "rows_corrected", "loss_tokens", "tokens_corrected",
)  # fmt: skip
MEMORY = ("memory/host_gib", "memory/host_peak_gib", "memory/gpu_peak_gib")
GIB = 2.0**30


class Clock:
    """Seconds by phase, each without the phases inside it.

    Args:
        wait: called where one phase gives way to another, such as ``torch.cuda.synchronize``: work that was only
            queued would count for the next.
        now: a monotonic clock in seconds.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None, now: Callable[[], float] = time.perf_counter) -> None:
        self._wait, self._now = wait, now
        self._running: list[str] = []
        self._since = 0.0
        self._seconds: dict[str, float] = defaultdict(float)

    @property
    def phase(self) -> str | None:
        """The innermost phase that runs."""
        return self._running[-1] if self._running else None

    def enter(self, phase: str) -> None:
        """Begin a phase; the one around it pauses."""
        self._book()
        self._running.append(phase)

    def leave(self) -> None:
        """End the innermost phase."""
        self._book()
        self._running.pop()

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """:meth:`enter` and :meth:`leave`."""
        self.enter(phase)
        try:
            yield
        finally:
            self.leave()

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last call."""
        self._book()
        taken = dict(self._seconds)
        self._seconds.clear()
        return taken

    def reset(self) -> None:
        """Forget everything, phases that an error left running too."""
        self._running.clear()
        self._seconds.clear()

    def _book(self) -> None:
        self._wait()
        now = self._now()
        if self._running:
            self._seconds[self._running[-1]] += now - self._since
        self._since = now


def batch_counts(batch: Mapping[str, Any], mode: str | None, *, truncated_are_masked: bool) -> dict[str, float]:
    """What a micro-batch holds, by the names of ``COUNTS``.

    Args:
        batch: TRL's training tensors: ``prompt_mask`` (B, P), ``completion_mask`` (B, T), perhaps ``tool_mask`` and
            ``importance_sampling_ratio``.
        mode: ``vllm_importance_sampling_mode``, None without the correction.
        truncated_are_masked: whether an empty mask means a truncated completion (``mask_truncated_completions``).
    """
    prompt, completion = batch["prompt_mask"], batch["completion_mask"]
    loss = completion.bool()
    if "tool_mask" in batch:
        loss = loss & batch["tool_mask"].bool()
    ratio = batch.get("importance_sampling_ratio")
    out = torch.zeros_like(loss) if mode is None or ratio is None else masked_out(ratio, loss, mode)
    truncated = ~completion.any(-1) if truncated_are_masked else torch.zeros_like(loss[:, 0])
    corrected = loss.any(-1) & (out == loss).all(-1)
    tensors = {
        "trained_tokens": prompt.sum() + completion.sum(),
        "rows_masked": (truncated | corrected).sum(),
        "rows_truncated": truncated.sum(),
        "rows_corrected": corrected.sum(),
        "loss_tokens": loss.sum(),
        "tokens_corrected": out.sum(),
    }
    found = dict(zip(tensors, torch.stack(list(tensors.values())).tolist(), strict=True))
    positions = {"positions": prompt.numel() + completion.numel(), "filled": found["trained_tokens"]}
    return found | positions | {"rows": len(loss)}


def metrics_of(seconds: Mapping[str, float], counts: Mapping[str, float]) -> dict[str, float]:
    """The logged numbers of a step: seconds of every phase, and what the counts of ``COUNTS`` say."""
    metrics = {f"time/{phase}_s": seconds.get(phase, 0.0) for phase in PHASES}
    for phase, tokens in HANDLED.items():
        if counts[tokens] > 0 and seconds.get(phase, 0.0) > 0:
            metrics[f"speed/{phase}_tokens_per_s"] = counts[tokens] / seconds[phase]
    if counts["positions"]:
        metrics["padding/share"] = 1 - counts["filled"] / counts["positions"]
    if counts["rows"]:
        metrics["masked/sequences"] = counts["rows_masked"] / counts["rows"]
        metrics["masked/truncated_sequences"] = counts["rows_truncated"] / counts["rows"]
        metrics["masked/corrected_sequences"] = counts["rows_corrected"] / counts["rows"]
    if counts["loss_tokens"]:
        metrics["masked/corrected_tokens"] = counts["tokens_corrected"] / counts["loss_tokens"]
    return metrics


def over_processes(values: torch.Tensor) -> dict[str, float]:
    """(processes, numbers) -> what is logged. A phase lasts as long as on the slowest process; counts add up.

    Args:
        values: of each process the seconds of ``PHASES``, the numbers of ``MEMORY``, then those of ``COUNTS``.
    """
    largest, total = values.max(0).values.tolist(), values.sum(0).tolist()
    seconds = dict(zip(PHASES, largest, strict=False))
    memory = dict(zip(MEMORY, largest[len(PHASES) :], strict=False))
    counts = dict(zip(COUNTS, total[len(PHASES) + len(MEMORY) :], strict=True))
    return metrics_of(seconds, counts) | memory


def memory_gib(device: torch.device) -> list[float]:
    """In the order of ``MEMORY``: this process's resident memory, its peak, the peak on its GPU (NaN without one)."""
    import psutil

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    gpu = torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else math.nan
    return [psutil.Process().memory_info().rss / GIB, peak / GIB, gpu]


# --- in the trainer --------------------------------------------------------------------------------------------------


def timed(phase: str) -> Callable[[Any], Any]:
    """A decorator for the trainer's methods: the phase that they are counted as, inside a training step alone."""

    def decorate(method: Any) -> Any:
        @functools.wraps(method)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self._numbers.phase(phase):
                return method(self, *args, **kwargs)

        return run

    return decorate


def timed_rollout(method: Any) -> Any:
    """:func:`timed` for ``_generate_single_turn``, whose tokens are counted too."""

    @functools.wraps(method)
    def run(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        with self._numbers.phase("rollout"):
            result = method(self, prompt_ids, *args, **kwargs)
        self._numbers.sampled(prompt_ids, result[0])
        return result

    return run


class StepNumbers(TrainerCallback):
    """Takes the numbers of each step and adds them to the trainer's metrics.

    Args:
        trainer: the trainer, whose methods call :meth:`phase` and the counting methods.
        wanted: whether to take them at all.
    """

    def __init__(self, trainer: Any, wanted: bool) -> None:
        self.wanted = wanted
        self._trainer = trainer
        self._clock = Clock(torch.cuda.synchronize if torch.cuda.is_available() else lambda: None)
        self._counts: dict[str, float] = defaultdict(float)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """The time inside counts as ``name``. Evaluation is not counted; log-probs in the loss are ``training``."""
        around = self._clock.phase
        outermost = name in ("data", "training")
        if not self.wanted or (around is None and not outermost) or (name == "scoring" and around == "training"):
            return nullcontext()
        return self._clock.within(name)

    def watch_pushes(self, generation: Any) -> None:
        """Count what ``generation.sync_weights`` takes."""
        push = generation.sync_weights

        @functools.wraps(push)
        def timed_push() -> None:
            with self.phase("weight_push"):
                push()

        generation.sync_weights = timed_push

    def sampled(self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> None:
        """A rollout of these token ids."""
        if self._clock.phase is not None:
            self._counts["prompt_tokens"] += sum(map(len, prompts))
            self._counts["completion_tokens"] += sum(map(len, completions))

    def trained(self, batch: Mapping[str, Any], ran: tuple[int, int] | None) -> None:
        """A micro-batch whose loss was computed.

        Args:
            batch: TRL's tensors; empty where nothing was left of it.
            ran: positions that the model ran on, and the tokens among them; None where it ran on the rows as they are.
        """
        trainer = self._trainer
        if self._clock.phase is None or not batch:
            return
        corrects = trainer.use_vllm and trainer.vllm_importance_sampling_correction
        mode = trainer.vllm_importance_sampling_mode if corrects else None
        found = batch_counts(batch, mode, truncated_are_masked=trainer.mask_truncated_completions)
        if ran is not None:
            found["positions"], found["filled"] = ran
        for name, count in found.items():
            self._counts[name] += count

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._clock.reset()
        self._counts.clear()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.wanted:
            self._clock.enter("training")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.wanted:
            self._clock.leave()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.wanted:
            return
        accelerator, metrics = self._trainer.accelerator, self._trainer._metrics["train"]
        seconds = self._clock.take()
        local = [seconds.get(phase, 0.0) for phase in PHASES]
        local += memory_gib(accelerator.device)
        local += [self._counts[name] for name in COUNTS]
        self._counts.clear()
        gathered = accelerator.gather(torch.tensor([local], dtype=torch.float64, device=accelerator.device))
        found = over_processes(gathered.cpu())
        for name, value in found.items():
            if not math.isnan(value):
                metrics[name].append(value)
