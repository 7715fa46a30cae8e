"""Write taxonomy/dermatology/scin_pairs.yaml: diseases that dermatologists listed together for one case of SCIN.

    python tools/mine_scin_pairs.py ../shared/data/scin/scin_labels.csv

Each case of SCIN (Ward et al. 2024, release 1.0.0) has a weighted differential by up to three dermatologists. Two
nodes that at least two cases list together are differential neighbours of one another; the number of those cases is
the place of the mark, `@scin:17`. Left out are pairs of which one is a kind of the other, the classes below the root,
and labels that leave open which of several nodes is meant. Counts of pairs are all that is kept; no case can be told
from them.

Only the tree and the label map count, not the pairs of an earlier run. Where a node of that run is gone, the taxonomy
does not load: write `nodes: {}` into the file first.
"""

from __future__ import annotations

import argparse
import ast
import csv
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

from skinrl.taxonomy import LabelMap, Taxonomy, load_label_map, load_taxonomy

OUTPUT = Path(__file__).resolve().parents[1] / "taxonomy" / "dermatology" / "scin_pairs.yaml"
LEAST = 2
#: Labels that name several diseases themselves; each of them was listed. Of other labels with several nodes the map
#: only says that one of them is meant.
NAMES_ALL = frozenset({"SCC/SCCIS"})
HEAD = """\
# Differential neighbours from SCIN: pairs of diseases that dermatologists listed together for at least {least} cases.
# Written by tools/mine_scin_pairs.py; the place of each mark is the number of cases. {pairs} pairs.
# SCIN is by Google Research and Stanford Medicine (Ward et al. 2024) under the SCIN Data Use License, without
# warranties (its section 5): https://github.com/google-research-datasets/scin. Counted from its labels; nothing
# else is taken.

nodes:
"""


def nodes_of(raws: Iterable[str], labels: LabelMap) -> dict[str, frozenset[str]]:
    """Raw label -> the nodes that it says for sure; labels that say none are left out."""
    found = {raw: frozenset(node for node, _ in labels.map(raw)) for raw in raws}
    return {raw: nodes for raw, nodes in found.items() if len(nodes) == 1 or (nodes and raw in NAMES_ALL)}


def are_neighbours(taxonomy: Taxonomy, one: str, other: str) -> bool:
    """Whether a pair says something: two diseases, neither a class below the root nor a kind of the other."""
    if one in taxonomy.classes or other in taxonomy.classes:
        return False
    return not (one == other or taxonomy.is_ancestor(one, other) or taxonomy.is_ancestor(other, one))


def count_pairs(cases: Iterable[Iterable[str]], labels: LabelMap) -> dict[tuple[str, str], int]:
    """Cases that list both nodes, for each unordered pair, by different labels; pairs below ``LEAST`` are left out."""
    counts: Counter[tuple[str, str]] = Counter()
    for raws in cases:
        pairs = set()
        for one, other in combinations(nodes_of(set(raws), labels).values(), 2):
            pairs |= {(min(a, b), max(a, b)) for a in one for b in other if are_neighbours(labels.taxonomy, a, b)}
        counts.update(pairs)
    return {pair: count for pair, count in sorted(counts.items()) if count >= LEAST}


def read_cases(path: Path) -> list[list[str]]:
    """The labels of each case, from the column of the weighted differential."""
    with path.open(encoding="utf-8", newline="") as stream:
        cells = [row["weighted_skin_condition_label"] for row in csv.DictReader(stream)]
    return [list(ast.literal_eval(cell)) for cell in cells if cell.strip()]


def as_yaml(counts: Mapping[tuple[str, str], int]) -> str:
    """The part file: each pair in both directions, the most frequent neighbour first."""
    neighbours: dict[str, dict[str, int]] = defaultdict(dict)
    for (one, other), count in counts.items():
        neighbours[one][other] = neighbours[other][one] = count
    lines = []
    for node, table in sorted(neighbours.items()):
        ordered = sorted(table.items(), key=lambda item: (-item[1], item[0]))
        inside = ", ".join(f'{other}:\0"@scin:{count}"' for other, count in ordered)
        wrapped = textwrap.wrap(inside, 111, break_long_words=False, break_on_hyphens=False)
        lines += [f"  {node}:", "    differential:", "      {" + "\n       ".join(wrapped) + "}"]
    return HEAD.format(least=LEAST, pairs=len(counts)) + "\n".join(lines).replace("\0", " ") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path, help="scin_labels.csv")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    labels = load_label_map("scin", load_taxonomy())
    counts = count_pairs(read_cases(given.table), labels)
    given.output.write_text(as_yaml(counts), encoding="utf-8")
    print(f"{given.output}: {len(counts)} pairs, {2 * len(counts)} edges")


if __name__ == "__main__":
    main()
