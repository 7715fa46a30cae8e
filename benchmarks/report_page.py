"""The page of an evaluation: seconds and memory to make it, seconds to open it in Chromium, its size.

    python benchmarks/report_page.py
    python benchmarks/report_page.py --json rows.json --cases 10000 100000 --models 2

The cases are those of `benchmarks/evaluation.py`: 400 diseases in a long tail, reports of 1,000 characters, and for
`--photographs` of them a JPEG of 12 megapixels, of which 200 become thumbnails. Metrics are of 2,000 of the cases,
because the page takes them as they are. The page is made in a process of its own; memory is its peak, resident. It is
opened three times in the system's Chromium, from the file, until the table of cases stands; the slowest is told, by
the clock and as processor time of the page's own thread, which other work on the machine does not stretch.
`stock` is empty: nothing stands beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import made_up
from PIL import Image

from skinrl import files
from skinrl.evaluation import Evaluation
from skinrl.taxonomy import load_taxonomy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
_MAKE = """
import json, resource, sys, time
from pathlib import Path
from skinrl.cli.page import write_page
wall, cpu = time.perf_counter(), time.process_time()
page = write_page(Path(sys.argv[1]))
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
                  "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "page_mebibytes": page.stat().st_size / 2**20, "page": str(page)}))
"""


def write_run(folder: Path, evaluation: Evaluation, models: int, photographs: int) -> None:
    """The files of a run in which every model gave the same answers."""
    part = Evaluation(evaluation.taxonomy, evaluation.cases[:2000], evaluation.greedy[:2000])
    metrics = part.metrics(resamples=100)
    picture = folder / "photograph.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000, 3000)).save(picture, quality=90)
    paths = {case.id: [str(picture)] for case in evaluation.cases[:photographs]}
    for number in range(models):
        final = folder / f"eval_model{number}" / "final"
        files.write_jsonl(final / "cases.jsonl", (case.to_dict() for case in evaluation.cases))
        files.write_jsonl(final / "predictions.jsonl", (one.to_dict() for one in evaluation.greedy))
        files.write_json(final / "metrics.json", metrics)
        files.write_json(final / "images.json", paths)


def opened(page: str) -> dict[str, float]:
    """Seconds until the table of cases stands, and what the page's own thread worked for it; the slowest of three."""
    from browser import chromium, open_browser

    path = chromium()
    if path is None:
        return {}
    seconds, worked = [], []
    with open_browser(path) as browser:
        for _ in range(3):
            tab = browser.new_page()
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            start = time.perf_counter()
            tab.goto(Path(page).as_uri())
            tab.wait_for_selector("#cases tbody tr")
            seconds.append(time.perf_counter() - start)
            found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            worked.append(found["TaskDuration"])
            tab.close()
    return {"open": max(seconds), "open_cpu": max(worked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--models", type=int, default=2)
    parser.add_argument("--photographs", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    taxonomy, rows = load_taxonomy(), list[dict[str, Any]]()
    for count in options.cases:
        with tempfile.TemporaryDirectory() as place:
            run = Path(place) / "bench" / "default"
            run.mkdir(parents=True)
            write_run(run, made_up(count, taxonomy), options.models, min(count, options.photographs))
            done = subprocess.run([sys.executable, "-c", _MAKE, str(run)], capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            found |= opened(found.pop("page"))
        settings = {"cases": count, "models": options.models}
        rows.append({"name": "report page", "settings": settings, "skinrl": found, "stock": None})
        print(settings, {key: round(value, 2) for key, value in found.items()}, flush=True)
    if options.json:
        files.write_json(options.json, rows)


if __name__ == "__main__":
    main()
