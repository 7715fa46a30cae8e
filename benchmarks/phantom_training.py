"""The training phase of the demonstration's GRPO: rows as stock TRL has them, against skinrl's defaults.

    python benchmarks/phantom_training.py
    python benchmarks/phantom_training.py --steps 40 --repeats 3 --json rows.json

Both start from the same SFT model with the same seed and take turns in fresh processes. ``stock`` has packing, the
leaving out of groups without signal, and once-per-group preprocessing off. Compared are the medians over the steps of
`time/training_s` (forward, backward, optimiser) and of `step_time`, and the rewards, which must go the same way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OFF = ["grpo.shared_prefix=false", "grpo.skip_flat_groups=false", "grpo.once_per_group=false"]
FIRST = 3  # steps left out: warm-up, and the check of packed rows


def steps_of(settings: list[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The log of one training, in a process and a run folder of its own."""
    with tempfile.TemporaryDirectory() as runs:
        shared = [str(arguments.recipe), f"grpo.init={arguments.init.resolve()}", f"grpo.max_steps={arguments.steps}"]
        shared += ['grpo.save_strategy="no"', *settings, "--runs", runs]
        command = [sys.executable, "-m", "skinrl.cli", "grpo", *shared]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        (log,) = Path(runs).glob("*/*/grpo/metrics.jsonl")
        rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row for row in rows if "grad_norm" in row]


def medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median seconds of a step's phases."""
    return {key: statistics.median(row[key] for row in rows[FIRST:]) for key in ("time/training_s", "step_time")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--init", type=Path, help="the SFT checkpoint; default: the recipe's own, trained")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/phantom.yaml"))
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    if arguments.init is None:
        subprocess.run([sys.executable, "-m", "skinrl.cli", "sft", str(arguments.recipe)], check=True)
        arguments.init = Path("runs") / "phantom" / "default" / "sft" / "final"
    runs: dict[str, list[list[dict[str, Any]]]] = {"stock": [], "skinrl": []}
    for _ in range(arguments.repeats):
        runs["stock"].append(steps_of(OFF, arguments))
        runs["skinrl"].append(steps_of([], arguments))
    rows = []
    for key in ("time/training_s", "step_time"):
        stock, ours = ([medians(run)[key] for run in runs[side]] for side in ("stock", "skinrl"))
        ratios = [a / b for a, b in zip(stock, ours, strict=True)]
        ratio = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        rows.append(
            {"what": key, "stock": statistics.median(stock), "skinrl": statistics.median(ours), "ratio": ratio}
        )
        print(f"{key:<16} {rows[-1]['stock']:.3f} s -> {rows[-1]['skinrl']:.3f} s: {ratio['median']:.2f} times")
    for side, of_side in runs.items():
        print(f"first rewards, {side}: {[round(row['reward'], 4) for row in of_side[0][:6]]}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
