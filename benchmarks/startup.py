"""Seconds before anything of skinrl can be used: the import, and a taxonomy from its files and from the cache.

    python benchmarks/startup.py
    python benchmarks/startup.py --json rows.json --repeats 9

Each figure is the time of a fresh process, measured inside it, so that Python's own start is left out; on the wall
and on the processor's clock, which a busy machine stretches less. ``stock`` of the import row is `import trl`, which a
plugin that loads its trainer at once would cost; of the taxonomy rows, the load from the YAML files. The last row
leaves the import of the package out and times the call alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_TIMED = (
    "import time; {before}; wall, cpu = time.perf_counter(), time.process_time(); {code}; "
    "print(time.perf_counter() - wall, time.process_time() - cpu)"
)
_IMPORT, _LOAD = "from skinrl.taxonomy import load_taxonomy", "load_taxonomy()"
CLOCKS = ("wall", "cpu")
LIMITS = {"cold": 1.5, "cached": 0.3}  # seconds of the wall clock


class Seconds(NamedTuple):
    """One measurement by both clocks."""

    wall: float
    cpu: float


def seconds(code: str, repeats: int, before: str = "pass", **environment: str) -> list[Seconds]:
    """Seconds of ``code`` in fresh processes; one more runs first, for bytecode and the file cache."""
    command = [sys.executable, "-c", _TIMED.format(before=before, code=code)]
    found = []
    for _ in range(repeats + 1):
        run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        found.append(Seconds(*map(float, run.stdout.split()[-2:])))
    return found[1:]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def rows_of(what: str, stock: Sequence[Seconds], ours: Sequence[Seconds]) -> list[dict[str, Any]]:
    """One row a clock."""
    rows = []
    for clock in CLOCKS:
        theirs, mine = ([getattr(one, clock) for one in found] for found in (stock, ours))
        ratios = [a / b for a, b in zip(theirs, mine, strict=True)]
        rows.append(
            {"what": what, "clock": clock, "unit": "seconds", "repeats": len(mine)}
            | {"stock": spread(theirs), "skinrl": spread(mine), "ratio": spread(ratios)}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    repeats = arguments.repeats
    rows = rows_of(
        "import skinrl (stock: import trl)", seconds("import trl", repeats), seconds("import skinrl", repeats)
    )
    with tempfile.TemporaryDirectory() as folder:
        for what, before, code in (
            ("import and taxonomy from the cache (stock: from its files)", "pass", f"{_IMPORT}; {_LOAD}"),
            ("taxonomy from the cache (stock: from its files)", _IMPORT, _LOAD),
        ):
            cold = seconds(code, repeats, before, SKINRL_CACHE="")
            rows += rows_of(what, cold, seconds(code, repeats, before, SKINRL_CACHE=folder))
    print(f"{'what':58} {'clock':5} {'stock s':>8} {'skinrl s':>9} {'low':>6} {'high':>6} {'times':>6}")
    for row in rows:
        ours = row["skinrl"]
        print(
            f"{row['what']:58} {row['clock']:5} {row['stock']['median']:8.3f} {ours['median']:9.3f} "
            f"{ours['low']:6.3f} {ours['high']:6.3f} {row['ratio']['median']:6.1f}"
        )
    print(
        f"asked for: a taxonomy in at most {LIMITS['cold']} s from its files and {LIMITS['cached']} s from the cache"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
