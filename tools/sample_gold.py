"""Draw the strings of the gold set for `resolve` from the shared text, always the same ones.

    python tools/sample_gold.py ../shared/data > candidates.tsv

Each line is a place (file, locator, span), a short hash, and the text for the person who labels. Strings are drawn at
random within strata (source and number of words), so that short names, sentences and lists of several diseases all
come up; a text that occurs often is drawn at most once. Nothing here knows the taxonomy or the resolver.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

SEED = 20240917
Place = tuple[str, str, int, int, str]
"""File, locator, first and last character, the text."""

DISEASE_CHAPTERS = ("ap_m46064", "ap_m46066", "micro_m58907", "micro_m58908", "micro_m58909", "micro_m58910")
ABBREVIATION = r"^[A-Z]{2,5}$"
BRITISH = r"(?i)\b(naev|haem|oedem|tumour|paed|anaem|leuc)"
NEGATION = r"(?i)\b(rule out|ruled out|exclud\w+|not|no|unlike|without)\b"
SENTENCE = re.compile(r"[^\s.!?][^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]?")


def sentences(text: str) -> Iterator[tuple[int, int]]:
    for found in SENTENCE.finditer(text):
        if 30 <= found.end() - found.start() <= 260:
            yield found.start(), found.end()


def answers(data: Path, name: str) -> Iterator[Place]:
    """Doctors' answers, each whole: a short one is a name, a long one a line of free text."""
    file = f"dermavqa_text/{name}"
    for line in (data / file).read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        for index, response in enumerate(case["responses"]):
            text = response["content_en"]
            yield file, f"{case['encounter_id']}#{index}", 0, len(text), text


def titles(data: Path, name: str) -> Iterator[Place]:
    file = f"dermavqa_text/{name}"
    for line in (data / file).read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        text = case["query_title_en"]
        yield file, f"{case['encounter_id']}#title", 0, len(text), text


def first_sentences(data: Path, name: str) -> Iterator[Place]:
    """Reddit answers are long: the diagnosis stands in the first sentence, treatment follows."""
    for file, locator, _, _, text in answers(data, name):
        for start, end in sentences(text):
            yield file, locator, start, end, text[start:end]
            break


def medquad(data: Path, names: bool) -> Iterator[Place]:
    file = "medquad_skin/medquad_skin.jsonl"
    for line in (data / file).read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        key = document["doc"]
        if names:
            for place, text in (("focus", document["focus"]), *_numbered(document["synonyms"])):
                yield file, f"{key}#{place}", 0, len(text), text
            continue
        for index, pair in enumerate(document["qa"]):
            for start, end in sentences(pair["answer"]):
                yield file, f"{key}#qa/{index}", start, end, pair["answer"][start:end]


def _numbered(synonyms: list[str]) -> Iterator[tuple[str, str]]:
    for index, text in enumerate(synonyms):
        yield f"synonyms/{index}", text


def openstax(data: Path) -> Iterator[Place]:
    for chapter in DISEASE_CHAPTERS:
        file = f"openstax_skin/{chapter}.md"
        for number, line in enumerate((data / file).read_text(encoding="utf-8").splitlines(), start=1):
            for start, end in sentences(line):
                yield file, f"L{number}", start, end, line[start:end]


def draw(
    rng: random.Random, places: Iterator[Place], count: int, seen: set[str], words: range, like: str = ""
) -> list[Place]:
    """`count` places at random: words in `words`, pattern `like` found, text (but for case, marks) not yet seen."""
    pool = [place for place in places if len(place[4].split()) in words and len(place[4]) <= 600]
    pool = [place for place in pool if re.search(like, place[4])]
    rng.shuffle(pool)
    drawn: list[Place] = []
    for place in pool:
        key = " ".join(re.findall(r"\w+", place[4].lower()))
        if key and key not in seen and len(drawn) < count:
            seen.add(key)
            drawn.append(place)
    return drawn


def sample(data: Path) -> list[Place]:
    rng = random.Random(SEED)
    seen: set[str] = set()
    train, valid = "iiyi_train_en.jsonl", "iiyi_valid_en.jsonl"

    def iiyi() -> Iterator[Place]:
        yield from answers(data, train)
        yield from answers(data, valid)

    def reddit() -> Iterator[Place]:
        yield from first_sentences(data, "reddit_train_answers_en.jsonl")
        yield from first_sentences(data, "reddit_valid_answers_en.jsonl")

    return [
        *draw(rng, iiyi(), 190, seen, range(1, 4)),
        *draw(rng, iiyi(), 140, seen, range(4, 9)),
        *draw(rng, iiyi(), 100, seen, range(9, 60)),
        *draw(rng, titles(data, train), 25, seen, range(1, 30)),
        *draw(rng, titles(data, valid), 5, seen, range(1, 30)),
        *draw(rng, reddit(), 70, seen, range(3, 60)),
        *draw(rng, medquad(data, names=True), 110, seen, range(1, 20)),
        *draw(rng, medquad(data, names=False), 35, seen, range(4, 60)),
        *draw(rng, openstax(data), 45, seen, range(4, 60)),
        # Kinds of string that are rare in a plain sample.
        *draw(rng, medquad(data, names=True), 25, seen, range(1, 2), ABBREVIATION),
        *draw(rng, medquad(data, names=True), 15, seen, range(1, 20), r"[(,]"),
        *draw(rng, medquad(data, names=True), 5, seen, range(1, 20), BRITISH),
        *draw(rng, iiyi(), 45, seen, range(3, 60), NEGATION),
        *draw(rng, iiyi(), 15, seen, range(1, 60), r"\(.+\)"),
        *draw(rng, iiyi(), 8, seen, range(1, 60), r"\w/\w"),
        *draw(rng, reddit(), 12, seen, range(3, 60), NEGATION),
    ]


def main() -> None:
    for file, locator, start, end, text in sample(Path(sys.argv[1])):
        short = sha256(text.encode("utf-8")).hexdigest()[:12]
        print("\t".join([file, locator, f"{start}:{end}", short, " ".join(text.split())]))


if __name__ == "__main__":
    main()
