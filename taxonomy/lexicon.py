"""Every name of a taxonomy, indexed in the ways in which a text is compared with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from skinrl.errors import TaxonomyError
from skinrl.taxonomy.graph import Match, Node
from skinrl.taxonomy.text import normal_token, plain, raw_tokens, stem, stems, tokens
from skinrl.taxonomy.wording import ELSEWHERE, FILLER, HARMLESS, OF_A_KIND, REFUSED

_LONGEST_ABBREVIATION = 6
_CALLED = ("disease", "syndrome")
_BEFORE_ANY = frozenset({"consider", "considering", "be", "have", "suspect", "suspected", "are", "typical", "look"})
_JOINING = ("and", "or")
# Beginnings that are written joined, with a hyphen or apart: "post-inflammatory".
_PREFIXES = ("post", "peri", "pseudo", "hyper", "hypo", "sub", "intra", "micro", "macro", "photo")
_SHORTEST_PART = 3  # letters of a word that was written apart
_SHORTEST_BEHIND_PREFIX = 5  # letters
OF_MANY_KINDS = frozenset({"keratosis", "nevus"})
_BEFORE_COMMA = 5  # words of a name before its comma


class Span(NamedTuple):
    """A name found in a line: the words ``start`` to ``stop`` (exclusive) name ``node``."""

    start: int
    stop: int
    node: str


class Lexicon:
    """The names, synonyms and codes of a taxonomy.

    Attributes:
        exact: normal form of a name -> its match.
        written: a name as the file writes it, in lower case, and every code -> its match; saves normalising.
        bags: sorted words of a name -> node; ``None`` where two nodes have the same words.
        stems: stems of a name of two words or more -> node; ``None`` likewise (see
            :func:`skinrl.taxonomy.text.stems`).
        joined: a name without its spaces -> node; ``None`` likewise.
        above: node -> its ancestors.

    Raises:
        TaxonomyError: a name without a word, or one that two nodes claim.
    """

    def __init__(self, taxonomy: str, nodes: Iterable[Node]) -> None:
        self.exact: dict[str, Match] = {}
        self.written: dict[str, Match] = {}
        self.bags: dict[tuple[str, ...], str | None] = {}
        self.stems: dict[tuple[str, ...], str | None] = {}
        self.joined: dict[str, str | None] = {}
        self._stem_words: set[str] = set()
        self._longest = 0
        self._starts: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        self._capitals: dict[str, str] = {}
        self._with_comma: set[tuple[str, ...]] = set()
        nodes = list(nodes)
        for node in nodes:
            for name in (node.name, *node.synonyms):
                self._add(taxonomy, node, name)
        self._drop([node.id for node in nodes if not node.parents])
        for node in nodes:
            for code in node.codes.values():
                self.written[code.casefold()] = Match(node.id, "code", 1.0)
        for found in self._starts.values():
            found.sort(key=lambda entry: (-len(entry[0]), entry[0]))
        self.above = _ancestors({node.id: node.parents for node in nodes})

    def _add(self, taxonomy: str, node: Node, name: str) -> None:
        words = tokens(name)
        key = " ".join(words)
        if not key:
            raise TaxonomyError(f"taxonomy {taxonomy!r}: node {node.id!r} has the name {name!r}, which holds no word")
        claimed = self.exact.get(key)
        if claimed is not None:
            if claimed.node != node.id:
                raise TaxonomyError(
                    f"taxonomy {taxonomy!r}: {name!r} is claimed by {claimed.node!r} and by {node.id!r}; "
                    f"one name, one node"
                )
            self.written.setdefault(name.lower(), claimed)
            return
        match = Match(node.id, _how(node, name), 1.0)
        self.exact[key] = match
        self.written[name.lower()] = match
        if "," in name:
            self._with_comma.add(words)
        joined, bag = "".join(words), tuple(sorted(words))
        self.joined[joined] = node.id if self.joined.get(joined, node.id) == node.id else None
        self.bags[bag] = node.id if self.bags.get(bag, node.id) == node.id else None
        for variant in (words, *_variants(name, words)):
            stemmed = stems(variant)
            if len(stemmed) > 1:
                self.stems[stemmed] = node.id if self.stems.get(stemmed, node.id) == node.id else None
                self._stem_words.update(stemmed)
                self._longest = max(self._longest, len(variant))
        if len(words) == 1 and (match.how == "abbreviation" or len(name) < _shortest_free_name(name)):
            self._capitals[key] = node.id
        else:
            self._starts.setdefault(words[0], []).append((words, node.id))

    def _drop(self, roots: Sequence[str]) -> None:
        """Take the names of the root out again: "skin disease" names none."""
        for table in (self.exact, self.written):
            for key in [key for key, match in table.items() if match.node in roots]:
                del table[key]
        for index in (self.bags, self.stems):
            for bag in [bag for bag, node in index.items() if node in roots]:
                del index[bag]
        self.joined = {key: node for key, node in self.joined.items() if node not in roots}
        self._capitals = {key: node for key, node in self._capitals.items() if node not in roots}
        self._starts = {
            word: [entry for entry in found if entry[1] not in roots] for word, found in self._starts.items()
        }

    def listed(self, text: str) -> Match | None:
        """The match of a text that is a name, a synonym or a code as it stands."""
        return self.written.get(text.lower()) or self.exact.get(" ".join(tokens(text))) or self._code(text)

    def _code(self, text: str) -> Match | None:
        found = self.written.get(text.strip(" .").casefold()) if ":" in text else None
        return found if found is not None and found.how == "code" else None

    def node_of(self, text: str) -> str | None:
        """Node of a listed name, in any order of its words."""
        words = tokens(text)
        found = self.exact.get(" ".join(words))
        return found.node if found is not None else self.bags.get(tuple(sorted(words)))

    def node_of_any(self, text: str) -> str | None:
        """The same, or of a name run together: "bedbug bites"."""
        return self.node_of(text) or self.joined.get("".join(tokens(text)))

    def related(self, a: str, b: str) -> bool:
        """Whether one lies above the other, or they are the same."""
        return a == b or a in self.above[b] or b in self.above[a]

    def spans(self, words: Sequence[str], raw: Sequence[str]) -> list[Span]:
        """Names in a line, from left to right, the longest at each place.

        Args:
            words: the normal words of the line.
            raw: the same words as written: a short name counts in capitals alone ("TEN", not "ten lesions").
        """
        found: list[Span] = []
        at = 0
        while at < len(words):
            span = self._span_at(at, words, raw)
            if span is not None:
                found.append(span)
            at = span.stop if span is not None else at + 1
        return found

    def _span_at(self, at: int, words: Sequence[str], raw: Sequence[str]) -> Span | None:
        listed = next(
            (entry for entry in self._starts.get(words[at], ()) if tuple(words[at : at + len(entry[0])]) == entry[0]),
            None,
        )
        longer = self._longest_in_any_order(at, len(listed[0]) if listed is not None else 1, words)
        if longer is not None:
            return longer
        if listed is not None:
            name, id = listed
            return (
                None
                if len(name) == 1 and at and _of_another_kind(words[at - 1], name[0])
                else Span(at, at + len(name), id)
            )
        apart = self.exact.get("".join(words[at : at + 2])) if _may_be_one(words[at : at + 2]) else None
        if apart is not None:
            return Span(at, at + 2, apart.node)
        short = self._capitals.get(words[at])
        return Span(at, at + 1, short) if short is not None and raw[at].isupper() else None

    def _longest_in_any_order(self, at: int, shortest: int, words: Sequence[str]) -> Span | None:
        """The longest name of more than ``shortest`` words whose stems are the next words of the line."""
        stop = at
        while stop < len(words) and stop - at < self._longest + 1 and self._in_a_name(words[stop]):
            stop += 1
        for end in range(stop, at + shortest, -1):
            id = self.stems.get(stems(words[at:end]))
            if id is not None and stems((words[at],)) and stems((words[end - 1],)):
                return Span(at, end, id)
        return None

    def _in_a_name(self, word: str) -> bool:
        return stem(word) in self._stem_words or not stems((word,))

    def coordinated(self, spans: Sequence[Span], words: Sequence[str]) -> list[Span]:
        """The first of two names that share a head: "hand" in "hand and foot ringworm"."""
        found = []
        for span in spans:
            at = span.start - 2
            if at < 0 or words[at + 1] not in _JOINING or words[at] in FILLER or span.stop - span.start < 2:
                continue
            shared = (words[at], *words[span.start + 1 : span.stop])
            if any(other.start <= at < other.stop for other in spans):
                continue
            match = self.exact.get(" ".join(shared))
            node = match.node if match is not None else self.stems.get(stems(shared))
            if node not in (None, span.node):
                found.append(Span(at, at + 1, node))
        return found

    def with_commas(self, words: Sequence[str], commas: Sequence[int]) -> list[Span]:
        """Names across a comma, from left to right.

        Args:
            words: the normal words of a sentence.
            commas: places of the words that a comma stands before.

        A name that the file writes with a comma, or that has four words or more, may hold one. Otherwise the words up
        to the next comma must be those that narrow the name before them: "dermatitis, contact".
        """
        found: list[Span] = []
        for comma in commas:
            if found and comma < found[-1].stop:
                continue
            span = self._written_across(words, comma) or self._turned_round(words, comma, commas)
            if span is not None:
                found.append(span)
        return found

    def _written_across(self, words: Sequence[str], comma: int) -> Span | None:
        for at in range(max(0, comma - _BEFORE_COMMA), comma):
            for name, id in self._starts.get(words[at], ()):
                reaches = len(name) > comma - at and (len(name) > 3 or name in self._with_comma)
                if reaches and tuple(words[at : at + len(name)]) == name:
                    return Span(at, at + len(name), id)
        return None

    def _turned_round(self, words: Sequence[str], comma: int, commas: Sequence[int]) -> Span | None:
        end = next((other for other in commas if other > comma), len(words))
        behind = [word for word in words[comma:end] if not word.isdigit()]
        if not behind or len(behind) > _BEFORE_COMMA or self.spans(behind, behind):
            return None
        for at in range(max(0, comma - _BEFORE_COMMA), comma):
            before = [word for word in words[at:comma] if not word.isdigit()]
            node = self.stems.get(stems((*before, *behind)))
            if node is not None and any(span.stop == len(before) for span in self.spans(before, before)):
                return Span(at, end, node)
        return None

    def mentions(self, text: str) -> tuple[str, ...]:
        """Distinct nodes named in ``text``, in its order."""
        raw = raw_tokens(text)
        return tuple(dict.fromkeys(span.node for span in self.spans([normal_token(w.lower()) for w in raw], raw)))


def _variants(name: str, words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Shorter and other ways to say a name.

    "Hand foot mouth disease" needs no "and". An eponym is a disease or a syndrome, and with two words it needs neither
    ("Hailey-Hailey"); a nail disease is no nail syndrome. "Post inflammatory" is "postinflammatory".
    """
    found = [tuple(word for word in words if word != "and")] if "and" in words else []
    if words[-1] in _CALLED and any(word[0].isupper() for word in name.split()):
        found += [(*words[:-1], called) for called in _CALLED if called != words[-1]]
        found += [words[:-1]] if len(words) > 2 else []
    for at, word in enumerate(words):
        prefix = next((prefix for prefix in _PREFIXES if word.startswith(prefix)), "")
        if prefix and len(word) >= len(prefix) + _SHORTEST_BEHIND_PREFIX:
            found.append((*words[:at], prefix, word.removeprefix(prefix), *words[at + 1 :]))
    return found


