"""The grounding reward: findings recorded for this very image, as far as its diagnosis does not already tell them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from skinrl.rewards.base import AnswerReward, Row
from skinrl.taxonomy.graph import Taxonomy

Concepts = Sequence[Mapping[str, Any]] | None
_ABSENT = frozenset({"absent", "none", "no", "not present"})
_PRESENT = frozenset({"present", "yes"})
# A denial holds to the end of its clause, a word of absence for what stands before it in its clause.
_CLAUSE = re.compile(r"[,;.:\n]|\bbut\b|\bhowever\b|\byet\b|\balthough\b")
_DENIES = re.compile(r"\b(?:no|not|without|lacks?|lacking|never|neither|nor|denies|free of|negative for|absence of)\b")
_DENIED = re.compile(r"\b(?:absent|missing|not (?:present|seen|visible))\b")


class Recorded(NamedTuple):
    """What is recorded for an image: terms that are there and terms that are not, each with what naming it pays."""

    present: Mapping[str, float]
    absent: Mapping[str, float]
    kinds: frozenset[str]


def read_concepts(concepts: Concepts) -> Recorded:
    """The column ``concepts`` of one row: ``{"kind", "word", "share"}`` for each recorded word.

    ``share`` is how many of the other images with the same label show the word, 0 to 1; naming it pays ``1 - share``.
    A word such as "absent" says that its kind is not there (``{"kind": "pigment_network", "word": "absent"}``), "no
    scale" that scale is not; "present" that the kind is.
    """
    present: dict[str, float] = {}
    absent: dict[str, float] = {}
    kinds = set[str]()
    for one in concepts or ():
        kind, word = _plain(one["kind"].replace("_", " ")), _plain(one["word"])
        gain = 1.0 - float(one.get("share") or 0.0)
        kinds.add(one["kind"])
        if word in _ABSENT:
            absent[kind] = gain
        elif word.startswith(("no ", "without ")):
            absent[word.partition(" ")[2]] = gain
        else:
            present[kind if word in _PRESENT else word] = gain
    return Recorded(present, absent, frozenset(kinds))


def stated(text: str, terms: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Terms that a text asserts, and terms that it denies; at each place the longest term counts.

    A denial ("no", "without", "lacks") holds to the end of its clause, "absent" for its clause. A term that a text
    both asserts and denies counts as denied alone, so that a hedge is worth nothing.
    """
    asserted, denied = set[str](), set[str]()
    for clause in _CLAUSE.split(_plain(text)):
        start = _DENIES.search(clause)
        all_denied = _DENIED.search(clause) is not None
        for match in _pattern(terms).finditer(clause):
            is_denied = all_denied or (start is not None and match.start() >= start.start())
            (denied if is_denied else asserted).add(match[0])
    return frozenset(asserted - denied), frozenset(denied)


def score_findings(
    findings: str, recorded: Recorded, vocabulary: Mapping[str, Sequence[str]]
) -> tuple[float, frozenset[str], frozenset[str]]:
    """What the findings of a report are worth, the terms that are right and those that are wrong.

    ``Σ (1 - share) over right terms / (recorded terms + wrong terms)``. Right: a recorded term that is asserted, or
    one recorded as absent that is denied. Wrong: an asserted term of a recorded kind that is not recorded, or recorded
    as absent; a recorded term that is denied. What belongs to no recorded kind cannot be checked and counts for
    nothing.

    Args:
        vocabulary: kind to the words that the kind may take.
    """
    checked = {_plain(word) for kind in recorded.kinds for word in vocabulary.get(kind, ())}
    terms = frozenset(checked | recorded.present.keys() | recorded.absent.keys())
    asserted, denied = stated(findings, terms)
    right = (asserted & recorded.present.keys()) | (denied & recorded.absent.keys())
    wrong = (asserted - recorded.present.keys()) | (denied & recorded.present.keys())
    gains = {**recorded.absent, **recorded.present}
    count = len(recorded.present) + len(recorded.absent) + len(wrong)
    paid = sum(gains[term] for term in sorted(right))
    return (paid / count if count else 0.0), frozenset(right), frozenset(wrong)


def get_grounding_reward(
    taxonomy: Taxonomy, vocabulary: Mapping[str, Sequence[str]] | None = None, style: str = "report"
) -> GroundingReward:
    """Reward for findings that are recorded for this very image; see `score_findings`.

    It reads the Findings of the report and the dataset's column ``concepts``, which skinrl fills with what is recorded
    for the images, and with how many other images of the same label show the same. A finding that all of them show
    pays nothing, since the diagnosis tells it: reciting the textbook earns no more than chance, which
    `skinrl.rewards.controls.grounding_control` measures. Typical morphology of the taxonomy is never paid.

    0 for an invalid, truncated or unresolved answer. `None` for the whole prompt where no concept is recorded, or none
    that differs between images of the label.

    Args:
        taxonomy: injected by the command line; its words of morphology are the vocabulary by default.
        vocabulary: kind to words, added to those of the taxonomy.
        style: one of `skinrl.report.STYLES`.
    """
    return GroundingReward(taxonomy, vocabulary, style)


class GroundingReward(AnswerReward):
    """Made by `get_grounding_reward`."""

    __name__ = "grounding_reward"
    columns = ("concepts",)

    def __init__(self, taxonomy: Taxonomy, vocabulary: Mapping[str, Sequence[str]] | None, style: str) -> None:
        super().__init__(taxonomy, style)
        words: dict[str, set[str]] = {kind: set(known) for kind, known in (vocabulary or {}).items()}
        for id in taxonomy.ids:
            for kind, known in taxonomy.node(id).morphology.items():
                words.setdefault(kind, set()).update(known)
        self.vocabulary = {kind: tuple(sorted(words[kind])) for kind in sorted(words)}

    def score(self, row: Row) -> float | None:
        recorded = read_concepts(row.extra[0])
        if not any((*recorded.present.values(), *recorded.absent.values())):
            return None
        if not row.readable:
            return 0.0
        return score_findings(row.report().findings, recorded, self.vocabulary)[0]

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        if not score and (score is None or not row.readable):
            return {"right": "", "wrong": ""}
        findings = row.report().findings
        _, right, wrong = score_findings(findings, read_concepts(row.extra[0]), self.vocabulary)
        return {"right": ", ".join(sorted(right)), "wrong": ", ".join(sorted(wrong))}


def _plain(text: str) -> str:
    return text.casefold().strip()


@lru_cache(maxsize=4096)
def _pattern(terms: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted((term for term in terms if term), key=lambda term: (-len(term), term))
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b" if longest_first else r"(?!)")
