"""From a completion to a node: the one reading of an answer that rewards and evaluation share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from skinrl.errors import DataError
from skinrl.report import UNDETERMINED, ParsedReport, option_letter, parse_report

if TYPE_CHECKING:
    from skinrl.taxonomy.graph import Taxonomy

ANSWER_OUTCOMES = ("ok", "invalid", "truncated", "unresolved")
_LONGEST_NAME = 200  # characters; a longer Diagnosis line is prose, and no name is looked for in it


class Answer(NamedTuple):
    """What a completion answered.

    Args:
        outcome: one of `ANSWER_OUTCOMES`. ``unresolved``: a valid report whose diagnosis is no node of the taxonomy.
        node: id of the node when ``ok``, `None` otherwise and for ``undetermined``.
        malignancy: what the report says, for ``ok`` and ``unresolved``.
        confidence: 0 to 100, or `None`.
        undetermined: a valid report that declines to name a disease: outcome ``ok`` without a node.
        parsed: what the parser found; its thinking block is left unread.
        reason: why it is not ``ok``; empty otherwise.
    """

    outcome: str
    node: str | None
    malignancy: str | None
    confidence: int | None
    undetermined: bool
    parsed: ParsedReport
    reason: str

    @property
    def text(self) -> str:
        """The diagnosis as written, empty where the report could not be read."""
        return self.parsed.report.diagnosis if self.parsed.report else ""


def read_answer(
    text: str,
    taxonomy: Taxonomy,
    *,
    options: Sequence[str] = (),
    option_nodes: Sequence[str | None] = (),
    finished: bool = True,
    prefilled: str = "",
    style: str = "report",
) -> Answer:
    """Read a completion. Never an exception for any text.

    An option stands for the node that the question gives it. A free name is looked up in the taxonomy; a Diagnosis
    line that names two diseases, neither of which contains the other, is invalid. ``undetermined`` is a valid answer
    without a node.

    Args:
        options: names of the options offered, empty for an open question.
        option_nodes: node of each option, `None` or empty where an option has none; as long as ``options``.
        finished, prefilled, style: see `skinrl.report.parse_report`.

    Raises:
        DataError: ``options`` and ``option_nodes`` of different length, or an unknown style.
    """
    parsed = parse_report(text, options=options, finished=finished, prefilled=prefilled, style=style, thinking=False)
    return answer_of(parsed, options, option_nodes, taxonomy)


def answer_of(
    parsed: ParsedReport, options: Sequence[str], option_nodes: Sequence[str | None], taxonomy: Taxonomy
) -> Answer:
    """The same for a completion that was parsed, with these options, before.

    Raises:
        DataError: ``options`` and ``option_nodes`` of different length.
    """
    if len(options) != len(option_nodes):
        raise DataError(f"{len(options)} options but {len(option_nodes)} option nodes; each option needs its node")
    report = parsed.report
    if report is None:
        return Answer(parsed.outcome, None, None, None, False, parsed, parsed.reason)
    undetermined = report.diagnosis == UNDETERMINED
    if undetermined:
        outcome, node, reason = "ok", None, ""
    elif parsed.option is not None:
        node = option_nodes[_index(parsed.option)] or None
        outcome, reason = ("ok", "") if node else ("unresolved", "the option has no node")
    else:
        outcome, node, reason = _look_up(report.diagnosis, taxonomy)
    if outcome == "invalid":
        return Answer(outcome, None, None, None, False, parsed, reason)
    return Answer(outcome, node, report.malignancy, report.confidence, undetermined, parsed, reason)


def look_up_together(reports: Iterable[ParsedReport], taxonomy: Taxonomy) -> None:
    """Look all free names up at once, for `answer_of` to find: quicker where many hold typing errors."""
    said = [one.report.diagnosis for one in reports if one.report is not None and one.option is None]
    taxonomy.resolve_many([name for name in said if len(name) <= _LONGEST_NAME])


def _index(letter: str) -> int:
    index = 0
    while option_letter(index) != letter:
        index += 1
    return index


def _look_up(name: str, taxonomy: Taxonomy) -> tuple[str, str | None, str]:
    """Outcome, node and reason of a free name."""
    if len(name) > _LONGEST_NAME:
        return "unresolved", None, "the diagnosis is longer than a name"
    match = taxonomy.resolve(name)
    if match is None or not match.listed:  # a listed name may hold another: "melanoma in situ" is not two
        named = taxonomy.mentions(name)
        if any(_different(taxonomy, a, b) for a, b in combinations(named, 2)):
            return "invalid", None, "two diseases in one diagnosis"
    if match is None:
        return "unresolved", None, "no such disease in the taxonomy"
    return "ok", match.node, ""


def _different(taxonomy: Taxonomy, a: str, b: str) -> bool:
    return a not in taxonomy.ancestors(b) and b not in taxonomy.ancestors(a)
