"""The same scores in other processes, each with its own hash seed: workers are processes, and sets have no order."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from skinrl.rewards.base import Reward
from skinrl.rewards.samples import Probe, call

HASH_SEEDS = (0, 1, 4242)
_SECONDS = 120.0


def scores_elsewhere(
    rewards: Sequence[Reward], probes: Sequence[Probe], seeds: Sequence[int] = HASH_SEEDS
) -> list[list[Any]]:
    """What each reward scores in a fresh process of each hash seed: for each seed a list, for each reward its scores.

    An exception of a reward stands there as its text.

    Raises:
        pickle.PicklingError, AttributeError, TypeError: a reward cannot be pickled.
        RuntimeError: a process ended before it had scored; the message holds what it wrote last.
    """
    # The path goes first: a reward from a file beside a recipe is unpickled by the name of its module.
    work = pickle.dumps(sys.path) + pickle.dumps((list(rewards), list(probes)))
    running = []
    for seed in seeds:
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        child = subprocess.Popen(
            [sys.executable, "-c", "from skinrl.rewards.processes import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        running.append(child)
    results = []
    try:
        for seed, child in zip(seeds, running, strict=True):
            out, err = child.communicate(work, timeout=_SECONDS)
            if child.returncode:
                last = err.decode(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"a process with PYTHONHASHSEED={seed} ended with {child.returncode}: {last}")
            results.append(pickle.loads(out))
    finally:
        for child in running:
            if child.poll() is None:
                child.kill()
                child.communicate()
    return results


def main() -> None:
    """Read rewards and probes from standard input, write the scores to standard output."""
    results, sys.stdout = sys.stdout.buffer, sys.stderr  # what a reward prints must not mix with the scores
    sys.path[:] = pickle.load(sys.stdin.buffer)
    rewards, probes = pickle.load(sys.stdin.buffer)
    scores = []
    for reward in rewards:
        try:
            scores.append(call(reward, probes))
        except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the result
            scores.append(f"{type(error).__name__}: {error}")
    pickle.dump(scores, results)