def _shortest_free_name(name: str) -> int:
    """Shorter names ("SK", "Mel") count inside a line only when written in capitals; "orf" is a word."""
    return 3 if name.islower() else 4


def _may_be_one(words: Sequence[str]) -> bool:
    """Whether two words may be one written apart: "chicken pox"."""
    return (
        len(words) == 2 and min(map(len, words)) >= _SHORTEST_PART and sum(map(len, words)) >= 2 * _SHORTEST_PART + 2
    )


def _of_another_kind(before: str, name: str) -> bool:
    """Whether the word before makes another disease of a name.

    A naevus is any birthmark, and "verrucous" is no mole; a keratosis is any horny skin, of the pores or the sun; and
    many diseases of the skin have a namesake in another organ ("uveal melanoma").
    """
    if before in ELSEWHERE or (before in OF_A_KIND and name in OF_MANY_KINDS):
        return True
    if name == "keratosis":
        return before not in HARMLESS and before not in REFUSED and before not in _BEFORE_ANY
    return name == "nevus" and before.endswith(("ous", "oid", "al", "ic", "ar")) and before not in HARMLESS


def _how(node: Node, name: str) -> str:
    if name == node.name:
        return "name"
    letters = plain(name).replace("-", "").replace(" ", "")
    short = 1 < len(letters) <= _LONGEST_ABBREVIATION and letters.isalnum() and sum(map(str.isupper, letters)) > 1
    return "abbreviation" if short else "synonym"


def _ancestors(parents: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Every node's ancestors, itself not among them; the order of the nodes does not matter."""
    found: dict[str, frozenset[str]] = {}

    def above(id: str) -> frozenset[str]:
        if id not in found:
            found[id] = frozenset(parents[id]).union(*(above(parent) for parent in parents[id]))
        return found[id]

    for id in parents:
        above(id)
    return found
