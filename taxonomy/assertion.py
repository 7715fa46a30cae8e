"""Which of the diseases named in free text are said or suspected, and which are denied.

A reading by cues and their reach within a sentence, after NegEx (Chapman et al. 2001, J Biomed Inform 34:301-310) and
its extension ConText (Harkema et al. 2009, J Biomed Inform 42:839-851), with cues for the way in which doctors write
about photographs of skin. "Would not exclude tinea" keeps tinea: it stays in the differential.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

from skinrl.taxonomy.lexicon import Lexicon, Span
from skinrl.taxonomy.text import normal_token, plain
from skinrl.taxonomy.wording import AFTER, BEFORE, CLAIMS, HELD, NO_SIGN, REFUTED, STOP

Spelt = Callable[[str], str]

_SENTENCE = re.compile(r"[.!?;\n]+(?=\s|$)|[!?;\n。；？！]+|\.(?=[A-Z])")
_PIECE = re.compile(r"[,:()\[\]，、：（）]|\s[-–—|]\s")
_WORD = re.compile(r"[A-Za-z0-9]+")

_IS = re.compile(r"\b(it|that|this|there|what|here)['’`´]s\b", re.IGNORECASE)  # no possessive

# "An eczematous lesion" says eczema.
_NOUNS = {"eczematous": "eczema", "urticarial": "urticaria", "psoriatic": "psoriasis"}
_SKIN_CHANGES = frozenset({"lesion", "rash", "eruption", "plaque", "patch", "change", "reaction", "skin"})
_DISEASES = ("itis", "osis", "asis", "oma", "ema", "acea", "igo", "phigus", "phigoid")
# Told as signs of another disease, asked about or complained of, these name none; and some are verbs.
_SHOWN = frozenset({"blister", "scratch"})  # seen in the picture, unlike an itch
_SIGNS = _SHOWN | {"itch", "itching", "itchy", "itchiness", "skin", "mark"}
_CAUSE = re.compile(r"\b(?:due to|caused by|because of)\W+(?:the )?$")
_ASKS = re.compile(
    r"\W*(?:what|which|why|how|does|do|is|are|can|could)\b|.*\b(?:(?:can|could) (?:any|some)(?:one|body)|help me)\b",
    re.IGNORECASE,
)
_VERBS = frozenset({"burn", "scratch", "itch", "scar", "blister"})
_BEFORE_VERB = frozenset(
    {"to", "not", "dont", "doesnt", "does", "do", "can", "will", "may", "you", "they", "we", "i", "itch"}
)
_BEHIND_VERB = frozenset({"it", "them", "off", "your", "easily"})
# Lice that do one of these are animals, no disease.
_ANIMALS = frozenset({"louse", "mite"})
_LIVE = frozenset({"feed", "live", "lay", "hatch", "crawl", "jump", "fly", "bite"})
_NO_NAME = ("skin dry", "dry the skin", "dry your skin")  # what to do, or what a gel does
# A germ that is given as the diagnosis: "consider fungus".
_GERMS = {"fungus": "fungal infection"}
_SUSPECTS = re.compile(
    r"(?:\bconsider(?:ing)?|\bsuspect(?:ed)?|\b(?:is|be)|\blike|likely|possibly|^)\W+(?:an? |some )?$", re.IGNORECASE
)
# Behind a name these make a thing of it ("burn ointment"), as "anti" does before one.
_OTHER_THINGS = frozenset(
    {"ointment", "cream", "gel", "lotion", "shampoo", "drug", "medication", "vaccine", "virus", "clinic", "department"}
    | {
        "dressing",
        "plaster",
        "product",
        "mite",
        "beetle",
        "gene",
        "fighting",
        "prone",
        "medicine",
        "mutation",
        "cleanser",
        "extractor",
        "foundation",
        "unit",
        "revision",
        "remodeling",
    }
)
_HEAD_OF = re.compile(r"\b([A-Za-z]+) of (?:the )?([A-Za-z]+(?:(?:, (?:and |or )?| and | or )[A-Za-z]+)+)")
_COMMA_AND = re.compile(r", (?:and |or )?| and | or ")
_SHORT = re.compile(r"[A-Z]{2,6}")
_OTHER = r"(?!(?:to|by|from|with|due)\b)\w+ "  # not "a rash related to"
_IS_A = re.compile(rf",? (?:which |that )?(?:is |are )an? (?:{_OTHER}){{0,4}}|, an? (?:{_OTHER}){{1,4}}")
# "It is a special type of tinea" says what was named before, whatever follows.
_KIND_OF = re.compile(
    r"(?:\b(?:it|this|that|which) (?:is|are)|,) (?:\w+ly )?an? (?:\w+ ){0,3}?(?:type|kind|form|variant|subtype) of "
    r"(?:an? |the )?(?:\w+ )?$",
    re.IGNORECASE,
)
_OR = re.compile(r",? (?:or|and)\b")
_QUOTED = re.compile(r"\b(?:so-?called|input|word|term|text|phrase) [\"“]\s*(?:\w+ )?$", re.IGNORECASE)
_UNQUOTED = re.compile(r"[^\"“”]{0,20}(?:[\"”]|$)")
_OPENED = re.compile(r"\s*[(\[]\s*(?:\w+\s+)?")
# A comma before one of these does not end what a cue reaches: "history of skin disease, particularly acne".
_SUCH_AS = re.compile(r", (?=(?:particularly|especially|specifically|including|such as|like)\b)")
_FIRST_REACH = 6  # words between a cue and the first name that it denies
_AND = frozenset({"and", "or", "nor", "/", "a", "an", "the", "&", "+"})
_NEXT_REACH = 3  # words between two names of one denied list


class NamedNode(NamedTuple):
    """A name in the text: characters ``start`` to ``stop`` of the text without accents and apostrophes."""

    start: int
    stop: int
    node: str


def asserted_spans(text: str, lexicon: Lexicon, spelt: Spelt) -> list[NamedNode]:
    """The names in ``text`` that are said or suspected to be the disease, from left to right.

    Args:
        spelt: a normal word without its typing error, or the word itself where none can be told.
    """
    found: list[_Said] = []
    signs: list[NamedNode] = []
    refuted: set[str] = set()
    text = plain(_IS.sub(r"\1 is", text))
    for start, stop in _between(_SENTENCE, text):
        sentence = text[start:stop]
        names = sorted(_names(sentence, lexicon, spelt))
        denied = _denied(text[start : stop + 1].lower(), names) if names else set()
        asked = text[stop : stop + 1] == "?" or _ASKS.match(sentence) is not None
        for name in names:
            before = sentence[: name.start].lower()
            moved = NamedNode(start + name.start, start + name.stop, name.node)
            if name in denied:
                refuted.update([name.node] if REFUTED.search(before) else [])
                continue
            if _says_again(name, names, sentence, lexicon):
                continue
            narrower = any(said.name.node in lexicon.above[name.node] for said in found)
            if found and not narrower and _KIND_OF.search(sentence[: name.start]):
                continue
            if _only_quoted(name, sentence):
                continue
            claimed = CLAIMS.search(before) is not None
            words = {normal_token(word) for word in _WORD.findall(sentence[name.start : name.stop].lower())}
            alone = sentence.strip(" *#\n") == sentence[name.start : name.stop]
            if not words <= _SIGNS or (_CAUSE.search(before) and _SHOWN.isdisjoint(words)):
                found.append(_Said(moved, start, claimed))
            elif (alone or not asked) and not NO_SIGN.search(before):
                signs += [moved] if alone or claimed or not _SHOWN.isdisjoint(words) else []
    return _without_refuted(found, refuted, lexicon) or signs


class _Said(NamedTuple):
    name: NamedNode
    sentence: int
    claimed: bool  # words before say that it is the diagnosis, or may be


def _without_refuted(found: list[_Said], refuted: set[str], lexicon: Lexicon) -> list[NamedNode]:
    """ "Psoriasis? How could it be psoriasis? Psoriasis is scaly." speaks of psoriasis and does not say it.

    Nor does it say what psoriasis is a kind of, where it explains that.
    """
    dropped = [one for one in found if one.name.node in refuted and not one.claimed]
    above = {(one.sentence, wider) for one in dropped for wider in lexicon.above[one.name.node]}
    return [one.name for one in found if one not in dropped and (one.sentence, one.name.node) not in above]


def _between(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Stretches of ``text`` between the matches of ``pattern``."""
    start = 0
    for match in pattern.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _names(sentence: str, lexicon: Lexicon, spelt: Spelt) -> Iterator[NamedNode]:
    whole = list(_across_commas(sentence, lexicon)) if "," in sentence else []
    for start, stop in _between(_PIECE, sentence):
        places = list(_WORD.finditer(sentence, start, stop))
        raw = [place[0] for place in places]
        words = [normal_token(word.lower()) for word in raw]
        for at in range(len(words) - 1):
            if words[at] in _NOUNS and words[at + 1] in _SKIN_CHANGES:
                words[at] = _NOUNS[words[at]]
        spans = lexicon.spans(words, raw)
        if mended := _mended(words, spans, spelt):
            better = [span for span in lexicon.spans(mended, raw) if _surely(span, words, mended)]
            taken = {at for span in better for at in range(span.start, span.stop)}
            spans = [*better, *(span for span in spans if taken.isdisjoint(range(span.start, span.stop)))]
        spans = [*spans, *lexicon.coordinated(spans, words)]
        if words and words[-1] in _GERMS and _SUSPECTS.search(sentence[start : places[-1].start()]):
            germ = lexicon.node_of(_GERMS[words[-1]])
            spans += [Span(len(words) - 1, len(words), germ)] if germ is not None else []
        for span in sorted(spans):
            first, last = places[span.start].start(), places[span.stop - 1].end()
            inside = any(name.start <= first < name.stop for name in whole)
            if not inside and sentence[last : last + 5] != "-like" and not _is_thing(span, words):
                yield NamedNode(first, last, span.node)
    yield from whole
    yield from _listed_behind(sentence, lexicon)


