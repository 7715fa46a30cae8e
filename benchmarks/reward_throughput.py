"""Completions that the hierarchy reward scores in a second on one core, parsing included.

    python benchmarks/reward_throughput.py
    python benchmarks/reward_throughput.py --json rows.json --completions 20000 --repeats 7

Every completion is a report of about 80 tokens, in groups of 8 to a prompt, as GRPO has them. Unless a row says
otherwise no two texts are equal, and the taxonomy is loaded anew for each repeat, so that no cache is warm. ``stock``
is the straightforward way: a regular expression for the Diagnosis line, a dictionary of lower-case names, and networkx
for the lowest common ancestor; it takes no variants of a name, finds no fault in a report, and is timed on fewer
completions.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx

from skinrl.report import DiagnosticReport, DifferentialItem, option_letter
from skinrl.rewards import get_hierarchy_reward
from skinrl.taxonomy import Taxonomy, load_taxonomy

SIGNS = ("plaque", "papule", "nodule", "macule", "scale", "crust", "ulcer", "border", "network", "streak", "vessel")
KINDS = ("dark", "pale", "irregular", "regular", "waxy", "pearly", "scaly", "smooth", "raised", "sharp", "brown")


GROUP = 8
KINDS_OF_BATCH = (
    "names",
    "options",
    "weighted golds",
    "5 % misspelt",
    "misspelt",
    "unknown",
    "one text per group",
)


def finding(rng: random.Random, count: int) -> str:
    return " and ".join(f"{rng.choice(KINDS)} {rng.choice(SIGNS)}" for _ in range(count))


def report(rng: random.Random, taxonomy: Taxonomy, diagnosis: str, option: str = "") -> str:
    others = rng.sample(taxonomy.leaves, 2)
    return DiagnosticReport(
        diagnosis=diagnosis,
        malignancy=rng.choice(("benign", "malignant")),
        confidence=rng.randrange(101),
        findings=finding(rng, 3),
        differential=tuple(
            DifferentialItem(taxonomy.node(node).name, finding(rng, 1), finding(rng, 1)) for node in others
        ),
        reasoning=f"{finding(rng, 2)} favour it over {taxonomy.node(others[0]).name} by {rng.random():.9f}",
    ).render(option=option)


def misspelt(rng: random.Random, name: str) -> str:
    at = rng.randrange(1, len(name))
    return name[:at] + rng.choice("aeiourst") + name[at:]


def batch(kind: str, taxonomy: Taxonomy, count: int) -> dict[str, list[Any]]:
    """Columns as the trainer passes them, for one row of the table."""
    rng = random.Random(0)
    names = sorted(name for id in taxonomy.ids for name in (taxonomy.node(id).name, *taxonomy.node(id).synonyms))
    columns: dict[str, list[Any]] = {"completions": [], "gold_nodes": [], "gold_weights": []}
    columns |= {"options": [], "option_nodes": []}
    for index in range(count):
        if index % GROUP == 0:
            golds = rng.sample(taxonomy.leaves, 3 if kind == "weighted golds" else 1)
            weights = [rng.random() for _ in golds]
            offered = rng.sample([*golds[:1], *rng.sample(taxonomy.leaves, 3)], 4) if kind == "options" else []
        said, option = rng.choice(names), ""
        if offered:
            pick = rng.randrange(4)
            said, option = taxonomy.node(offered[pick]).name, option_letter(pick)
        elif kind == "misspelt" or (kind == "5 % misspelt" and rng.random() < 0.05):
            said = misspelt(rng, said)
        elif kind == "unknown":
            said = f"{rng.choice(KINDS)} disease {index}"
        text = report(rng, taxonomy, said, option)
        if kind == "one text per group" and index % GROUP:
            text = columns["completions"][-1][0]["content"]
        columns["completions"].append([{"role": "assistant", "content": text}])
        columns["gold_nodes"].append(golds)
        columns["gold_weights"].append([weight / sum(weights) for weight in weights])
        columns["options"].append([taxonomy.node(node).name for node in offered])
        columns["option_nodes"].append(offered)
    return columns


def stock_reward(taxonomy: Taxonomy) -> Callable[..., list[float]]:
    graph = nx.DiGraph(taxonomy.graph)
    names = {name.lower(): id for id in taxonomy.ids for name in (taxonomy.node(id).name, *taxonomy.node(id).synonyms)}
    pattern = re.compile(r"Diagnosis:\s*(?:[A-Z]\. )?(.*)")

    def reward(completions: list[Any], gold_nodes: list[list[str]], **columns: Any) -> list[float]:
        scores = []
        for completion, gold in zip(completions, gold_nodes, strict=True):
            match = pattern.search(completion[0]["content"])
            node = names.get(match[1].strip().lower()) if match else None
            shared = nx.lowest_common_ancestor(graph, node, gold[0]) if node else None
            scores.append(len(taxonomy.path(shared)) / len(taxonomy.path(gold[0])) if shared else 0.0)
        return scores

    return reward


def rate(reward: Callable[..., Any], columns: dict[str, list[Any]], clock: Callable[[], float]) -> float:
    start = clock()
    reward(**columns)
    return len(columns["completions"]) / (clock() - start)


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "low": round(min(values), 3),
        "high": round(max(values), 3),
    }


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    columns = batch(kind, load_taxonomy(), arguments.completions)
    few = {key: values[: max(1, arguments.completions // 20)] for key, values in columns.items()}
    stock, ours = [], []
    for _ in range(arguments.repeats):
        taxonomy = load_taxonomy()  # nothing is remembered from the repeat before
        stock.append(rate(stock_reward(taxonomy), few, clock))
        ours.append(rate(get_hierarchy_reward(taxonomy), columns, clock))
    texts = {completion[0]["content"] for completion in columns["completions"]}
    return {
        "diagnoses": kind,
        "completions": arguments.completions,
        "distinct_texts": len(texts),
        "characters": round(statistics.mean(map(len, texts))),
        "nodes": len(load_taxonomy()),
        "repeats": arguments.repeats,
        "clock": arguments.clock,
        "unit": "completions per second",
        "stock": spread(stock),
        "skinrl": spread(ours),
        "ratio": spread([a / b for a, b in zip(ours, stock, strict=True)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=10_000, help="in one batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: this process's time alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    rows = []
    print(f"{'diagnoses':30} {'stock/s':>9} {'skinrl/s':>9} {'low':>9} {'high':>9} {'ratio':>7}")
    for kind in KINDS_OF_BATCH:
        row = measure(kind, arguments)
        rows.append(row)
        ours = row["skinrl"]
        print(
            f"{kind:30} {row['stock']['median']:9.0f} {ours['median']:9.0f} {ours['low']:9.0f} {ours['high']:9.0f} "
            f"{row['ratio']['median']:7.1f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
