"""Seconds before anything of skinrl can be used: the import, and a taxonomy from its files and from the cache.

    python benchmarks/startup.py
    python benchmarks/startup.py --json rows.json --repeats 9

Each figure is wall time in a fresh process, measured inside it, so that Python's own start is left out. ``stock`` of
the import row is `import trl`, which a plugin that loads its trainer at once would cost; of the taxonomy rows, the
load from the YAML files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_TIMED = "import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
_LOAD = "from skinrl.taxonomy import load_taxonomy; load_taxonomy()"


def seconds(code: str, repeats: int, **environment: str) -> list[float]:
    """Wall seconds of ``code`` in fresh processes; one more runs first, for bytecode and the file cache."""
    command = [sys.executable, "-c", _TIMED.format(code=code)]
    found = []
    for _ in range(repeats + 1):
        run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        found.append(float(run.stdout.split()[-1]))
    return found[1:]


def row(what: str, stock: list[float], ours: list[float]) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(stock, ours, strict=True)]
    return {
        "what": what,
        "stock": statistics.median(stock),
        "skinrl": statistics.median(ours),
        "ratio": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cold = seconds(_LOAD, arguments.repeats, SKINRL_CACHE="")
        kept = seconds(_LOAD, arguments.repeats, SKINRL_CACHE=folder)
    rows = [
        row(
            "import skinrl (stock: import trl)",
            seconds("import trl", arguments.repeats),
            seconds("import skinrl", arguments.repeats),
        ),
        row("taxonomy from the cache (stock: from its files)", cold, kept),
    ]
    for found in rows:
        times = found["ratio"]["median"]
        print(f"{found['what']:<50} {found['stock']:.3f} s -> {found['skinrl']:.3f} s, {times:.1f} times")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
