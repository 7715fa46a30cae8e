"""GRPO for a long time, interrupted by SIGTERM half-way and resumed: memory must not grow, and no step be lost.

    make soak SOAK_MINUTES=60            (or: python tools/soak.py recipes/phantom.yaml --minutes 60)

The recipe's SFT runs first, under the run name `soak`. Printed at the end: steps before and after the interruption,
memory early and late in each half, the largest mean gap between rollout and trainer. Exit code 1 if memory grew by
more than a tenth, if the second half did not go on from where the first ended, or if a half made no step.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from measure import GIB, memory

from skinrl.files import read_jsonl
from skinrl.recipe import load_recipe

RUN = "soak"
GROWTH = 1.1  # late over early
MIB = 2**20
PATIENCE = 300  # seconds to write a checkpoint after SIGTERM


@dataclass(frozen=True)
class Half:
    """One session: its first and last step, and the memory of its processes in bytes, second by second."""

    first: int
    last: int
    bytes: tuple[int, ...]

    @property
    def early(self) -> float:
        """Median of the second fifth: the first holds start-up, when memory is meant to grow."""
        fifth = max(1, len(self.bytes) // 5)
        return statistics.median(self.bytes[fifth : 2 * fifth] or (0,))

    @property
    def late(self) -> float:
        """Median of the last fifth."""
        return statistics.median(self.bytes[-max(1, len(self.bytes) // 5) :] or (0,))

    @property
    def growth(self) -> float:
        """MiB in a hundred steps, from the middle of the second fifth to the middle of the last."""
        steps = 0.6 * (self.last - self.first + 1)
        return 100 * (self.late - self.early) / MIB / steps


def session(command: list[str], seconds: float, metrics: Path) -> Half:
    """Run GRPO until its time is up, stop it by SIGTERM, and read what it logged."""
    before = len(read_jsonl(metrics, grown=True)) if metrics.is_file() else 0
    held = []
    with subprocess.Popen(command) as process:
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            held.append(memory(process.pid))
            time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE)
    rows = read_jsonl(metrics, grown=True)[before:] if metrics.is_file() else []
    steps = [row["step"] for row in rows]
    return Half(min(steps, default=0), max(steps, default=0), tuple(held))


def faults(first: Half, second: Half) -> list[str]:
    """What is wrong, in words; empty if nothing is."""
    found = []
    for name, half in (("first", first), ("second", second)):
        if half.last == 0:
            found.append(f"the {name} half made no step")
        if half.late > GROWTH * half.early:
            found.append(f"memory grew in the {name} half: {half.early / GIB:.2f} to {half.late / GIB:.2f} GiB")
    if second.first != first.last + 1:
        found.append(f"the first half ended at step {first.last}, the second began at step {second.first}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    shared = [str(options.recipe), *options.overrides, "--run", RUN, "--runs", str(options.runs)]
    shared += ["--data", str(options.data)] if options.data else []
    skinrl = [sys.executable, "-m", "skinrl.cli"]
    done = subprocess.run([*skinrl, "sft", *shared], check=False)
    if done.returncode:
        return done.returncode
    folder = options.runs / load_recipe(options.recipe, options.overrides).name / RUN / "grpo"
    shutil.rmtree(folder, ignore_errors=True)
    command = [*skinrl, "grpo", *shared, "grpo.max_steps=1000000"]
    seconds = options.minutes * 30
    first, second = (session(command, seconds, folder / "metrics.jsonl") for _ in range(2))
    for name, half in (("first", first), ("second", second)):
        print(
            f"{name} half: steps {half.first} to {half.last}, {half.early / GIB:.2f} then {half.late / GIB:.2f} GiB "
            f"({half.growth:+.1f} MiB in 100 steps)"
        )
    gaps = [row["rollout/logp_gap_mean"] for row in read_jsonl(folder / "metrics.jsonl") if "reward" in row]
    print(f"largest mean gap between rollout and trainer: {max(gaps, default=float('nan')):.2g} nats a token")
    wrong = faults(first, second)
    print("soak: passed" if not wrong else f"soak: FAILED: {'; '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
