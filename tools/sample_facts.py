"""Draw facts of the taxonomy at random, each with the text of its source beside it, for a person to audit.

    python tools/sample_facts.py ../shared/data --seed 20261122 > audit.txt

One hundred marked facts (a source and a place; `editorial` ones have nothing to be held against), always the same for
one seed and one state of the taxonomy: at least ten of each kind (synonyms, codes, parents, behaviour, morphology,
differential), the rest at random from all. A share over all of them is not the share of the whole file, so report it
by kind too. `--editorial` draws the parents and behaviours that no source states instead, to be read by themselves.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from skinrl.taxonomy import Taxonomy, load_label_map
from skinrl.taxonomy.loader import load_with_places

COUNT, AT_LEAST = 100, 10
KINDS = ("synonyms", "codes", "parents", "behaviour", "morphology", "differential")
AROUND = 160


@dataclass(frozen=True)
class Fact:
    """One fact by one source: `value` is what is stated of `node`, `place` where in the source it is said to stand."""

    kind: str
    node: str
    value: str
    source: str
    place: str
    line: str


def facts(taxonomy: Taxonomy, places: dict[str, dict[str, str]]) -> Iterator[Fact]:
    for id in taxonomy.ids:
        node = taxonomy.node(id)
        whys = {other.node: other.why for other in node.differential}
        for scheme, code in node.codes.items():
            yield Fact("codes", id, code, {"DOID": "do"}.get(scheme, scheme.lower()), code, places[id][""])
        for fact, keys in node.sources.items():
            kind, _, value = fact.partition(".")
            if kind == "behaviour":
                value = node.behaviour or ""
            elif kind == "differential":
                value = f"{value}: {whys.get(value, '')}"
            for key, place in zip(keys, node.locators[fact], strict=True):
                if kind in KINDS and taxonomy.sources[key].get("reviewed"):
                    yield Fact(kind, id, value, key, place, places[id].get(fact, places[id][""]))


def editorial(taxonomy: Taxonomy, places: dict[str, dict[str, str]]) -> Iterator[Fact]:
    """The placement and behaviour of nodes that rest on nobody but the maintainers."""
    for id in taxonomy.ids:
        node = taxonomy.node(id)
        for fact, keys in node.sources.items():
            kind, _, value = fact.partition(".")
            if kind in ("parents", "behaviour") and not any(taxonomy.sources[key].get("reviewed") for key in keys):
                value = value or node.behaviour or ""
                yield Fact(kind, id, value, " ".join(keys), "", places[id].get(fact, places[id][""]))


def draw(pool: list[Fact], seed: int) -> list[Fact]:
    rng = random.Random(seed)
    rng.shuffle(pool)
    by_kind = defaultdict(list)
    for fact in pool:
        by_kind[fact.kind].append(fact)
    drawn = [fact for kind in KINDS for fact in by_kind[kind][:AT_LEAST]]
    rest = [fact for kind in KINDS for fact in by_kind[kind][AT_LEAST:]]
    return drawn + rng.sample(rest, min(len(rest), COUNT - len(drawn)))


class Sources:
    """The texts of the sources, each looked up by the place in it."""

    def __init__(self, data: Path, taxonomy: Taxonomy) -> None:
        self.data, self.taxonomy = data, taxonomy

    def text(self, fact: Fact) -> str:
        readers: dict[str, Callable[[Fact], str]] = {
            "do": self._do,
            "mesh": self._mesh,
            "medquad": self._medquad,
            "openstax": self._openstax,
            "scin": self._scin,
            "derm12345": lambda fact: self._rows("derm12345_taxonomy/taxonomy.csv", fact),
            "fitzpatrick17k": lambda fact: self._rows("label_lists/fitzpatrick17k_3_9_114.csv", fact),
        }
        reader = readers.get(fact.source)
        if reader is None:
            return "(not in the shared data: look at " + str(self.taxonomy.sources[fact.source].get("where")) + ")"
        return reader(fact) or f"NOTHING FOUND at {fact.place or 'no place'}"

    def _do(self, fact: Fact) -> str:
        term = self._terms().get(fact.place, {})
        return "; ".join(f"{key}: {term[key]}" for key in ("name", "parents", "synonyms", "definition") if key in term)

    @cache  # noqa: B019 - one object for one run
    def _terms(self) -> dict[str, dict[str, object]]:
        lines = (self.data / "disease_ontology/do_skin_subset.jsonl").read_text(encoding="utf-8").splitlines()
        return {term["id"]: term for term in map(json.loads, lines)}

    def _mesh(self, fact: Fact) -> str:
        with (self.data / "mesh_skin/mesh_skin_tree.tsv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        names = {row["tree_number"]: row["mesh_name"] for row in rows}
        own = [row for row in rows if f"MESH:{row['mesh_id']}" == fact.place]
        return "; ".join(
            f"{row['mesh_name']}, below {names.get(row['tree_number'].rpartition('.')[0], '(top)')}" for row in own
        )

    def _medquad(self, fact: Fact) -> str:
        for line in (self.data / "medquad_skin/medquad_skin.jsonl").read_text(encoding="utf-8").splitlines():
            document = json.loads(line)
            if document["doc"] == fact.place:
                head = f"{document['focus']} = {'; '.join(document['synonyms'])}"
                answers = "\n".join(pair["answer"] for pair in document["qa"])
                return head + self._around(answers, fact)
        return ""

    def _openstax(self, fact: Fact) -> str:
        name, _, line = fact.place.partition(":")
        path = self.data / "openstax_skin" / name
        if not path.is_file():
            return ""
        lines = path.read_text(encoding="utf-8").splitlines()
        if not line:
            return self._around("\n".join(lines), fact)
        return lines[int(line) - 1] if 0 < int(line) <= len(lines) else ""

    def _scin(self, fact: Fact) -> str:
        """In how many cases SCIN's dermatologists list labels of both diseases, by the label map; and which labels."""
        other = fact.value.partition(":")[0]
        pairs: Counter[tuple[str, str]] = Counter()
        cases = 0
        for labels in self._cases():
            ours, theirs = ({raw for raw in labels if node in self._nodes(raw)} for node in (fact.node, other))
            pairs.update((one, two) for one in ours for two in theirs)
            cases += bool(ours and theirs)
        return f"{cases} cases: " + "; ".join(f"{a} with {b}: {count}" for (a, b), count in pairs.most_common(5))

    @cache  # noqa: B019 - one object for one run
    def _cases(self) -> list[set[str]]:
        with (self.data / "scin/scin_labels.csv").open(encoding="utf-8") as file:
            cells = [row["weighted_skin_condition_label"] for row in csv.DictReader(file)]
        return [set(ast.literal_eval(cell)) for cell in cells if cell]

    @cache  # noqa: B019 - one object for one run
    def _nodes(self, raw: str) -> set[str]:
        return {node for node, _ in load_label_map("scin", self.taxonomy).map(raw)}

    def _rows(self, file: str, fact: Fact) -> str:
        lines = (self.data / file).read_text(encoding="utf-8").splitlines()
        return "; ".join([lines[0], *(line for line in lines[1:] if _named(fact.node, line))][:8])

    def _around(self, text: str, fact: Fact) -> str:
        """The passages with most words of the value, or of the name where the value has none in the text."""
        words = [*re.findall(r"[a-z]{4,}", fact.value.lower()), *re.findall(r"[a-z]{3}", fact.value.lower())[:1]]
        hits: Counter[int] = Counter()
        for word in words:
            for found in re.finditer(re.escape(word[:-1] if len(word) > 5 else word), text.lower()):
                hits[found.start() // AROUND] += 1
        best = sorted(place for place, _ in hits.most_common(3))
        return "".join(f"\n    ... {text[max(0, at - 1) * AROUND : (at + 2) * AROUND]} ..." for at in best)


def _named(node: str, text: str) -> bool:
    """Whether a text holds the words of a node's id: rough, for showing rows to a person."""
    return all(word[:5] in text.lower() for word in node.split("_") if len(word) > 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the sources")
    parser.add_argument("--taxonomy", default="dermatology", help="name or file (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20261122, help="of the draw (default: %(default)s)")
    parser.add_argument("--editorial", action="store_true", help="parents and behaviours without a source instead")
    given = parser.parse_args()
    taxonomy, places = load_with_places(given.taxonomy)
    pool = list((editorial if given.editorial else facts)(taxonomy, places))
    print(f"{taxonomy.name} {taxonomy.checksum}, seed {given.seed}: {dict(Counter(fact.kind for fact in pool))} facts")
    sources = Sources(given.data, taxonomy)
    for number, fact in enumerate(draw(pool, given.seed), start=1):
        print(f"\n{number}. [{fact.kind}] {fact.node}: {fact.value}   @{fact.source}:{fact.place}   {fact.line}")
        if given.editorial:
            print(f"    {' > '.join(taxonomy.path(fact.node))}; {taxonomy.behaviour(fact.node)}")
        else:
            print(f"    {sources.text(fact)}")


if __name__ == "__main__":
    main()
