"""`skinrl view` on 100,000 rollouts in 1,000 files: seconds to a page, seconds of the search, memory.

    python benchmarks/view.py
    python benchmarks/view.py --json rows.json --files 1000 --rollouts 100 --repeats 3

The completions log is written as TRL writes it: groups of 10, reports of 1,000 characters, three rewards and what
they log. ``skinrl view`` then starts in a process of its own and is asked for pages as a browser asks. ``stock`` is
what one does without it: a fresh Python that reads the whole folder with pandas. Seconds are of the wall clock, from
the start of the process, and of the processor, which a busy machine stretches less; memory is its peak, resident.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from skinrl import files
from skinrl.cli.rollout_log import write_image_paths

GROUP, RECORDS, CHARACTERS = 10, 10_000, 1000
REWARDS = {"hierarchy_reward": 1.0, "report_format_reward": 0.2, "malignancy_reward": 0.3}
STOCK = "import pandas, pathlib, sys; pandas.concat(map(pandas.read_parquet, pathlib.Path(sys.argv[1]).iterdir()))"
_WORDS = ("plaque", "papule", "nodule", "scale", "crust", "ulcer", "border", "vessel", "pale", "sharp", "lesion")


def write_run(folder: Path, steps: int, rollouts: int) -> Path:
    """A run of ``steps`` files with ``rollouts`` rows each."""
    rng = random.Random(0)
    stage = folder / "bench" / "default" / "grpo"
    (stage / "completions").mkdir(parents=True)
    for step in range(1, steps + 1):
        rows = [_row(rng, step, index) for index in range(rollouts)]
        table = pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, stage / "completions" / f"completions_{step:05d}.parquet")
    means = {f"rewards/{name}/mean": 0.5 for name in REWARDS}
    metrics = [{"step": step, "reward": 0.5 + step / steps, "entropy": 0.1, **means} for step in range(1, steps + 1)]
    files.write_jsonl(stage / "metrics.jsonl", metrics)
    rewards = [{"factory": name, "weight": weight} for name, weight in REWARDS.items()]
    files.write_yaml(stage / "recipe.resolved.yaml", {"rewards": rewards, "grpo": {"num_generations": GROUP}})
    write_image_paths(stage, {f"case-{number}": [f"images/{number}.jpg"] for number in range(RECORDS)})
    return stage


def _row(rng: random.Random, step: int, index: int) -> dict[str, Any]:
    id = f"case-{(step * 131 + index // GROUP) % RECORDS}"
    text = " ".join(rng.choices(_WORDS, k=CHARACTERS // 6))[:CHARACTERS]
    question = [{"type": "image", "text": None}, {"type": "text", "text": "What is the diagnosis?"}]
    row: dict[str, Any] = {
        "step": step,
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": text}],
    }
    row |= {name: rng.choice((0.0, 0.4, 1.0)) for name in REWARDS}
    for name in ("hierarchy_reward", "malignancy_reward"):
        row |= {f"{name}/answer": "melanoma", f"{name}/node": "melanoma", f"{name}/gold": "melanoma"}
    kept = {"id": id, "gold_nodes": ["melanoma"], "gold_weights": [1.0], "options": [], "finished": True}
    return row | {"id": id, "row": json.dumps(kept), "advantage": rng.uniform(-1, 1)}


def viewed(stage: Path, steps: int) -> dict[str, float]:
    """Seconds to each page and memory, of one start of ``skinrl view``."""
    command = [sys.executable, "-m", "skinrl.cli", "view", str(stage), "--port", "0"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            found = {"first page": _asked(url, start), "processor, first page": _processor(process.pid)}
            found["memory, first page"] = _memory(process.pid)
            found["a step, while it searches"] = _asked(f"{url}step/{steps // 2}", time.perf_counter())
            while json.loads(_read(f"{url}state.json"))["searched"] < steps:
                time.sleep(0.1)
            found["search done"] = time.perf_counter() - start
            found["first page after the search"] = _asked(url, time.perf_counter())
            found["the same again"] = _asked(url, time.perf_counter())
            found["a step"] = _asked(f"{url}step/{steps}", time.perf_counter())
            found["processor, in all"] = _processor(process.pid)
            found["memory, in all"] = _memory(process.pid)
        finally:
            process.terminate()
    return found


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=300) as answer:
        return bytes(answer.read())


def _asked(url: str, since: float) -> float:
    _read(url)
    return time.perf_counter() - since


def _memory(pid: int) -> float:
    """Peak resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _processor(pid: int) -> float:
    """Seconds that a process has computed, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stock(stage: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak memory (MiB) of a process that reads the whole folder."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", STOCK, str(stage / "completions")])
    _, _, used = os.wait4(process.pid, 0)
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rollouts", type=int, default=100, help="rows of each file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stage = write_run(Path(folder), arguments.files, arguments.rollouts)
        size = sum(file.stat().st_size for file in (stage / "completions").iterdir()) / 2**20
        ours = [viewed(stage, arguments.files) for _ in range(arguments.repeats)]
        theirs = [stock(stage) for _ in range(arguments.repeats)]
    rows = [
        {"what": what, "unit": "MiB" if what.startswith("memory") else "s", **spread([one[what] for one in ours])}
        for what in ours[0]
    ]
    named = (("stock: the folder read", "s"), ("stock: processor", "s"), ("stock: memory", "MiB"))
    for place, (what, unit) in enumerate(named):
        rows.append({"what": what, "unit": unit, **spread([one[place] for one in theirs])})
    print(f"{arguments.files * arguments.rollouts:,} rollouts in {arguments.files:,} files, {size:.0f} MiB")
    for row in rows:
        print(f"{row['what']:32} {row['median']:9.2f} {row['unit']:4} ({row['low']:.2f} to {row['high']:.2f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
