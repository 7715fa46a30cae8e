"""From text to node: exact names first, then a conservative reading of typing errors and qualifiers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from skinrl.errors import TaxonomyError
from skinrl.taxonomy.graph import Match, Node
from skinrl.taxonomy.text import normal_token, raw_tokens, tokens

# A text with one of these says something other than "it is this disease": it is read exactly or not at all.
_REFUSED_WORDS = """
no not non nor neither never none without absent absence lack lacks denies denied negative exclude excluded excludes
excluding exclusion unlikely doubtful rule ruled out rather instead against cannot can t isn isnt dont or and versus vs
either both with plus also but except than unlike like mimic mimics mimicking resembling resembles simulating history
previous prior former risk free possible possibly maybe perhaps question unclear uncertain unknown undetermined
indeterminate differential diagnoses multiple combination i am im sure unsure may might could would should if because
confirm confirmed needs need due secondary benign malignant pre post para pseudo anti hyper hypo
"""
# Words around a name that do not change which disease it is, and places on the body, which sometimes do.
_FILLER_WORDS = """
of the a an on in at to by over from its this that is it most very highly likely probable probably consistent
suggestive classic classical typical early late mild moderate severe active localized generalized widespread extensive
solitary single small large left right bilateral upper lower patient lesion type variant form subtype skin cutaneous
disease diagnosis adult childhood pediatric
"""
_SITE_WORDS = """
scalp face facial cheek nose nasal ear lip eyelid forehead temple chin neck trunk chest back abdomen shoulder arm
forearm elbow hand finger palm leg thigh knee shin ankle foot toe sole buttock limb extremity body
"""
_REFUSED = frozenset(map(normal_token, _REFUSED_WORDS.split()))
_FILLER = frozenset(map(normal_token, _FILLER_WORDS.split()))
_HARMLESS = _FILLER | frozenset(map(normal_token, _SITE_WORDS.split()))
# Endings that carry the meaning: a dermatitis is no dermatosis, a melanoma no melanosis.
_ENDINGS = ("derma", "itis", "osis", "asis", "oma", "ema", "oid", "ous", "us", "ia", "al")
_SHORTEST_FREE_NAME = 4  # shorter names ("SK", "mel") count inside a line only when written in capitals
_CACHE_SIZE = 65536


def _typo_limit(word: str) -> int:
    """How many typing errors a word of this length may hold."""
    if len(word) < 5 or not word.isalpha():
        return 0
    return 1 if len(word) < 9 else 2


def _ending(word: str) -> str:
    return next((ending for ending in _ENDINGS if word.endswith(ending)), "")


def _same_word(typed: str, known: str) -> bool:
    """Whether ``typed`` can only be ``known`` with a typing error: never another medical word."""
    if typed == known:
        return True
    limit = min(_typo_limit(typed), _typo_limit(known))
    if not limit or typed[0] != known[0]:
        return False  # "atypical" is not "typical"
    if {typed[:4], known[:4]} == {"hype", "hypo"} or "" != _ending(typed) != _ending(known) != "":
        return False
    return OSA.distance(typed, known, score_cutoff=limit) <= limit


class Resolver:
    """An index over the names, synonyms and codes of a taxonomy.

    What :meth:`resolve` accepts, in this order:

    1. a name, a synonym or a code, after normalisation (see :func:`skinrl.taxonomy.text.normalise`);
    2. the same with a bracketed remark that names the same disease (``"basal cell carcinoma (BCC)"``), in the
       inverted form of indexes (``"Dermatitis, Atopic"``), or with the words in another order;
    3. a name with typing errors: at most one in a word of 5 to 8 letters, two in a longer one, none in a shorter
       one, never in the first letter, and only if no second node comes as near;
    4. one name among words that do not change it (``"probable psoriasis of the scalp"``).

    2 to 4 are called ``"fuzzy"``, and refused wherever a word of negation, doubt or choice stands in the text.
    """

    def __init__(self, taxonomy: str, nodes: Iterable[Node]) -> None:
        self._exact: dict[str, Match] = {}
        self._codes: dict[str, Match] = {}
        self._bags: dict[tuple[str, ...], Match | None] = {}
        self._starts: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        self._capitals: dict[str, str] = {}
        self._initials: dict[str, list[str]] = {}
        self._joined: dict[str, str | None] = {}
        self._cache: dict[str, Match | None] = {}
        self._mention_cache: dict[str, tuple[str, ...]] = {}
        for node in nodes:
            for name in (node.name, *node.synonyms):
                self._add(taxonomy, node.id, name, "name" if name == node.name else "synonym")
            for code in node.codes.values():
                self._codes[code.casefold()] = Match(node.id, "code", 1.0)
        for found in self._starts.values():
            found.sort(key=lambda entry: (-len(entry[0]), entry[0]))
        self._names = sorted(self._exact)

    def _add(self, taxonomy: str, id: str, name: str, how: str) -> None:
        words = tokens(name)
        key = " ".join(words)
        if not key:
            raise TaxonomyError(f"taxonomy {taxonomy!r}: node {id!r} has the name {name!r}, which holds no word")
        claimed = self._exact.get(key)
        if claimed is not None:
            if claimed.node != id:
                raise TaxonomyError(
                    f"taxonomy {taxonomy!r}: {name!r} is claimed by {claimed.node!r} and by {id!r}; one name, one node"
                )
            return
        self._exact[key] = Match(id, how, 1.0)
        self._initials.setdefault("".join(word[0] for word in words), []).append(key)
        joined = "".join(words)
        self._joined[joined] = id if self._joined.get(joined, id) == id else None
        bag = tuple(sorted(words))
        other = self._bags.get(bag)
        self._bags[bag] = None if other is not None and other.node != id else Match(id, "fuzzy", 0.97)
        if len(words) == 1 and len(words[0]) < _SHORTEST_FREE_NAME:
            self._capitals[words[0]] = id
        else:
            self._starts.setdefault(words[0], []).append((words, id))

    # ------------------------------------------------------------------------------------------------- resolve

    def resolve(self, text: str) -> Match | None:
        """The node that ``text`` names, or ``None`` when it names none, several, or denies one."""
        try:
            return self._cache[text]
        except KeyError:
            found = self._resolve(text)
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[text] = found
            return found

    def _resolve(self, text: str) -> Match | None:
        words = tokens(text)
        if not words:
            return None
        found = self._exact.get(" ".join(words)) or self._codes.get(text.strip(" .").casefold())
        if found is not None:
            return found
        if len(words) > 24 or not _REFUSED.isdisjoint(words):
            return None
        return self._rearranged(text, words) or self._misspelt(words) or self._qualified(text, words)

    def _rearranged(self, text: str, words: tuple[str, ...]) -> Match | None:
        head, bracket, rest = text.partition("(")
        if bracket:
            remark, _, tail = rest.partition(")")
            outer, inner = self._exact.get(" ".join(tokens(head + " " + tail))), self._exact.get(_key(remark))
            if (
                outer is not None
                and (inner is None or inner.node == outer.node)
                and not self.mentions_other(text, outer)
            ):
                return Match(outer.node, "fuzzy", 0.98)
            return None
        if ";" in text or "/" in text:
            return None
        if text.count(",") == 1:
            before, after = text.split(",")
            inverted = self._exact.get(" ".join((*tokens(after), *tokens(before))))
            if inverted is not None:
                return Match(inverted.node, "fuzzy", 0.98)
        if "," in text and len(self.mentions(text)) > 1:
            return None
        return self._bags.get(tuple(sorted(words)))

    def mentions_other(self, text: str, match: Match) -> bool:
        """Whether ``text`` names a node besides that of ``match``."""
        return any(id != match.node for id in self.mentions(text))

    def _misspelt(self, words: tuple[str, ...]) -> Match | None:
        typed = " ".join(words)
        accepted: dict[str, float] = {}
        for name in self._initials.get("".join(word[0] for word in words), ()):
            if all(map(_same_word, words, name.split(" "))):
                id = self._exact[name].node
                accepted[id] = max(accepted.get(id, 0.0), fuzz.ratio(typed, name) / 100.0)
        joined = self._joined.get("".join(words))  # "ring worm", "sebo psoriasis"
        if joined is not None:
            accepted.setdefault(joined, 0.96)
        if len(accepted) != 1:
            return None
        ((node, score),) = accepted.items()
        return Match(node, "fuzzy", round(score, 4))

    def _qualified(self, text: str, words: tuple[str, ...]) -> Match | None:
        if "," not in text and ";" not in text and "/" not in text:
            for harmless in (_FILLER, _HARMLESS):  # "psoriasis of the scalp" is scalp psoriasis
                kept = tuple(sorted(word for word in words if word not in harmless))
                found = self._bags.get(kept)
                if found is not None:
                    return Match(found.node, "fuzzy", 0.95)
        mentioned, rest = self._scan(words, words)
        if len(set(mentioned)) == 1 and _HARMLESS.issuperset(rest):
            return Match(mentioned[0], "fuzzy", 0.95)
        return None

    # ------------------------------------------------------------------------------------------------ mentions

    def mentions(self, text: str) -> tuple[str, ...]:
        """Distinct nodes named in ``text``, in its order; longer names before the shorter ones inside them."""
        found = self._mention_cache.get(text)
        if found is None:
            raw = raw_tokens(text)
            ids, _ = self._scan([normal_token(word.lower()) for word in raw], raw)
            found = tuple(dict.fromkeys(ids))
            if len(self._mention_cache) >= _CACHE_SIZE:
                self._mention_cache.clear()
            self._mention_cache[text] = found
        return found

    def _scan(self, words: Sequence[str], raw: Sequence[str]) -> tuple[list[str], list[str]]:
        """Nodes found from left to right, and the words that belong to none of them."""
        ids: list[str] = []
        rest: list[str] = []
        at = 0
        while at < len(words):
            word = words[at]
            for name, id in self._starts.get(word, ()):
                if tuple(words[at : at + len(name)]) == name:
                    ids.append(id)
                    at += len(name)
                    break
            else:
                short = self._capitals.get(word)
                if short is not None and raw[at].isupper():
                    ids.append(short)
                else:
                    rest.append(word)
                at += 1
        return ids, rest

    # ------------------------------------------------------------------------------------------------- nearest

    def nearest(self, text: str, n: int = 3) -> list[Match]:
        """The ``n`` nodes whose names look most like ``text``, best first, ties by id; for messages to a person."""
        typed = _key(text)
        if not typed or n < 1:
            return []
        rows = process.extract(typed, self._names, scorer=fuzz.WRatio, limit=8 * n + 8)
        best: dict[str, float] = {}
        for name, score, _ in rows:
            id = self._exact[name].node
            # WRatio rewards any short name that stands inside a long text; the plain ratio breaks such ties.
            blended = (score + fuzz.ratio(typed, name)) / 200.0
            best[id] = max(best.get(id, 0.0), blended)
        ranked = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))[:n]
        return [Match(id, "fuzzy", round(score, 4)) for id, score in ranked]


def _key(text: str) -> str:
    return " ".join(tokens(text))
