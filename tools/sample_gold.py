"""Draw the strings of the gold set for `resolve` from the shared text, always the same ones.

    python tools/sample_gold.py ../shared/data > candidates.tsv
    python tools/sample_gold.py ../shared/data tests/gold > candidates.tsv
    python tools/sample_gold.py ../shared/data tests/gold dev2 > candidates.tsv

The second form draws the second set for tuning (dev2): what is left when every case and document of the first two
files is taken away, and every text that stands in them. The third form draws the third one (dev3), of what the second
leaves.

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

SEED, SECOND_SEED, THIRD_SEED = 20240917, 77, 78
Place = tuple[str, str, int, int, str]
"""File, locator, first and last character, the text."""

DISEASE_CHAPTERS = ("ap_m46064", "ap_m46066", "micro_m58907", "micro_m58908", "micro_m58909", "micro_m58910")
ABBREVIATION = r"^[A-Z]{2,5}$"
BRITISH = r"(?i)\b(naev|haem|oedem|tumour|paed|anaem|leuc)"
NEGATION = r"(?i)\b(rule out|ruled out|exclud\w+|not|no|unlike|without)\b"
DENIAL = (
    r"(?i)exclu|\brul(e|ed|ing) out|rather than|unlike|differentia|distinguish|instead of|eliminat|\bden(y|ied)|"
    r"\b(not|n't|never|no) (be |an? |the |look|like|seem|considered|consistent|support|due|caused|"
    r"typical|sign|evidence)|"
    r"\w+n't (look|seem|be|think|appear)|(is|was|are)n't|\bnot\b[^.]*,? but"
)
SEVERAL = r"(?i)\?|\w/\w|\b(or|and)\b"
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


def first_sentences(data: Path, name: str, every: bool = False) -> Iterator[Place]:
    """Reddit answers are long: the diagnosis stands in the first sentence, treatment follows."""
    for file, locator, _, _, text in answers(data, name):
        for start, end in sentences(text):
            yield file, locator, start, end, text[start:end]
            if not every:
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


def openstax(data: Path, chapters: tuple[str, ...] = DISEASE_CHAPTERS) -> Iterator[Place]:
    for chapter in chapters:
        file = f"openstax_skin/{chapter}.md"
        for number, line in enumerate((data / file).read_text(encoding="utf-8").splitlines(), start=1):
            for start, end in sentences(line):
                yield file, f"L{number}", start, end, line[start:end]


def words_of(text: str) -> str:
    """A text but for case and marks."""
    return " ".join(re.findall(r"\w+", text.lower()))


def draw(
    rng: random.Random, places: Iterator[Place], count: int, seen: set[str], words: range, like: str = ""
) -> list[Place]:
    """`count` places at random: words in `words`, pattern `like` found, text (but for case, marks) not yet seen."""
    pool = [place for place in places if len(place[4].split()) in words and len(place[4]) <= 600]
    pool = [place for place in pool if re.search(like, place[4])]
    rng.shuffle(pool)
    drawn: list[Place] = []
    for place in pool:
        key = words_of(place[4])
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


def taken(data: Path, gold: Path, *more: str) -> tuple[set[tuple[str, str]], set[str]]:
    """File and case (or document) of each row of the first files, and the texts. Labels are not looked at."""
    rows = [
        line.split("\t")[1:4]
        for half in ("dev", "test", *more)
        for line in (gold / f"resolve_{half}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    ]
    texts = fields(data, {file for file, _, _ in rows})
    cases = {(file, case_of(locator)) for file, locator, _ in rows}
    strings = {words_of(texts[file, locator][slice(*map(int, span.split(":")))]) for file, locator, span in rows}
    return cases, strings


def fields(data: Path, files: set[str]) -> dict[tuple[str, str], str]:
    """Each field of the files as a whole, by file and locator."""
    found: dict[tuple[str, str], str] = {}
    for file in files:
        path = data / file
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.suffix == ".md":
            found |= {(file, f"L{number}"): line for number, line in enumerate(lines, start=1)}
            continue
        for entry in map(json.loads, lines):
            if "doc" in entry:
                key = entry["doc"]
                found[file, f"{key}#focus"] = entry["focus"]
                found |= {(file, f"{key}#{place}"): text for place, text in _numbered(entry["synonyms"])}
                found |= {(file, f"{key}#qa/{at}"): pair["answer"] for at, pair in enumerate(entry["qa"])}
            else:
                key = entry["encounter_id"]
                found[file, f"{key}#title"] = entry.get("query_title_en") or ""
                found |= {(file, f"{key}#{at}"): reply["content_en"] for at, reply in enumerate(entry["responses"])}
    return found


def case_of(locator: str) -> str:
    """Lines of a textbook have no case: the chapter is the document."""
    return locator.partition("#")[0] if "#" in locator else ""


def of_new_cases(cases: set[tuple[str, str]], *sources: Iterator[Place]) -> Iterator[Place]:
    for source in sources:
        yield from (place for place in source if (place[0], case_of(place[1])) not in cases)


def second_sample(data: Path, gold: Path) -> list[Place]:
    """Mostly free text with denial, comparison and several diseases; no case, document or text of the first files."""
    rng = random.Random(SECOND_SEED)
    cases, seen = taken(data, gold)

    def free(*sources: Iterator[Place]) -> Iterator[Place]:
        return of_new_cases(cases, *sources)

    iiyi_files = ("iiyi_train_en.jsonl", "iiyi_valid_en.jsonl")
    reddit_files = ("reddit_train_answers_en.jsonl", "reddit_valid_answers_en.jsonl")

    def iiyi() -> Iterator[Place]:
        return free(*(answers(data, name) for name in iiyi_files))

    def reddit(every: bool = False) -> Iterator[Place]:
        return free(*(first_sentences(data, name, every) for name in reddit_files))

    return [
        *draw(rng, iiyi(), 115, seen, range(4, 60), DENIAL),
        *draw(rng, iiyi(), 100, seen, range(4, 60), SEVERAL),
        *draw(rng, iiyi(), 40, seen, range(4, 60)),
        *draw(rng, reddit(every=True), 30, seen, range(3, 60), DENIAL),
        *draw(rng, reddit(), 35, seen, range(3, 60)),
        *draw(rng, iiyi(), 65, seen, range(1, 4)),
        *draw(rng, free(*(titles(data, name) for name in iiyi_files)), 15, seen, range(1, 30)),
        *draw(rng, free(medquad(data, names=True)), 35, seen, range(1, 20)),
        *draw(rng, free(medquad(data, names=False)), 12, seen, range(4, 60)),
        *draw(rng, free(openstax(data, ("ap_m46060", "ap_m46062", "micro_m58906"))), 5, seen, range(4, 60)),
    ]


def third_sample(data: Path, gold: Path) -> list[Place]:
    """Answers in the mix of the first draw, no kind picked; no case, document or text of the first three files."""
    rng = random.Random(THIRD_SEED)
    cases, seen = taken(data, gold, "dev2")

    def iiyi() -> Iterator[Place]:
        names = ("iiyi_train_en.jsonl", "iiyi_valid_en.jsonl")
        return of_new_cases(cases, *(answers(data, name) for name in names))

    def reddit() -> Iterator[Place]:
        names = ("reddit_train_answers_en.jsonl", "reddit_valid_answers_en.jsonl")
        return of_new_cases(cases, *(first_sentences(data, name) for name in names))

    return [
        *draw(rng, iiyi(), 115, seen, range(1, 4)),
        *draw(rng, iiyi(), 85, seen, range(4, 9)),
        *draw(rng, iiyi(), 60, seen, range(9, 60)),
        *draw(rng, reddit(), 40, seen, range(3, 60)),
    ]


def main() -> None:
    data, *gold = map(Path, sys.argv[1:3])
    later = third_sample if sys.argv[3:] == ["dev2"] else second_sample
    places = later(data, *gold) if gold else sample(data)
    for file, locator, start, end, text in places:
        short = sha256(text.encode("utf-8")).hexdigest()[:12]
        print("\t".join([file, locator, f"{start}:{end}", short, " ".join(text.split())]))


if __name__ == "__main__":
    main()
