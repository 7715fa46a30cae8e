"""Completions that a composite of four rewards scores in a second on one core, reading included.

    python benchmarks/rewards.py
    python benchmarks/rewards.py --json rows.json --completions 16384 --repeats 7 --clock cpu

The composite is format, hierarchy, malignancy and differential, each called in turn on a batch, as the trainer calls
them. Every completion is a report of 1,000 characters, in groups of 8 to a prompt; one in twenty is no valid report.
The taxonomy is loaded anew for each repeat and no two texts are equal (but for the row that says so), so no cache is
warm; the row "later in a run" scores as many other completions first.

``stock`` is the straightforward way, in the same run: regular expressions for the report, a dictionary of names, and
networkx for ancestors and lowest common ancestors, asked anew for every completion. It is timed on fewer completions,
and its scores are compared with ours before anything is timed: they must be equal. It knows exact names alone and one
certain gold, so it has no numbers in the other rows.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rivals.naive_rewards import Naive

from skinrl.report import DiagnosticReport, DifferentialItem, option_letter
from skinrl.rewards import (
    get_differential_reward,
    get_hierarchy_reward,
    get_malignancy_reward,
    report_format_reward,
)
from skinrl.taxonomy import Taxonomy, load_taxonomy

GROUP = 8  # completions of one prompt
CHARACTERS = 1000
LATER = "names, later in a run"  # the same rewards have scored as many other completions before
KINDS = ("names", LATER, "options", "one text per group", "weighted golds", "5 % misspelt")
COMPARABLE = KINDS[:4]
PARTS = ("format", "hierarchy", "malignancy", "differential")
_SIGNS = ("plaque", "papule", "nodule", "macule", "scale", "crust", "ulcer", "border", "network", "streak", "vessel")
_KINDS = ("dark", "pale", "irregular", "regular", "waxy", "pearly", "scaly", "smooth", "raised", "sharp", "brown")
_BEHAVIOURS = ("non-neoplastic", "benign", "malignant")

Columns = dict[str, list[Any]]
Reward = Callable[..., Sequence[float | None]]


def rewards_of(taxonomy: Taxonomy) -> dict[str, Reward]:
    """The four rewards with their defaults."""
    made = (
        report_format_reward,
        get_hierarchy_reward(taxonomy),
        get_malignancy_reward(taxonomy),
        get_differential_reward(taxonomy),
    )
    return dict(zip(PARTS, made, strict=True))


# --- completions ---------------------------------------------------------------------------------------------------


def _words(rng: random.Random, count: int) -> str:
    return " and ".join(f"{rng.choice(_KINDS)} {rng.choice(_SIGNS)}" for _ in range(count))


def _report(rng: random.Random, names: Sequence[str], said: str, option: str) -> str:
    """A report of 1,000 characters whose differential holds what it says and four others."""
    listed = [said, *rng.sample(names, 4)]
    rng.shuffle(listed)
    report = DiagnosticReport(
        diagnosis=said,
        malignancy=rng.choice(_BEHAVIOURS),
        confidence=rng.randrange(101),
        findings=_words(rng, 4),
        differential=tuple(DifferentialItem(name, _words(rng, 1), _words(rng, 1)) for name in listed),
        reasoning=f"by {rng.random():.12f}, {_words(rng, 60)}",
    )
    over = max(0, len(report.render(option=option)) - CHARACTERS)
    text = replace(report, reasoning=report.reasoning[: len(report.reasoning) - over]).render(option=option)
    if rng.random() < 0.05:
        text = rng.choice((text.replace("</answer>", ""), text.replace("Malignancy:", "Dignity:"), "It is " + text))
    return text


def _misspelt(rng: random.Random, name: str) -> str:
    at = rng.randrange(1, len(name))
    return name[:at] + rng.choice("aeiourst") + name[at:]


def columns_of(kind: str, taxonomy: Taxonomy, count: int, seed: int) -> Columns:
    """Columns as the trainer passes them, for one row of the table."""
    rng = random.Random(seed)
    names = sorted(name for id in taxonomy.ids for name in (taxonomy.node(id).name, *taxonomy.node(id).synonyms))
    columns: Columns = {"completions": [], "gold_nodes": [], "gold_weights": [], "options": [], "option_nodes": []}
    offered: list[str] = []
    for index in range(count):
        if index % GROUP == 0:
            golds = rng.sample(taxonomy.leaves, 3 if kind == "weighted golds" else 1)
            weights = [rng.random() for _ in golds]
            offered = rng.sample([*golds[:1], *rng.sample(taxonomy.leaves, 3)], 4) if kind == "options" else []
        said, option = rng.choice([*names, *[taxonomy.node(golds[0]).name] * (len(names) // 3)]), ""
        if offered:
            pick = rng.randrange(4)
            said, option = taxonomy.node(offered[pick]).name, option_letter(pick)
        elif kind == "5 % misspelt" and rng.random() < 0.05:
            said = _misspelt(rng, said)
        text = _report(rng, names, said, option)
        if kind == "one text per group" and index % GROUP:
            text = columns["completions"][-1][0]["content"]
        columns["completions"].append([{"role": "assistant", "content": text}])
        columns["gold_nodes"].append(golds)
        columns["gold_weights"].append([weight / sum(weights) for weight in weights])
        columns["options"].append([taxonomy.node(node).name for node in offered])
        columns["option_nodes"].append(offered)
    return columns


# --- timing --------------------------------------------------------------------------------------------------------


def batches(columns: Columns, size: int) -> Iterator[Columns]:
    for start in range(0, len(columns["completions"]), size):
        yield {key: values[start : start + size] for key, values in columns.items()}


def rate(rewards: Mapping[str, Reward], columns: Columns, size: int, clock: Callable[[], float]) -> float:
    """Completions in a second, all rewards together."""
    parts = list(batches(columns, size))
    gc.collect()  # what was made for the measurement is not to be collected within it
    start = clock()
    for part in parts:
        for reward in rewards.values():
            reward(**part)
    return len(columns["completions"]) / (clock() - start)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {key: round(value, 3) for key, value in found.items()}


def assert_equal(kind: str, taxonomy: Taxonomy, count: int) -> None:
    """The two ways score the same completions alike, or nothing is timed."""
    columns = columns_of(kind, taxonomy, count, seed=-1)
    ours, naive = rewards_of(taxonomy), Naive(taxonomy).rewards()
    for name in PARTS:
        for index, (a, b) in enumerate(zip(ours[name](**columns), naive[name](**columns), strict=True)):
            alike = a == b if a is None or b is None else abs(a - b) < 1e-9
            text = columns["completions"][index][0]["content"]
            assert alike, f"{kind}, {name}: skinrl {a}, naive {b}, gold {columns['gold_nodes'][index]}\n{text}"


def measure(kind: str, only: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    stock: list[float] = []
    ours: list[float] = []
    for repeat in range(1, arguments.repeats + 1):
        taxonomy = load_taxonomy()  # nothing is remembered from the repeat before
        columns = columns_of(kind, taxonomy, arguments.completions, seed=repeat)
        chosen = [name for name in PARTS if only in (None, name)]
        if kind in COMPARABLE:
            few = {key: values[: max(GROUP, arguments.completions // 40)] for key, values in columns.items()}
            naive = Naive(taxonomy).rewards()
            stock.append(rate({name: naive[name] for name in chosen}, few, arguments.batch, clock))
        rewards = {name: reward for name, reward in rewards_of(taxonomy).items() if name in chosen}
        if kind == LATER:
            others = columns_of(kind, taxonomy, arguments.completions, seed=repeat + 1000)
            rate(rewards, others, arguments.batch, clock)
        ours.append(rate(rewards, columns, arguments.batch, clock))
    texts = {completion[0]["content"] for completion in columns["completions"]}
    return {
        "rewards": only or "all four",
        "diagnoses": kind,
        "completions": arguments.completions,
        "batch": arguments.batch,
        "distinct_texts": len(texts),
        "characters": round(statistics.mean(map(len, texts))),
        "nodes": len(taxonomy),
        "repeats": arguments.repeats,
        "clock": arguments.clock,
        "unit": "completions per second",
        "stock": spread(stock) if stock else None,
        "skinrl": spread(ours),
        "ratio": spread([a / b for a, b in zip(ours, stock, strict=True)]) if stock else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=8192, help="in one repeat")
    parser.add_argument("--batch", type=int, default=1024, help="completions given to a reward at once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: this process's time alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    for kind in COMPARABLE:
        assert_equal(kind, load_taxonomy(), 400)
    rows = []
    print(f"{'rewards':13} {'diagnoses':22} {'naive/s':>9} {'skinrl/s':>9} {'low':>9} {'high':>9} {'ratio':>7}")
    for kind, only in [*((kind, None) for kind in KINDS), *(("names", part) for part in PARTS)]:
        row = measure(kind, only, arguments)
        rows.append(row)
        ours = row["skinrl"]
        naive, ratio = (f"{row[key]['median']:.0f}" if row[key] else "-" for key in ("stock", "ratio"))
        print(
            f"{row['rewards']:13} {kind:22} {naive:>9} {ours['median']:9.0f} {ours['low']:9.0f} {ours['high']:9.0f} "
            f"{ratio:>7}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
