"""Typing errors: which name can only be meant, and when none can be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

# A name further off is not looked at: one error in a word of five letters is a ratio of 80, two in nine of 78.
THRESHOLD = 0.78
# By how much the best name must beat the names of every other node.
MARGIN = 0.02
# Endings that carry the meaning: a dermatitis is no dermatosis, a melanoma no melanosis.
_ENDINGS = ("derma", "itis", "osis", "asis", "oma", "ema", "oid", "ous", "us", "ia", "al")
_SHORTEST_JOINED = 10  # letters
# Beginnings that carry it, a letter or two apart.
_OPPOSITES = (("hyper", "hypo"), ("macro", "micro"), ("endo", "exo"), ("endo", "ecto"), ("intra", "inter"))
_BLOCK = 512  # texts compared at once: the matrix of scores stays below a few megabytes


class Typed(NamedTuple):
    """What was typed: its normal words, and the same without spaces."""

    words: tuple[str, ...]
    joined: str


def _typo_limit(word: str) -> int:
    """How many typing errors a word of this length may hold."""
    if len(word) < 5 or not word.isalpha():
        return 0
    return 1 if len(word) < 9 else 2


def _ending(word: str) -> str:
    if word.endswith("itus"):  # "dermatitus", "pruritis": which of the two it is, says the word before
        return "itis"
    return next((ending for ending in _ENDINGS if word.endswith(ending)), "")


def _opposite(one: str, other: str) -> bool:
    return any(one.startswith(prefix) and other.startswith(opposite) for prefix, opposite in _OPPOSITES)


def same_word(typed: str, known: str) -> bool:
    """Whether ``typed`` can only be ``known`` with a typing error: never another medical word."""
    if typed == known:
        return True
    limit = min(_typo_limit(typed), _typo_limit(known))
    if not limit or typed[0] != known[0]:
        return False  # "atypical" is not "typical"
    if "" != _ending(typed) != _ending(known) != "" or _opposite(typed, known) or _opposite(known, typed):
        return False
    return OSA.distance(typed, known, score_cutoff=limit) <= limit


def _same_name(typed: Typed, name: Sequence[str], fixed: frozenset[str]) -> bool:
    if len(typed.words) == len(name):
        return all(map(same_word, typed.words, name)) and fixed.intersection(typed.words) <= fixed.intersection(name)
    # Words run together or split, with one error besides: "atopicdermatitus". The whole counts as one word.
    known = "".join(name)
    return (
        fixed.isdisjoint(typed.words)
        and min(map(len, typed.words)) > 2
        and len(typed.joined) >= _SHORTEST_JOINED
        and same_word(typed.joined, known)
        and OSA.distance(typed.joined, known) == 1
    )


class Speller:
    """Names in blocks by their first letter, which a typing error leaves alone.

    Args:
        names: the normal words of each name, and its node.
    """

    def __init__(self, names: Iterable[tuple[tuple[str, ...], str]]) -> None:
        self._blocks: dict[str, tuple[list[str], list[tuple[str, ...]], list[str]]] = {}
        for words, node in names:
            joined, rows, nodes = self._blocks.setdefault(words[0][0], ([], [], []))
            joined.append("".join(words))
            rows.append(words)
            nodes.append(node)

    def of_length(self, letter: str, words: int) -> list[tuple[tuple[str, ...], str]]:
        """Names of that first letter and that many words, with their nodes."""
        _, names, nodes = self._blocks.get(letter, ([], [], []))
        return [(name, node) for name, node in zip(names, nodes, strict=True) if len(name) == words]

    def read(
        self, texts: Sequence[tuple[str, ...]], fixed: frozenset[str] = frozenset()
    ) -> list[tuple[str, float] | None]:
        """Node and score (0 to 1, below 1) of each text, given as normal words, or ``None``.

        A word in ``fixed`` is never a typing error of another: the name must hold it too.

        All texts of one first letter are compared with its names at once (rapidfuzz ``cdist``, the normalised
        Indel similarity of the letters without spaces).
        """
        found: list[tuple[str, float] | None] = [None] * len(texts)
        by_letter: dict[str, list[int]] = {}
        for index, words in enumerate(texts):
            by_letter.setdefault(words[0][0], []).append(index)
        for letter, indices in by_letter.items():
            if letter in self._blocks:
                for start in range(0, len(indices), _BLOCK):
                    self._read_block(letter, indices[start : start + _BLOCK], texts, fixed, found)
        return found

    def _read_block(
        self,
        letter: str,
        indices: Sequence[int],
        texts: Sequence[tuple[str, ...]],
        fixed: frozenset[str],
        found: list[tuple[str, float] | None],
    ) -> None:
        joined, rows, nodes = self._blocks[letter]
        typed = [Typed(texts[index], "".join(texts[index])) for index in indices]
        scores = process.cdist(
            [one.joined for one in typed], joined, scorer=fuzz.ratio, score_cutoff=100 * THRESHOLD, workers=1
        )
        near: list[list[tuple[int, float]]] = [[] for _ in typed]
        hits, columns = scores.nonzero()
        for hit, column, score in zip(hits.tolist(), columns.tolist(), scores[hits, columns].tolist(), strict=True):
            near[hit].append((column, score))
        for one, index, candidates in zip(typed, indices, near, strict=True):
            ranked = [(rows[column], nodes[column], score / 100.0) for column, score in candidates]
            found[index] = _best(one, ranked, fixed)


def _best(
    typed: Typed, candidates: Sequence[tuple[tuple[str, ...], str, float]], fixed: frozenset[str]
) -> tuple[str, float] | None:
    accepted: dict[str, float] = {}
    for name, node, score in candidates:
        if score > accepted.get(node, 0.0) and _same_name(typed, name, fixed):
            accepted[node] = score
    if len(accepted) != 1:
        return None
    ((node, score),) = accepted.items()
    rival = max((other for _, id, other in candidates if id != node), default=0.0)
    return (node, score) if score >= rival + MARGIN else None
