"""How rewards become advantages: TRL's `scale_rewards` choices and GDPO on the phantom, from one SFT model.

    python benchmarks/advantages.py
    python benchmarks/advantages.py --init runs/phantom/default/sft/final --steps 100 --seeds 0 1 2 --json rows.json

Graded rewards differ by little inside many groups, and dividing by the group's standard deviation blows such a
difference up to the size of any other. Each row trains the same number of steps from the same SFT model on the same
prompts and is evaluated on the held-out clinical images:

- ``group``: the weighted sum of the rewards, minus the group's mean, over the group's standard deviation (the default
  of TRL and of the phantom recipe);
- ``batch``: over the standard deviation of the whole batch (arXiv 2508.08221);
- ``none``: not divided at all (Dr. GRPO, arXiv 2503.20783);
- ``gdpo``: each reward normalised in its group first, then summed, then by the batch (GDPO, arXiv 2601.05242).

About two minutes a row on 2 cores at 100 steps. It resumes: finished rows are read, not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

WAYS = {
    "group": ["grpo.scale_rewards=group"],
    "batch": ["grpo.scale_rewards=batch"],
    "none": ["grpo.scale_rewards=none"],
    "gdpo": ["grpo.multi_objective_aggregation=normalize_then_sum", "grpo.scale_rewards=group"],
}
METRICS = ("accuracy_sampled", "accuracy", "hierarchical_f1", "malignancy_sensitivity", "invalid_share")


def skinrl(*arguments: str) -> None:
    """Run one stage in a process of its own; its own words go to the terminal."""
    subprocess.run([sys.executable, "-m", "skinrl.cli", *arguments], check=True)


def row(way: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one way with one seed."""
    run = f"{way}-{arguments.steps}-{seed}"
    settings = [
        *WAYS[way],
        f"grpo.init={arguments.init.resolve()}",
        f"grpo.max_steps={arguments.steps}",
        f"seed={seed}",
    ]
    settings += ["name=advantages", "evaluation.controls=[]", "evaluation.continued_sft=false"]
    settings += ["evaluation.suites=[]", "evaluation.baselines=[]", "evaluation.contamination=false"]
    shared = [str(arguments.recipe), *settings, "--run", run, "--runs", str(arguments.runs)]
    result = arguments.runs / "advantages" / run / "comparison.json"
    if not result.is_file():
        skinrl("grpo", *shared)
        skinrl("eval", *shared, "--model", "grpo")
    metrics = json.loads(result.read_text())["models"]["grpo"]
    log = result.parent / "grpo" / "metrics.jsonl"
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    last = [step for step in steps if "reward" in step][-20:]
    return {
        "way": way,
        "seed": seed,
        "steps": arguments.steps,
        **{metric: metrics[metric] for metric in METRICS},
        "reward_last_20_steps": mean(step["reward"] for step in last),
        "groups_without_spread": mean(step["frac_reward_zero_std"] for step in last),
        "gradient_norm": mean(step["grad_norm"] for step in steps if "grad_norm" in step),
    }


def shown(metric: dict[str, float]) -> str:
    return f"{100 * metric['value']:.1f} [{100 * metric['low']:.1f}, {100 * metric['high']:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--init", type=Path, help="the SFT checkpoint of every row; default: the recipe's own, trained"
    )
    parser.add_argument("--recipe", type=Path, default=Path("recipes/phantom.yaml"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    if arguments.init is None:
        skinrl("sft", str(arguments.recipe), "--runs", str(arguments.runs))  # at once where it is complete
        arguments.init = arguments.runs / "phantom" / "default" / "sft" / "final"
    rows = []
    for seed in arguments.seeds:
        for way in arguments.ways:
            rows.append(row(way, seed, arguments))
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"| way | seed | {' | '.join(METRICS)} | reward | no spread | gradient norm |")
    print("|---" * (len(METRICS) + 5) + "|")
    for found in rows:
        cells = [shown(found[metric]) for metric in METRICS]
        tail = [f"{found['reward_last_20_steps']:.3f}", f"{found['groups_without_spread']:.2f}"]
        print(
            "| "
            + " | ".join([found["way"], str(found["seed"]), *cells, *tail, f"{found['gradient_norm']:.3f}"])
            + " |"
        )


if __name__ == "__main__":
    main()
