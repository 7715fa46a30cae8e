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

Spelt = Callable[[str], str]

_SENTENCE = re.compile(r"[.!?;\n]+(?=\s|$)|[!?;\n。；？！]+|\.(?=[A-Z])")
_PIECE = re.compile(r"[,:()\[\]，、：（）]")
_WORD = re.compile(r"[A-Za-z0-9]+")

_IS = re.compile(r"\b(it|that|this|there|what|here)['’`´]s\b", re.IGNORECASE)  # no possessive

# These hold a negation and deny nothing.
_HELD = re.compile(
    r"\b(?:not|cannot|cant|couldnt|wouldnt|shouldnt|dont|never|unable to|hard to|difficult to|without|nor)"
    r"(?: \w+){0,3}? (?:exclud\w+|rul(?:e|ed|ing) (?:it )?out)\b"
    r"|\bno (?:doubt|question|need|treatment|therapy|cure|problem|worry|worries|wonder)\b"
    r"|\bnot (?:only|just|sure|certain|necessarily|uncommon|rare)\b"
    r"|\bwithout (?:a |any )?doubt\b|\bwhether or not\b"
)
# What follows one of these is denied.
_BEFORE = re.compile(
    r"\b(?:(?:not|doesnt|dont|didnt)(?: \w+){0,2}? (?:looks?|seems?|appears?)(?: to be| like)?"
    r"|no|not|without|never|neither|nor|isnt|arent|wasnt|doesnt|dont|didnt|cannot|cant|shouldnt|wouldnt"
    r"|exclud(?:e|es|ed|ing)|rul(?:e|es|ed|ing) out|r/o|negative for|absence of|lack(?:s|ing)? of|free of|denies"
    r"|unlikely|less likely|rather than|instead of|unlike|different from"
    r"|(?:differentiat|distinguish)\w* (?:it |this |them )?(?:from|with)|(?:mistaken|confused) (?:for|with|as)"
    r"|history of|risk of|prevents?|preventing|avoid|avoiding|reliev(?:e|es|ing)|control(?:s|ling)?"
    r"|(?:may|can|could|might|will) (?:\w+ )?(?:lead to|turn into|progress to|develop into|result in|become)"
    r"|worried about|afraid of)\b"
)
# What stands before one of these is denied.
_AFTER = re.compile(
    r"\b(?:unlikely|less likely|not (?:very )?likely|excluded|ruled out|not considered|not supported|not present"
    r"|negative|absent|(?:is|was|are|were) not(?= *$))\b"
)
# Here the reach of a cue ends.
_STOP = re.compile(
    r"\b(?:but|however|though|although|yet|whereas|while|because|as it|it is|its|this is|that is|looks like"
    r"|looks more like|more like|most likely|more likely|probably|consider|considering|suspect|think"
    r"|rather(?! than)|instead(?! of)|should be|would be)\b"
)
# "An eczematous lesion" says eczema.
_NOUNS = {"eczematous": "eczema", "urticarial": "urticaria", "psoriatic": "psoriasis"}
_SKIN_CHANGES = frozenset({"lesion", "rash", "eruption", "plaque", "patch", "change", "reaction", "skin"})
# Behind a name these make a thing of it: "burn ointment".
_OTHER_THINGS = frozenset(
    {"ointment", "cream", "gel", "lotion", "shampoo", "drug", "medication", "vaccine", "virus", "clinic", "department"}
    | {"dressing", "plaster", "product"}
)
_OPENED = re.compile(r"\s*[(\[]\s*(?:\w+\s+)?")
_FIRST_REACH = 6  # words between a cue and the first name that it denies
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
    found: list[NamedNode] = []
    text = plain(_IS.sub(r"\1 is", text))
    for start, stop in _between(_SENTENCE, text):
        sentence = text[start:stop]
        names = list(_names(sentence, lexicon, spelt))
        if names:
            denied = _denied(sentence.lower(), names)
            kept = [name for name in names if name not in denied and not _repeats(name, names, sentence, lexicon)]
            found += [NamedNode(start + name.start, start + name.stop, name.node) for name in kept]
    return found


def _between(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Stretches of ``text`` between the matches of ``pattern``."""
    start = 0
    for match in pattern.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _names(sentence: str, lexicon: Lexicon, spelt: Spelt) -> Iterator[NamedNode]:
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
        for span in sorted(spans):
            first, last = places[span.start].start(), places[span.stop - 1].end()
            if _OTHER_THINGS.isdisjoint(words[span.stop : span.stop + 1]) and sentence[last : last + 5] != "-like":
                yield NamedNode(first, last, span.node)


def _mended(words: list[str], spans: list[Span], spelt: Spelt) -> list[str] | None:
    """The words with typing errors mended where that can be told, or ``None`` where there are none."""
    taken = {at for span in spans for at in range(span.start, span.stop)}
    mended = [word if at in taken else spelt(word) for at, word in enumerate(words)]
    return mended if mended != words else None


def _surely(span: Span, words: list[str], mended: list[str]) -> bool:
    """A name of two words or more with a mended one, or a word that looks like a disease: not "contusion" alone."""
    if words[span.start : span.stop] == mended[span.start : span.stop]:
        return False
    return span.stop - span.start > 1 or mended[span.start].endswith(("itis", "osis", "asis", "oma", "ema"))


def _repeats(name: NamedNode, names: list[NamedNode], sentence: str, lexicon: Lexicon) -> bool:
    """Whether it is a wider name in brackets right after: "tinea manuum (hand ringworm)"."""
    return any(
        before.stop < name.start
        and _OPENED.fullmatch(sentence, before.stop, name.start)
        and name.node in lexicon.above[before.node]
        for before in names
    )


def _denied(sentence: str, names: list[NamedNode]) -> set[NamedNode]:
    """The names of a sentence in small letters that a cue denies."""
    masked = list(sentence)
    for name in names:  # a cue inside a name is none: "nevus without cells"
        masked[name.start : name.stop] = "#" * (name.stop - name.start)
    clear = "".join(masked)
    stops = []
    for held in _HELD.finditer(clear):
        masked[held.start() : held.end()] = "#" * (held.end() - held.start())
        stops.append(held.start())
    clear = "".join(masked)
    stops = sorted([*stops, *(match.start() for match in _STOP.finditer(clear))])
    denied: set[NamedNode] = set()
    used: set[int] = set()
    for cue in _AFTER.finditer(clear):
        reached = list(_reached_backwards(clear, cue.start(), names, stops))
        if reached:
            denied.update(reached)
            used.add(cue.start())
    for cue in _BEFORE.finditer(clear):
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
            if len(between.split()) > reach or (reach == _FIRST_REACH and "," in between):
                return
            yield name
            at, reach = name.stop, _NEXT_REACH


def _reached_backwards(text: str, at: int, names: list[NamedNode], stops: list[int]) -> Iterator[NamedNode]:
    start = max([stop for stop in stops if stop < at], default=0)
    start = max(start, text.rfind(",", 0, at))
    for name in names:
        if start <= name.start and name.stop <= at and len(text[name.stop : at].split()) <= _FIRST_REACH:
            yield name