def _listed_behind(sentence: str, lexicon: Lexicon) -> Iterator[NamedNode]:
    """The second and later of several names with one head in front: "bites of mosquitoes, fleas and bedbugs"."""
    for found in _HEAD_OF.finditer(sentence):
        first = found.start(2)
        items = [(first + start, first + stop) for start, stop in _between(_COMMA_AND, found[2])]
        nodes = [lexicon.node_of_any(f"{sentence[start:stop]} {found[1]}") for start, stop in items]
        for (start, stop), node in zip(items[1:], nodes[1:], strict=True):
            if nodes[0] is not None and node is not None:
                yield NamedNode(start, stop, node)


def _across_commas(sentence: str, lexicon: Lexicon) -> Iterator[NamedNode]:
    """Names that hold a comma: as the file writes them, or turned round ("porokeratosis, superficial actinic")."""
    places = list(_WORD.finditer(sentence))
    words = [normal_token(place[0].lower()) for place in places]
    commas = [at for at in range(1, len(places)) if "," in sentence[places[at - 1].end() : places[at].start()]]
    for span in lexicon.with_commas(words, commas):
        yield NamedNode(places[span.start].start(), places[span.stop - 1].end(), span.node)


def _is_thing(span: Span, words: list[str]) -> bool:
    """Whether the words make another thing of a name: an ointment, an animal, a mark, what somebody does."""
    behind = words[span.stop : span.stop + 1]
    return (
        (span.start > 0 and (words[span.start - 1] == "anti" or words[span.start - 1].endswith("bacterium")))
        or not _OTHER_THINGS.isdisjoint(behind)
        or words[span.start : span.stop + 1] == ["varicella", "zoster"]
        or words[max(0, span.start - 1) : span.stop] == ["varicella", "zoster"]
        or (words[span.stop - 1] in _ANIMALS and not _LIVE.isdisjoint(behind))
        or " ".join(words[span.start : span.stop + 1]).startswith(_NO_NAME)
        or _is_verb(span, words)
    )


