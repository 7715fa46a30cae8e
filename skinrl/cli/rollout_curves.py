"""The curves of a run from its ``metrics.jsonl``, which grows while the run trains."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from skinrl.pages.rollouts_given import Curve

# name in metrics.jsonl -> what it is, and its form; shown in this order after the rewards
_CURVES = {
    "task/accuracy": ("accuracy on held-out cases", "share"),
    "task/hierarchical_f1": ("hierarchical F1 on held-out cases", "share"),
    "task/invalid_share": ("invalid answers on held-out cases", "share"),
    "completions/mean_length": ("mean length, tokens", "number"),
    "completions/clipped_ratio": ("share cut at the length limit", "share"),
    "frac_reward_zero_std": ("share of groups whose rewards are all equal", "share"),
    "entropy": ("entropy, nats", "number"),
    "kl": ("distance from the reference", "number"),
    "grad_norm": ("norm of the gradient", "number"),
    "rollout/logp_gap_max": ("largest rollout/trainer gap, nats", "number"),
}


class RunNumbers:
    """The numbers that are drawn, name -> step -> value; a file that grows is read on from where the last look ended.

    A step that was worked again after an interruption counts with its later row.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._offset = file, 0
        self._values: dict[str, dict[int, float]] = {}
        self._lock = threading.Lock()  # pages are made in threads of their own

    def read(self) -> dict[str, dict[int, float]]:
        """Name -> step -> value, as far as the file has whole lines."""
        with self._lock:
            if self._file.is_file():
                self._read_on()
            return {name: dict(values) for name, values in self._values.items()}

    def rewards(self) -> set[str]:
        """The rewards that have a mean."""
        return {name.split("/")[1] for name in self.read() if _is_reward_mean(name)}

    def curves(self) -> list[Curve]:
        """The weighted sum, each reward, then lengths and the policy; only what was logged."""
        numbers = self.read()
        drawn = {"reward": ("weighted sum of the rewards", "number")}
        drawn |= {name: (name.split("/")[1], "number") for name in numbers if _is_reward_mean(name)}
        drawn |= _CURVES
        curves = [
            Curve(name, what, sorted(numbers.get(name, {}).items()), form) for name, (what, form) in drawn.items()
        ]
        return [curve for curve in curves if curve.points]

    def _read_on(self) -> None:
        with self._file.open("rb") as stream:
            if stream.seek(0, 2) < self._offset:  # another run stands in the place
                self._offset, self._values = 0, {}
            stream.seek(self._offset)
            whole, end, _ = stream.read().rpartition(b"\n")
        self._offset += len(whole) + len(end)
        for line in whole.split(b"\n"):
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
        except ValueError:  # a line that a crash cut short
            return
        for name, value in row.items():
            if _is_wanted(name) and isinstance(value, int | float) and isinstance(row.get("step"), int):
                self._values.setdefault(name, {})[row["step"]] = float(value)


def _is_reward_mean(name: str) -> bool:
    return name.startswith("rewards/") and name.endswith("/mean")


def _is_wanted(name: str) -> bool:
    return name in _CURVES or name == "reward" or _is_reward_mean(name)
