"""Sampling with transformers' ``generate``: log-probs of the sampled tokens, and repeatable seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import LogitsProcessor


class SampledLogProbs(LogitsProcessor):
    """Records the log-prob of every token that ``generate`` samples, without keeping the logits.

    It sees the scores before the temperature is applied (transformers puts a caller's processors
    there), so it applies it itself. Holds one (B, V) tensor at a time.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self._pending: torch.Tensor | None = None
        self._taken: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._take(input_ids)
        self._pending = torch.log_softmax(scores.float() / self.temperature, dim=-1)
        return scores

    def _take(self, sequences: torch.Tensor) -> None:
        if self._pending is not None:
            self._taken.append(self._pending.gather(1, sequences[:, -1:]))
            self._pending = None

    def finish(self, sequences: torch.Tensor) -> torch.Tensor:
        """(B, T) log-probs of all tokens sampled, given the final ``sequences`` of ``generate``."""
        self._take(sequences)
        return torch.cat(self._taken, dim=1)


class RecordedGenerate:
    """Result of :func:`recorded_generate`, filled in by the call of ``generate``."""

    logps: torch.Tensor | None = None

    def per_completion(self, lengths: Sequence[int]) -> list[list[float]]:
        """One list of log-probs per completion, cut to its length (tokens after the first end token are padding)."""
        assert self.logps is not None, "generate was not called"
        return [row[:length] for row, length in zip(self.logps.tolist(), lengths, strict=True)]


@contextmanager
def recorded_generate(model: nn.Module, temperature: float) -> Iterator[RecordedGenerate]:
    """While open, ``model.generate`` also records the log-probs of the tokens that it samples.

    TRL calls ``generate`` with fixed arguments and expects a tensor back, so the one extra argument
    is added here, on this instance and for this block alone.
    """
    record = RecordedGenerate()
    original = model.generate

    def generate(*args: Any, **kwargs: Any) -> torch.Tensor:
        recorder = SampledLogProbs(temperature)
        sequences = original(*args, **kwargs, logits_processor=[recorder])
        record.logps = recorder.finish(sequences)
        return sequences

    model.generate = generate
    try:
        yield record
    finally:
        del model.generate


def rollout_seed(seed: int, stream: int, phase: str, step: int, count: int) -> int:
    """A 63-bit seed for one rollout: ``count``-th rollout of ``phase`` at optimiser step ``step`` on one sampler."""
    digest = hashlib.sha256(f"{seed}/{stream}/{phase}/{step}/{count}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch on CPU and the current GPU inside the block, and restore their states after it."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
