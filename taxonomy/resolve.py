"""From text to node: listed names first, then other ways to write one, then typing errors; never a guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from skinrl.taxonomy.assertion import asserted_spans
from skinrl.taxonomy.graph import Match, Node
from skinrl.taxonomy.lexicon import OF_MANY_KINDS, Lexicon
from skinrl.taxonomy.spelling import Speller
from skinrl.taxonomy.text import normalise, stems, tokens
from skinrl.taxonomy.wording import FILLER, HARMLESS, OF_A_KIND, REFUSED

_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
# What coding systems add behind a name: SNOMED CT's semantic tags, and that it is an old one.
_TAGS = frozenset({"disorder", "finding", "morphologic abnormality", "diagnosis", "formerly", "obsolete"})
_LIKE = re.compile(r"\b(\w+)-like\s+", re.IGNORECASE)  # "urticaria-like drug rash" is a drug rash
_INFECTED = re.compile(
    r"(.*\w)\s+with (?:a )?(?:secondary |local |bacterial )*(?:infection|inflammation)\W*", re.IGNORECASE
)
_LOOKS = re.compile(
    r"\s*(?:(?:it|this|that)\s+)?(?:looks?|seems?|appears?)(?:\s+(?:very|most|more))?\s+(?:like|to\s+be)\s+(.+)",
    re.IGNORECASE | re.DOTALL,
)
_ABBREVIATED = re.compile(r"\s*([A-Za-z]{2,6})\s+[-–:]\s+(\S.*)")  # "CD - Contact dermatitis"
_EXAMINED = re.compile(r"\s*(?:O/E|On examination)\s*[-–:]\s*(.*?)(?: present)?\s*", re.IGNORECASE)
_FILE_ENDING = re.compile(r"\.(?:jpe?g|png|gif|tiff?|webp|html?)$", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_SHORTEST_STUMP = 4  # "Derm" for dermatitis, in run-together labels alone
_SHORTEST_MENDED = 6  # letters of a word in free text that may hold a typing error
_SHORTEST_WITH_TWO = 11
_LONGEST = 24  # words; a longer text is prose
_CACHE_SIZE = 65536


class Resolver:
    """An index over the names, synonyms and codes of a taxonomy.

    What :meth:`resolve` accepts, in this order, with what ``Match.how`` says of it:

    1. a ``name``, ``synonym``, ``abbreviation`` or ``code`` of the file, after normalisation (see
       :func:`skinrl.taxonomy.text.normalise`); score 1;
    2. the words of a name in another ``order``, or in English instead of Latin form: ``"Dermatitis, Atopic"``,
       ``"carcinoma basal cell"``, ``"congenital pachyonychia"``;
    3. a name with a ``remark`` that names the same disease or narrows it: ``"basal cell carcinoma (BCC)"``,
       ``"CD - Contact dermatitis"``, ``"contact dermatitis (allergic)"``;
    4. two names with a ``slash`` of which one contains the other: the wider one;
    5. a name ``joined`` otherwise: ``"ring worm"``, ``"PerioralDermEye"``, ``"lichen-planus-12.jpg"``;
    6. a name with typing errors, ``fuzzy``: at most one in a word of 5 to 8 letters, two in a longer one, none in a
       shorter one, never in the first letter, and only if no other node comes near (see
       :mod:`skinrl.taxonomy.spelling`);
    7. one name in a ``context`` of words that do not change it: ``"probable rosacea of the nose"``.

    2 to 7 score below 1, and all but 2 and 6 are refused where a word of negation, doubt or choice stands in the
    text; these two compare every word with those of the name.
    """

    def __init__(self, taxonomy: str, nodes: Iterable[Node]) -> None:
        self._lexicon = Lexicon(taxonomy, nodes)
        self._speller = Speller((tuple(key.split(" ")), match.node) for key, match in self._lexicon.exact.items())
        self._names = sorted(self._lexicon.exact)
        self._vocabulary = frozenset(word for name in self._names for word in name.split(" "))
        by_ending: dict[str, list[str]] = {}
        for word in sorted(self._vocabulary):
            if len(word) >= _SHORTEST_MENDED:
                by_ending.setdefault(word[-2:], []).append(word)
        self._word_spellers = {
            ending: Speller(((word,), word) for word in words) for ending, words in by_ending.items()
        }
        self._forget()

    def _forget(self) -> None:
        self._cache: dict[str, Match | None] = {}
        self._mention_cache: dict[str, tuple[str, ...]] = {}
        self._spelling_cache: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.endswith("_cache")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    # ------------------------------------------------------------------------------------------------- resolve

    def resolve(self, text: str) -> Match | None:
        """The node that ``text`` names, or ``None`` when it names none, several, or denies one."""
        try:
            return self._cache[text]
        except KeyError:
            return self.resolve_many((text,))[0]

    def resolve_many(self, texts: Sequence[str]) -> list[Match | None]:
        """The same for many texts: typing errors are looked up for all of them together."""
        cache, listed = self._cache, self._lexicon.listed
        try:
            return [cache[text] for text in texts]
        except KeyError:  # not all of them were read before
            pass
        found: dict[str, Match | None] = {}
        pending: list[str] = []
        for text in texts:
            if text not in found:
                match = cache[text] if text in cache else listed(text)
                found[text] = match
                if match is None and text not in cache:
                    pending.append(text)
        if pending:
            found.update(zip(pending, self._read(pending), strict=True))
        if len(cache) + len(found) > _CACHE_SIZE:
            cache.clear()
        if len(found) <= _CACHE_SIZE:
            cache.update(found)
        return [found[text] for text in texts]

    def _read(self, texts: Sequence[str]) -> list[Match | None]:
        """Texts that are no listed names."""
        words = [tokens(text) for text in texts]
        found = [
            self._rewritten(*pair) if 0 < len(pair[1]) <= _LONGEST else None for pair in zip(texts, words, strict=True)
        ]
        left = [i for i, match in enumerate(found) if match is None and 0 < len(words[i]) <= _LONGEST]
        spelt = self._speller.read([words[i] for i in left], REFUSED)
        for i, near in zip(left, spelt, strict=True):
            if len(words[i]) == 1 and words[i][0] in self._vocabulary:
                near = None  # "dermatosis" is a word of names, and no other name with an error
            found[i] = Match(near[0], "fuzzy", round(near[1], 4)) if near else self._in_context(texts[i], words[i])
        return found

    def _rewritten(self, text: str, words: tuple[str, ...]) -> Match | None:
        """2 to 5: another order, a remark, a slash, joined otherwise."""
        like = _LIKE.search(text)
        if like is not None and self._lexicon.node_of(like[1]) is not None:
            match = self.resolve(text[: like.start()] + text[like.end() :])
            return self._as("context", 0.95, match.node if match is not None else None)
        refused = not REFUSED.isdisjoint(words)
        if "(" in text or "[" in text:
            return None if refused else self._with_brackets(text)
        examined = _EXAMINED.fullmatch(text)
        if examined is not None:
            seen = self.resolve(examined[1])
            return self._as("remark", 0.97, seen.node if seen is not None else None)
        infected = _INFECTED.fullmatch(text) or _LOOKS.fullmatch(text)
        if infected is not None:
            match = self.resolve(infected[1])
            return self._as("context", 0.95, match.node if match is not None else None)
        if "/" in text:
            return None if refused else self._with_slash(text)
        if ";" in text:
            return None
        abbreviated = _ABBREVIATED.fullmatch(text)
        if abbreviated is not None and not refused:
            return self._with_abbreviation(abbreviated[1], abbreviated[2])
        if "," in text and self._unrelated(text):
            return None
        found = self._as("order", 0.97, self._lexicon.bags.get(tuple(sorted(words))))
        found = found or self._as("order", 0.96, self._lexicon.stems.get(stems(words)))
        if found is None and not refused:
            found = self._as("joined", 0.96, self._lexicon.joined.get("".join(words)))
        return found or self._run_together(text)

    @staticmethod
    def _as(how: str, score: float, node: str | None) -> Match | None:
        return None if node is None else Match(node, how, score)

    def _with_brackets(self, text: str) -> Match | None:
        remarks = [remark for remark in _BRACKETS.findall(text) if normalise(remark) not in _TAGS]
        outside = _BRACKETS.sub(" ", text)
        lexicon = self._lexicon
        if outside == text:  # one that nothing closes
            return self._as("remark", 0.95, lexicon.node_of(text))
        if not remarks:
            match = self.resolve(outside)
            return self._as("remark", 0.95, match.node if match is not None else None)
        whole = lexicon.bags.get(tuple(sorted((*tokens(outside), *tokens(" ".join(remarks))))))
        outer = lexicon.node_of(outside)
        if whole is not None or outer is None:  # "contact dermatitis (allergic)"
            return self._as("remark", 0.97, whole)
        named = [node for remark in remarks if (node := lexicon.node_of(remark)) is not None]
        if not all(lexicon.related(outer, other) for other in (*named, *self.mentions(text))):
            return None
        return Match(self._lowest([outer, *named]), "remark", 0.98)

    def _with_slash(self, text: str) -> Match | None:
        nodes = [self._lexicon.node_of(part) for part in text.split("/")]
        named = [node for node in nodes if node is not None]
        if len(named) < len(nodes):
            return None
        widest = min(named, key=lambda node: len(self._lexicon.above[node]))
        return self._as("slash", 0.95, widest if all(self._lexicon.related(widest, node) for node in named) else None)

    def _with_abbreviation(self, short: str, name: str) -> Match | None:
        long, other = self._lexicon.node_of(name), self._lexicon.node_of(short)
        initials = "".join(word[0] for word in tokens(name))
        if long is None or (other not in (None, long)) or (other is None and short[0].lower() != initials[0]):
            return None
        return Match(long, "remark", 0.97)

    def _unrelated(self, text: str) -> bool:
        """Whether ``text`` names two diseases neither of which contains the other."""
        return any(not self._lexicon.related(a, b) for a, b in combinations(self.mentions(text), 2))

    def _lowest(self, nodes: Sequence[str]) -> str:
        return max(nodes, key=lambda node: len(self._lexicon.above[node]))

    def _run_together(self, text: str) -> Match | None:
        """A label without spaces: capitals inside, hyphens, a number, the ending of a file."""
        label = _FILE_ENDING.sub("", text.strip())
        if not label or any(map(str.isspace, label)) or "," in label:
            return None
        words = tokens(" ".join(_CAMEL.sub(" ", label).split("_")))
        while words and words[-1].isdigit():
            words = words[:-1]
        while words and words[0].isdigit():
            words = words[1:]
        if not words or not REFUSED.isdisjoint(words):
            return None
        for kept in _shortened(words):
            node = self._lexicon.exact.get(" ".join(kept))
            found = node.node if node is not None else self._lexicon.bags.get(kept) or self._stumps(kept)
            if found is not None:
                return Match(found, "joined", 0.94)
        return None

    def _stumps(self, words: tuple[str, ...]) -> str | None:
        """The one node of which some words stand in full and the others by their first letters."""
        if len(words) < 2 or not all(len(word) >= _SHORTEST_STUMP for word in words):
            return None
        nodes = {
            node
            for name, node in self._speller.of_length(words[0][0], len(words))
            if any(map(str.__eq__, words, name)) and all(map(str.startswith, name, words))
        }
        return nodes.pop() if len(nodes) == 1 else None

    def _in_context(self, text: str, words: tuple[str, ...]) -> Match | None:
        if "(" in text or "[" in text:
            return None
        spans = self._lexicon.spans(words, words)
        inside = {at for span in spans for at in range(span.start, span.stop)}
        rest = [word for at, word in enumerate(words) if at not in inside]
        if not REFUSED.isdisjoint(rest):  # inside a name they belong to it: "malignant melanoma of the back"
            return None
        nodes = {span.node for span in spans}
        whole = nodes.pop() if len(nodes) == 1 and HARMLESS.issuperset(rest) else None
        if ";" not in text and "/" not in text and not ("," in text and self._unrelated(text)):
            for harmless in (FILLER, HARMLESS):  # "psoriasis of the scalp" is scalp psoriasis
                kept = [word for word in words if word not in harmless]
                if OF_MANY_KINDS.issuperset(kept) and not OF_A_KIND.isdisjoint(words):
                    break  # "punctate keratosis" is no horny skin of any kind
                node = self._lexicon.bags.get(tuple(sorted(kept))) or self._lexicon.stems.get(stems(kept))
                if node is not None:  # "a common wart" is more than the wart that is left of it
                    narrower = whole is not None and node in self._lexicon.above[whole]
                    return self._as("context", 0.95, whole if narrower else node)
        return self._as("context", 0.95, whole)

    # ------------------------------------------------------------------------------------------------ mentions

    def mentions(self, text: str) -> tuple[str, ...]:
        """Distinct nodes named in ``text``, in its order; longer names before the shorter ones inside them."""
        found = self._mention_cache.get(text)
        if found is None:
            found = self._lexicon.mentions(text)
            if len(self._mention_cache) >= _CACHE_SIZE:
                self._mention_cache.clear()
            self._mention_cache[text] = found
        return found

    def asserted(self, text: str) -> tuple[str, ...]:
        """Distinct nodes that ``text`` says or suspects, in its order: see :mod:`skinrl.taxonomy.assertion`."""
        return tuple(dict.fromkeys(span.node for span in asserted_spans(text, self._lexicon, self._spelt)))

    def _spelt(self, word: str) -> str:
        """The word of a name that ``word`` is with a typing error, or ``word`` itself."""
        if len(word) < _SHORTEST_MENDED or word in self._vocabulary:
            return word
        found = self._spelling_cache.get(word)
        if found is None:
            speller = self._word_spellers.get(word[-2:])
            near = speller.read([(word,)])[0] if speller is not None else None
            found = near[0] if near is not None and _one_slip(word, near[0]) else word
            if len(self._spelling_cache) >= _CACHE_SIZE:
                self._spelling_cache.clear()
            self._spelling_cache[word] = found
        return found

    # ------------------------------------------------------------------------------------------------- nearest

    def nearest(self, text: str, n: int = 3) -> list[Match]:
        """The ``n`` nodes whose names look most like ``text``, best first, ties by id; for messages to a person."""
        typed = normalise(text)
        if not typed or n < 1:
            return []
        rows = process.extract(typed, self._names, scorer=fuzz.WRatio, limit=8 * n + 8)
        best: dict[str, float] = {}
        for name, score, _ in rows:
            id = self._lexicon.exact[name].node
            # WRatio rewards any short name that stands inside a long text; the plain ratio breaks such ties.
            blended = (score + fuzz.ratio(typed, name)) / 200.0
            best[id] = max(best.get(id, 0.0), blended)
        ranked = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))[:n]
        return [Match(id, "fuzzy", round(score, 4)) for id, score in ranked]


def _one_slip(word: str, known: str) -> bool:
    """In free text, with no whole name to go by, one error alone counts in a word of less than eleven letters.

    Or two words of science would be one: exocytosis is no exostosis.
    """
    return len(word) >= _SHORTEST_WITH_TWO or OSA.distance(word, known, score_cutoff=1) <= 1


def _shortened(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of a label, then without places and fillers behind them: "perioral derm eye"."""
    yield words
    while len(words) > 1 and words[-1] in HARMLESS:
        words = words[:-1]
        yield words