def _is_verb(span: Span, words: list[str]) -> bool:
    if words[span.start] not in _VERBS or span.stop - span.start > 1:
        return False
    before = words[max(0, span.start - 2) : span.start]
    if len(before) == 2 and (before[1].endswith("ly") or before[1] in {"or", "and"}):
        before.pop()  # "itches or burns", "do not constantly scratch"
    return bool(before and before[-1] in _BEFORE_VERB) or not _BEHIND_VERB.isdisjoint(words[span.stop : span.stop + 1])


def _mended(words: list[str], spans: list[Span], spelt: Spelt) -> list[str] | None:
    """The words with typing errors mended where that can be told, or ``None`` where there are none."""
    taken = {at for span in spans for at in range(span.start, span.stop)}
    mended = [word if at in taken else spelt(word) for at, word in enumerate(words)]
    return mended if mended != words else None


def _surely(span: Span, words: list[str], mended: list[str]) -> bool:
    """A name of two words or more with a mended one, or a word that looks like a disease: not "contusion" alone."""
    if words[span.start : span.stop] == mended[span.start : span.stop]:
        return False
    return span.stop - span.start > 1 or mended[span.start].endswith(_DISEASES)


def _says_again(name: NamedNode, names: list[NamedNode], sentence: str, lexicon: Lexicon) -> bool:
    """Whether it is another word for what was just named, or not the name that it looks like.

    A wider name in brackets right after ("tinea manuum (hand ringworm)"); what it is said to be a kind of ("tinea
    versicolor, a common yeast infection"); letters in brackets that are short for
    the words before them ("myelofibrosis (MF)").
    """
    earlier = [before for before in names if before.stop < name.start]
    for before in earlier:
        if _OPENED.fullmatch(sentence, before.stop, name.start) and name.node in lexicon.above[before.node]:
            return True
        if name.node in lexicon.above[before.node] and not sentence[before.stop : name.start].strip():
            return True  # "a scabies infestation", "tinea fungal infection"
    if earlier and _IS_A.fullmatch(sentence[earlier[-1].stop : name.start]) and not _OR.match(sentence, name.stop):
        return earlier[-1].node not in lexicon.above[name.node]
    written = sentence[name.start : name.stop]
    if (
        not _SHORT.fullmatch(written)
        or sentence[name.start - 1 : name.start] + sentence[name.stop : name.stop + 1] != "()"
    ):
        return False
    words = _WORD.findall(sentence[: name.start])[-len(written) :]
    named = any(before.stop >= name.start - 2 for before in earlier)
    return not named and any(word[0].upper() == written[0] for word in words)


