"""Strings that the taxonomy reads in a second on one core, listed names and misspelt ones.

    python benchmarks/resolve.py
    python benchmarks/resolve.py --json rows.json --strings 50000 --repeats 7

No two strings of a batch are equal, and the resolver has seen none of them before: a ``first`` row measures reading,
not remembering. An ``again`` row asks for the same batch once more, which the memory of past answers serves as far as
it reaches. Listed names differ from the file in case, spaces, hyphens, plurals and articles. Misspelt ones have one
letter changed, left out, doubled or swapped in a name; a part of them is refused, which takes as long. Unknown ones
are made of words that no name holds. ``stock`` is the plain way: a dictionary of lower-case names, then the best of
rapidfuzz's ``extractOne`` over all names, one string at a time, timed on fewer strings.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz, process

from skinrl.taxonomy import Taxonomy, load_taxonomy
from skinrl.taxonomy.text import normal_token

KINDS = ("listed", "misspelt", "unknown", "free text")
REQUIRED = {"listed": 200_000, "misspelt": 5_000}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
STOCK_SHARE = 50  # the plain way is timed on one string in so many


def names_of(taxonomy: Taxonomy) -> list[str]:
    return sorted({name for id in taxonomy.ids for name in (taxonomy.node(id).name, *taxonomy.node(id).synonyms)})


def listed(rng: random.Random, names: Sequence[str]) -> str:
    name = rng.choice(names)
    words = [rng.choice((word, word.title(), word.upper(), word.lower())) for word in name.split(" ")]
    text = rng.choice((" ", "  ", "-", "_", " - ")).join(words)
    return rng.choice(("", "", "the ", " ", '"')) + text + rng.choice(("", "s", ".", " ", "!", '"', "\t"))


def misspelt(rng: random.Random, names: Sequence[str]) -> str:
    name = rng.choice(names)
    at = rng.randrange(1, len(name))
    changes = (
        name[:at] + rng.choice(LETTERS) + name[at + 1 :],
        name[:at] + name[at + 1 :],
        name[:at] + name[at - 1] + name[at:],
        name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :],
    )
    return rng.choice(changes)


def unknown(rng: random.Random, names: Sequence[str]) -> str:
    return " ".join("".join(rng.choices(LETTERS, k=rng.randint(4, 11))) for _ in range(rng.randint(1, 3)))


def free_text(rng: random.Random, names: Sequence[str]) -> str:
    frames = ("Most likely {}, would not exclude {}.", "No sign of {}; {}?", "This looks like {}, not {}.")
    return rng.choice(frames).format(*rng.sample(names, 2))


def batch(kind: str, taxonomy: Taxonomy, count: int) -> list[str]:
    """Distinct strings of one kind; of ``listed``, only those that are read as a listed name."""
    rng, names = random.Random(0), names_of(taxonomy)
    make = {"listed": listed, "misspelt": misspelt, "unknown": unknown, "free text": free_text}[kind]
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = make(rng, names)
        match = taxonomy.resolve(text) if kind in ("listed", "misspelt") else None
        if kind not in ("listed", "misspelt") or (match is not None and match.listed) == (kind == "listed"):
            texts[text] = None
    return list(texts)


def rate(read: Callable[[], Any], count: int, clock: Callable[[], float]) -> float:
    start = clock()
    read()
    return count / (clock() - start)


def plain_way(names: Sequence[str], texts: Sequence[str]) -> list[str | None]:
    exact = {name.lower(): name for name in names}
    choices = list(exact)
    found = []
    for text in texts:
        near = exact.get(text.lower()) or process.extractOne(text.lower(), choices, scorer=fuzz.ratio, score_cutoff=85)
        found.append(near if near is None or isinstance(near, str) else near[0])
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "low": round(min(values), 3),
        "high": round(max(values), 3),
    }


def measure(kind: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one kind: the first reading of a batch, and the same batch again."""
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    texts = batch(kind, load_taxonomy(), arguments.strings)
    few = texts[::STOCK_SHARE]
    rates: dict[str, list[float]] = {"first": [], "again": [], "stock": []}
    for _ in range(arguments.repeats):
        taxonomy = load_taxonomy()  # nothing is remembered from the repeat before, nor from making the batch
        names = names_of(taxonomy)
        read = partial(read_all, kind, taxonomy, texts)
        normal_token.cache_clear()
        rates["first"].append(rate(read, len(texts), clock))
        rates["again"].append(rate(read, len(texts), clock))
        rates["stock"].append(rate(partial(plain_way, names, few), len(few), clock))
    common = {
        "strings": kind,
        "count": len(texts),
        "distinct": len(set(texts)),
        "read_share": share_read(kind, texts),
        "names": len(names_of(load_taxonomy())),
        "repeats": arguments.repeats,
        "clock": arguments.clock,
        "unit": "strings per second",
        "required": REQUIRED.get(kind),
    }
    stock = rates["stock"]
    return [
        common
        | {"memory": memory, "stock": spread(stock), "skinrl": spread(rates[memory])}
        | {"ratio": spread([ours / plain for ours, plain in zip(rates[memory], stock, strict=True)])}
        for memory in ("first", "again")
    ]


def read_all(kind: str, taxonomy: Taxonomy, texts: Sequence[str]) -> list[Any]:
    return list(map(taxonomy.asserted, texts)) if kind == "free text" else taxonomy.resolve_many(texts)


def share_read(kind: str, texts: Sequence[str]) -> float:
    """Share of the strings in which at least one node was read."""
    return round(sum(map(bool, read_all(kind, load_taxonomy(), texts))) / len(texts), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strings", type=int, default=20_000, help="in one batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: this process's time alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    rows = []
    print(
        f"{'strings':10} {'memory':7} {'read':>6} {'stock/s':>9} {'skinrl/s':>10} {'low':>10} {'high':>10} "
        f"{'needed':>8}"
    )
    for kind in KINDS:
        for row in measure(kind, arguments):
            rows.append(row)
            ours = row["skinrl"]
            print(
                f"{kind:10} {row['memory']:7} {row['read_share']:6.1%} {row['stock']['median']:9.0f} "
                f"{ours['median']:10.0f} {ours['low']:10.0f} {ours['high']:10.0f} {row['required'] or '':>8}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
