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
    r"|\b(?:not|cannot|cant|couldnt|unable to|hard to|difficult to) (?:\w+ )?"
    r"(?:tell|say|determine|confirm|judge|identify|diagnose|clear|certain|sure|known)\b"
    r"|\bno (?:doubt|question|need|treatment|therapy|cure|problem|worry|worries|wonder)\b"
    r"|\bnot (?:only|just|necessarily|uncommon|rare)\b"
    r"|\bwithout (?:a |any )?doubt\b|\bwhether or not\b"
    r"|^\W*(?:isnt|is (?:it|this|that) not|isnt (?:it|this|that)|could (?:it|this) not)\b(?=.*\?)"  # asks for a yes
)
# What follows one of these is denied.
_BEFORE = re.compile(
    r"\b(?:(?:not|doesnt|dont|didnt)(?: \w+){0,2}? (?:looks?|seems?|appears?)(?: to be| like)?"
    r"|(?:not|dont|didnt|cannot|cant|never) (?:\w+ )?(?:think|believe|feel|consider|considering|suspect)"
    r"(?: that)?(?: (?:it|this|that)(?: is)?)?"
    r"|no|not|without|never|neither|nor|isnt|arent|wasnt|doesnt|dont|didnt|cannot|cant|shouldnt|wouldnt"
    r"|exclud(?:e|es|ed|ing)|rul(?:e|es|ed|ing) out|r/o|negative for|absence of|lack(?:s|ing)? of|free of|denies"
    r"|exclusion of|rul(?:e|ed|ing)(?= [^.]*\bout\b)|other than|except(?: for)?"
    r"|unlikely|less likely|rather than|instead of|unlike|different from|(?:misdiagnosed|mistaken) (?:for|as)"
    r"|(?:differentiat|distinguish)\w* (?:it |this |them )?(?:from|with)"
    r"|(?:check|test|screen)(?:ed|ing|s)? (?:\w+ )?for"
    r"|family history of|risk of|prevents?|preventing|avoid|avoiding"
    r"|(?:may|can|could|might|will) (?:\w+ )?(?:turn into|progress to|develop into)"
    r"|worried about|afraid of)\b"
)
# What stands before one of these is denied.
_AFTER = re.compile(
    r"\b(?:unlikely|less (?:likely|possible)|not (?:very |so )?(?:likely|possible)|impossible|excluded|ruled out"
    r"|not considered|not supported|not present|negative|absent|(?:is|was|are|were) not(?= *$)"
    r"|(?:does not|doesnt|do not|dont) (?:fit|match)|(?:should|would) not|shouldnt|wouldnt"
    r"|no relation\w*|not related|nothing to do|(?:needs?|requires?) (?:\w+ )?(?:excluding|exclusion|ruling out)"
    r"|is (?:very |quite |relatively |rather )?(?:low|small)|is not (?:very |so |that )?(?:high|great|big|large))\b"
)
# Here the reach of a cue ends.
_STOP = re.compile(
    r"\b(?:but|then|however|though|although|yet|whereas|while|because|as it|it is|its|this is|that is|looks like"
    r"|looks more like|more like|most likely|more likely|probably|consider|considering|suspect|think"
    r"|rather(?! than)|instead(?! of))\b|\b(?:should|would) be\b(?! (?:\w+ )?(?:excluded|ruled out))"
)
# "An eczematous lesion" says eczema.
_NOUNS = {"eczematous": "eczema", "urticarial": "urticaria", "psoriatic": "psoriasis"}
_SKIN_CHANGES = frozenset({"lesion", "rash", "eruption", "plaque", "patch", "change", "reaction", "skin"})
_DISEASES = ("itis", "osis", "asis", "oma", "ema", "acea", "igo", "phigus", "phigoid")
# Told as signs of another disease or asked about, these name none; and some are verbs.
_SIGNS = frozenset({"itch", "itching", "itchy", "blister", "scratch"})
_ASKS = re.compile(r"\W*(?:what|which|why|how|does|do|is|are|can|could)\b", re.IGNORECASE)
_TREATED = re.compile(r"\b(?:control|reliev|reduc|stop|treat|for|anti|with|without)\w*\W+(?:the )?$", re.IGNORECASE)
_VERBS = frozenset({"burn", "scratch", "itch", "scar", "blister"})
_BEFORE_VERB = frozenset({"to", "not", "dont", "doesnt", "does", "do", "can", "will", "may"})
_BEHIND_VERB = frozenset({"it", "them", "off", "your"})
# Behind a name these make a thing of it ("burn ointment"), as "anti" does before one.
_OTHER_THINGS = frozenset(
    {"ointment", "cream", "gel", "lotion", "shampoo", "drug", "medication", "vaccine", "virus", "clinic", "department"}
    | {"dressing", "plaster", "product", "mite", "gene"}
)
_OPENED = re.compile(r"\s*[(\[]\s*(?:\w+\s+)?")
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
    found: list[NamedNode] = []
    signs: list[NamedNode] = []
    text = plain(_IS.sub(r"\1 is", text))
    for start, stop in _between(_SENTENCE, text):
        sentence = text[start:stop]
        names = list(_names(sentence, lexicon, spelt))
        if names:
            denied = _denied(text[start : stop + 1].lower(), names)
            asked = text[stop : stop + 1] == "?" or _ASKS.match(sentence) is not None
            for name in names:
                if name not in denied and not _repeats(name, names, sentence, lexicon):
                    moved = NamedNode(start + name.start, start + name.stop, name.node)
                    if normal_token(sentence[name.start : name.stop].lower()) not in _SIGNS:
                        found.append(moved)
                    elif not asked and not _TREATED.search(sentence, 0, name.start):
                        signs.append(moved)
    return found or signs


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
            against = words[max(0, span.start - 1) : span.start] == ["anti"]
            thing = against or not _OTHER_THINGS.isdisjoint(words[span.stop : span.stop + 1])
            if not thing and sentence[last : last + 5] != "-like" and not _is_verb(span, words):
                yield NamedNode(first, last, span.node)


def _is_verb(span: Span, words: list[str]) -> bool:
    return (
        words[span.start] in _VERBS
        and span.stop - span.start == 1
        and (
            not _BEFORE_VERB.isdisjoint(words[max(0, span.start - 2) : span.start])
            or not _BEHIND_VERB.isdisjoint(words[span.stop : span.stop + 1])
        )
    )


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
    start = max(start, text.rfind(",", 0, at), text.rfind("(", 0, at))
    before, reach = at, _FIRST_REACH
    for name in reversed([name for name in names if start <= name.start and name.stop <= at]):
        between = text[name.stop : before].split()
        if len(between) > reach or (before != at and not _AND.issuperset(between)):
            return
        yield name
        before, reach = name.start, _NEXT_REACH