def _only_quoted(name: NamedNode, sentence: str) -> bool:
    """Whether a name in quotation marks is spoken of as a word: 'the so-called "eczema"', 'the input "SK?" is'."""
    before, behind = sentence[: name.start], sentence[name.stop :]
    return _QUOTED.search(before) is not None and _UNQUOTED.match(behind) is not None


def _denied(sentence: str, names: list[NamedNode]) -> set[NamedNode]:
    """The names of a sentence in small letters that a cue denies."""
    masked = list(sentence)
    for name in names:  # a cue inside a name is none: "nevus without cells"
        masked[name.start : name.stop] = "#" * (name.stop - name.start)
    clear = "".join(masked)
    stops = []
    for held in HELD.finditer(clear):
        masked[held.start() : held.end()] = "#" * (held.end() - held.start())
        stops.append(held.start())
    clear = "".join(masked)
    stops = sorted([*stops, *(match.start() for match in STOP.finditer(clear))])
    denied: set[NamedNode] = set()
    used: set[int] = set()
    for cue in AFTER.finditer(clear):
        reached = list(_reached_backwards(clear, cue.start(), names, stops))
        if reached:
            denied.update(reached)
            used.add(cue.start())
    for cue in BEFORE.finditer(clear):
        if cue.start() not in used and not re.match(r" *,", clear[cue.end() :]):  # "No, ..." answers a question
            denied.update(_reached_forwards(clear, cue.end(), names, stops))
    return denied


def _reached_forwards(text: str, at: int, names: list[NamedNode], stops: list[int]) -> Iterator[NamedNode]:
    place = bisect_left(stops, at)
    end = stops[place] if place < len(stops) else len(text)
    reach = _FIRST_REACH
    for name in names:
        if at <= name.start < end:
            between = text[at : name.start]
            listed = _SUCH_AS.sub(" ", between) if reach == _FIRST_REACH else ""
            if len(between.split()) > reach or "," in listed:
                return
            yield name
            at, reach = name.stop, _NEXT_REACH


def _reached_backwards(text: str, at: int, names: list[NamedNode], stops: list[int]) -> Iterator[NamedNode]:
    start = max([stop for stop in stops if stop < at], default=0)
    start = max(start, text.rfind("(", 0, at))
    before, reach, joined = at, _FIRST_REACH, False
    for name in reversed([name for name in names if start <= name.start and name.stop <= at]):
        between = text[name.stop : before]
        words = between.replace(",", " ").split()
        if len(words) > reach or (before != at and not _AND.issuperset(words)):
            return
        joined = joined or (before != at and not {"and", "or", "nor"}.isdisjoint(words))
        if "," in between and not (joined and before != at):  # a list goes on where it ends in "and"
            return
        yield name
        before, reach = name.start, _NEXT_REACH
