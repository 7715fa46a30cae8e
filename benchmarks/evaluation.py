"""Metrics, intervals, groups, fairness and page of 100,000 predictions; and the bootstrap against the plain loop.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --json rows.json --cases 100000 --repeats 3 --clock cpu

The set is made up: 400 diseases of the shipped taxonomy in a long tail, two images a patient, two thirds of the
patients with a Fitzpatrick type and the rest with a Monk tone, two modalities, five sources, sex, age band and site.
Every answer has a differential, a confidence and a completion of 1,000 characters. It is written to a folder; then a
process of its own reads it, measures everything that `metrics.json` holds (2,000 resamples, permutations included) and
writes the page. Its seconds and its largest memory are the row "whole". `skinrl` is the sum of the seconds; nothing
stands beside it.

The row "plain loop" is the usual way on fewer cases: for each resample repeat the drawn patients' cases and give them
to scikit-learn. Both use the same resamples, and their numbers must be equal before anything is timed. `stock`
computes five metrics, `skinrl` all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skinrl import files
from skinrl.evaluation import Case, Evaluation, Prediction, read_evaluation
from skinrl.evaluation.bootstrap import Floats, Resampler
from skinrl.evaluation.metrics import measures_of
from skinrl.taxonomy import Taxonomy, load_taxonomy

CLASSES = 400
RIGHT = 0.6
FIVE = ("accuracy", "balanced_accuracy", "macro_f1", "malignancy_sensitivity", "malignancy_specificity")
_MADE_UP = "A plaque with a sharp border, fine scale and an even colour; no network, no ulcer. " * 12


def made_up(count: int, taxonomy: Taxonomy, *, flat: bool = False) -> Evaluation:
    """An evaluation without a model; `flat`: no differential and no confidence."""
    rng = np.random.default_rng(0)
    classes = [taxonomy.leaves[number] for number in rng.choice(len(taxonomy.leaves), CLASSES, replace=False)]
    tail = 1 / np.arange(1, CLASSES + 1)
    drawn = rng.choice(CLASSES, size=(count, 5), p=tail / tail.sum())
    right = rng.random(count) < RIGHT
    patients = max(1, count // 2)
    patient = rng.integers(patients, size=count)
    tone, band = rng.integers(1, 7, size=patients), rng.integers(5, size=patients)
    confidence = rng.integers(20, 101, size=count) / 100
    cases, answers = [], []
    for number in range(count):
        one = int(patient[number])
        gold = classes[drawn[number, 0]]
        answer = gold if right[number] else classes[drawn[number, 1]]
        low = 20 * int(band[one])
        cases.append(
            Case(
                id=f"case-{number:06d}",
                gold=((gold, 1.0),),
                group=f"source {one % 5}/{one}",
                modality="dermoscopy" if number % 3 == 0 else "clinical",
                source=f"source {one % 5}",
                skin_tone=("fitzpatrick", str(tone[one])) if one % 3 else ("monk", str(1 + one % 10)),
                slices={"sex": "fm"[one % 2], "age": f"{low}-{low + 19}", "site": f"site {one % 12}"},
            )
        )
        answers.append(
            Prediction(
                id=f"case-{number:06d}",
                gold=((gold, 1.0),),
                raw=taxonomy.node(answer).name,
                outcome="ok",
                answer_node=answer,
                credit=float(answer == gold),
                completion=_MADE_UP[:1000],
                malignancy=taxonomy.behaviour(answer),
                differential=() if flat else tuple(classes[place] for place in drawn[number, 1:]),
                confidence=None if flat else float(confidence[number]),
            )
        )
    return Evaluation(taxonomy, tuple(cases), tuple(answers))


def write_folder(folder: Path, evaluation: Evaluation) -> None:
    files.write_jsonl(folder / "cases.jsonl", (case.to_dict() for case in evaluation.cases))
    files.write_jsonl(folder / "predictions.jsonl", (one.to_dict() for one in evaluation.greedy))


def whole(folder: Path, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of reading, measuring and the page, and the largest memory of this process in MiB."""
    from skinrl.cli.page import write_page

    taxonomy = load_taxonomy()
    started = clock()
    evaluation = read_evaluation(folder, taxonomy)
    read = clock()
    files.write_json(folder / "metrics.json", evaluation.metrics())
    measured = clock()
    write_page(folder, images=0)
    return {
        "reading": read - started,
        "metrics": measured - read,
        "page": clock() - measured,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def plain_loop(evaluation: Evaluation, weights: Any, codes: Any) -> Floats:
    """Five metrics of each resample by scikit-learn, (5, resamples)."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

    scored = evaluation.scored()
    gold = np.array([one.target.node for one in scored])
    classes = set(gold)
    answer = np.array([one.greedy.node if one.greedy.node in classes else "another" for one in scored])
    side = np.array([one.target.side or "" for one in scored])
    called = np.array([one.greedy.side or "" for one in scored])
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers that are no class of a resample
        for column in weights.T:
            drawn = np.repeat(np.arange(len(scored)), column[codes])
            labels = sorted(set(gold[drawn]))
            rows.append(
                (
                    accuracy_score(gold[drawn], answer[drawn]),
                    balanced_accuracy_score(gold[drawn], answer[drawn]),
                    f1_score(gold[drawn], answer[drawn], labels=labels, average="macro", zero_division=0),
                    recall_score(side[drawn] == "malignant", called[drawn] == "malignant"),
                    recall_score(side[drawn] == "benign", called[drawn] == "benign"),
                )
            )
    return np.array(rows).T


def in_one_draw(evaluation: Evaluation, resamples: int) -> dict[str, Floats]:
    """All metrics of each resample."""
    scored = evaluation.scored()
    measures = measures_of(scored, evaluation.taxonomy)
    resampler = Resampler([one.case.group for one in scored], resamples=resamples)
    found = resampler.measure(measures)[0]
    return {measure.name: row for measure, row in zip(measures, found.replicates, strict=True)}


def timed(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    started = clock()
    call()
    return clock() - started


def row_of(settings: dict[str, Any], stock: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    ratios = sorted(a / b for a, b in zip(stock, ours, strict=True)) if stock else []
    return {
        **settings,
        "stock": {"seconds": statistics.median(stock)} if stock else None,
        "skinrl": {"seconds": statistics.median(ours)},
        "ratio": {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]} if ratios else None,
    }


def against_plain_loop(arguments: argparse.Namespace, clock: Callable[[], float]) -> dict[str, Any]:
    evaluation = made_up(arguments.small, load_taxonomy(), flat=True)
    resampler = Resampler([one.case.group for one in evaluation.scored()], resamples=arguments.resamples)
    ours = in_one_draw(evaluation, arguments.resamples)
    theirs = plain_loop(evaluation, resampler.weights, resampler.codes)
    for name, expected in zip(FIVE, theirs, strict=True):
        np.testing.assert_allclose(ours[name], expected, rtol=1e-5, err_msg=name)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(arguments.repeats):
        times[0].append(timed(lambda: plain_loop(evaluation, resampler.weights, resampler.codes), clock))
        times[1].append(timed(lambda: in_one_draw(evaluation, arguments.resamples), clock))
    settings = {
        "row": "plain loop",
        "cases": arguments.small,
        "resamples": arguments.resamples,
        "clock": arguments.clock,
    }
    return row_of(settings, *times)


def in_its_own_process(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_folder(folder, made_up(arguments.cases, load_taxonomy()))
        found = []
        for _ in range(arguments.repeats):
            command = [sys.executable, __file__, "--clock", arguments.clock, "--folder", str(folder)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(answer.stdout.splitlines()[-1]))
        size = (folder / "report.html").stat().st_size
    parts = {name: statistics.median(one[name] for one in found) for name in ("reading", "metrics", "page")}
    settings = {"row": "whole", "cases": arguments.cases, "resamples": 2000, "clock": arguments.clock}
    row = row_of(settings, [], [one["reading"] + one["metrics"] + one["page"] for one in found])
    row["skinrl"] |= parts | {"mebibytes": max(one["mebibytes"] for one in found), "page_mebibytes": size / 2**20}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="of the row 'whole'")
    parser.add_argument("--small", type=int, default=2_000, help="cases of the row 'plain loop'")
    parser.add_argument("--resamples", type=int, default=200, help="of the row 'plain loop'")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    if arguments.folder is not None:
        print(json.dumps(whole(arguments.folder, clock)))
        return
    rows = [against_plain_loop(arguments, clock), in_its_own_process(arguments)]
    for row in rows:
        print(json.dumps(row))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
