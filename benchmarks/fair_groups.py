"""Fair groups on the phantom: GRPO as it is, with group DRO, and with balanced sampling, from one SFT model.

    python benchmarks/fair_groups.py
    python benchmarks/fair_groups.py --init runs/phantom/default/sft/final --steps 200 --seeds 0 1 2 --json rows.json

Each row trains the same number of steps from the same SFT model on the same images and is evaluated on the held-out
clinical images:

- ``off``: the recipe as it is;
- ``dro``: advantages weighted by group DRO on the running reward of each group (arXiv 1911.08731);
- ``balanced``: every group is shown equally often;
- ``both``.

The groups of training are those of ``--column`` (skin tone, disease class, ...). What is reported is the accuracy of
the worst skin tone, over greedy and over sampled answers, with an interval by bootstrap over patients in which the
worst tone is chosen anew in every resample; and the paired difference to ``off`` with the same seed. The minimum of
noisy numbers lies below the worst true one, the more so the fewer patients a tone has: compare rows, not levels.

The phantom's clinical training images show all six tones equally often, so by skin tone ``balanced`` changes nothing
but the order; by ``disease_class`` or ``label``, which have a long tail, it does. It resumes: finished rows are read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from skinrl.evaluation import Evaluation, read_evaluation
from skinrl.evaluation.bootstrap import Floats, Measure, differences, intervals, mean_measure, ratio
from skinrl.taxonomy import load_taxonomy

WAYS = {
    "off": [],
    "dro": ["grpo.fair_weights=true"],
    "balanced": ["grpo.fair_sampling=true"],
    "both": ["grpo.fair_weights=true", "grpo.fair_sampling=true"],
}


def skinrl(*arguments: str) -> None:
    """Run one stage in a process of its own; its own words go to the terminal."""
    subprocess.run([sys.executable, "-m", "skinrl.cli", *arguments], check=True)


def train(way: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Train and evaluate one way with one seed; the folder of the run."""
    run = f"{way}-{arguments.column}-{arguments.steps}-{seed}" if way != "off" else f"off-{arguments.steps}-{seed}"
    settings = [
        *WAYS[way],
        *([f"grpo.fair_column={arguments.column}"] if way != "off" else []),
        f"grpo.init={arguments.init.resolve()}",
        f"grpo.max_steps={arguments.steps}",
        f"seed={seed}",
        *arguments.set,
    ]
    settings += ["name=fair_groups", "evaluation.controls=[]", "evaluation.continued_sft=false"]
    settings += ["evaluation.suites=[]", "evaluation.baselines=[]", "evaluation.contamination=false"]
    shared = [str(arguments.recipe), *settings, "--run", run, "--runs", str(arguments.runs)]
    folder: Path = arguments.runs / "fair_groups" / run
    if not (folder / "comparison.json").is_file():
        skinrl("grpo", *shared)
        skinrl("eval", *shared, "--model", "grpo")
    return folder


def measures(evaluation: Evaluation) -> tuple[list[Measure], list[str]]:
    """Accuracy overall, of the worst skin tone and of each, greedy and sampled; and the patient of each case."""
    hits: dict[str, list[float]] = {"greedy": [], "sampled": []}
    tones, patients = [], []
    for one in evaluation.scored():
        if one.case.skin_tone is None:
            continue
        hits["greedy"].append(float(one.greedy.hit))
        hits["sampled"].append(mean(float(answer.hit) for answer in one.samples or (one.greedy,)))
        tones.append(one.case.skin_tone[1])
        patients.append(one.case.group)
    names = sorted(set(tones))
    shown = np.array([[tone == name for name in names] for tone in tones], dtype=float)
    found = []
    for kind, values in hits.items():
        right = np.array(values)
        found.append(mean_measure(f"{kind}/all", right))
        counted = np.ones(len(right), dtype=bool)
        columns = np.concatenate([shown * right[:, None], shown], axis=1)
        found.append(Measure(f"{kind}/worst", columns, _worst, counted))
        for index, name in enumerate(names):
            found.append(mean_measure(f"{kind}/tone {name}", right, shown[:, index] > 0))
    return found, patients


def _worst(sums: Floats) -> Floats:
    """The lowest accuracy of the tones that a resample shows."""
    right, count = np.split(sums, 2, axis=-1)
    return np.nanmin(ratio(right, count), axis=-1)


def row(way: str, seed: int, folder: Path, off: Path | None) -> dict[str, Any]:
    """What one run reached, beside the one without fair groups."""
    taxonomy = load_taxonomy()
    found, patients = measures(read_evaluation(folder / "eval_grpo" / "final", taxonomy))
    values = {name: interval.as_dict() for name, interval in intervals(found, patients).items()}
    against: dict[str, Any] = {}
    if off is not None and off != folder:
        plain, _ = measures(read_evaluation(off / "eval_grpo" / "final", taxonomy))
        against = {name: interval.as_dict() for name, interval in differences(plain, found, patients).items()}
    steps = [json.loads(line) for line in (folder / "grpo" / "metrics.jsonl").read_text().splitlines()]
    last = [step for step in steps if "reward" in step][-20:]
    weights = [step["fair/largest_weight"] for step in last if step.get("fair/largest_weight") is not None]
    return {
        "way": way,
        "seed": seed,
        "accuracy": values,
        "minus_off": against,
        "reward_last_20_steps": mean(step["reward"] for step in last),
        "largest_weight_last_20_steps": mean(weights) if weights else None,
    }


def shown(metric: dict[str, Any] | None) -> str:
    if not metric or metric["value"] is None:
        return "-"
    bounds = "" if metric["low"] is None else f" [{100 * metric['low']:.1f}, {100 * metric['high']:.1f}]"
    return f"{100 * metric['value']:.1f}{bounds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--init", type=Path, help="the SFT checkpoint of every row; default: the recipe's, trained")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/phantom.yaml"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--column", default="skin_tone", help="what the groups of training are")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["off", "dro", "balanced"])
    parser.add_argument("--set", nargs="*", default=[], help="further key=value settings of every row")
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    if arguments.init is None:
        skinrl("sft", str(arguments.recipe), "--runs", str(arguments.runs))  # at once where it is complete
        arguments.init = arguments.runs / "phantom" / "default" / "sft" / "final"
    rows = []
    for seed in arguments.seeds:
        folders = {way: train(way, seed, arguments) for way in arguments.ways}
        rows += [row(way, seed, folder, folders.get("off")) for way, folder in folders.items()]
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    columns = ("greedy/worst", "greedy/all", "sampled/worst", "sampled/all")
    print("| way | seed | " + " | ".join(f"{name} | minus off" for name in columns) + " | largest weight |")
    print("|---" * (2 * len(columns) + 3) + "|")
    for one in rows:
        cells = [shown(part.get(name)) for name in columns for part in (one["accuracy"], one["minus_off"])]
        weight = one["largest_weight_last_20_steps"]
        print(
            "| "
            + " | ".join([one["way"], str(one["seed"]), *cells, "-" if weight is None else f"{weight:.2f}"])
            + " |"
        )


if __name__ == "__main__":
    main()
