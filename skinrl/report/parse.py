"""From a completion to a report, or to the reason why it is none. Total and strict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from skinrl.report.answer_block import READERS, InvalidError, read_diagnosis
from skinrl.report.render import PARTS, DiagnosticReport, DifferentialItem, tags_of

OUTCOMES = ("ok", "invalid", "truncated")


class ParsedReport(NamedTuple):
    """What became of a completion.

    Args:
        outcome: ``ok``, ``invalid`` or ``truncated``.
        reason: empty when ``ok``, else one of a small set of sentences, fit for counting.
        report: the report when ``ok``, else `None`. Its diagnosis is the option's name where options were offered.
        option: letter of the chosen option, where options were offered and one was chosen.
        thoughts: the thinking block, where it was left unread.
    """

    outcome: str
    reason: str
    report: DiagnosticReport | None
    option: str | None
    thoughts: str = ""

    def whole(self) -> ParsedReport:
        """The same with findings, differential and reasoning read."""
        said = self.report
        if said is None or not self.thoughts:
            return self
        report = _unchecked(said.diagnosis, said.malignancy, said.confidence, *_read_thinking(self.thoughts))
        return ParsedReport(self.outcome, self.reason, report, self.option)


def looks_cut(text: str, *, prefilled: str = "", style: str = "report") -> bool:
    """Whether a text ends inside a block that it opened: the sign of a cut where nobody says if it finished."""
    text = prefilled + text
    open_think, close_think, open_answer, close_answer = tags_of(style)
    if close_think not in text and open_think in text:
        return True
    return not text.endswith(close_answer) and close_answer not in text and open_answer in text


def parse_report(
    text: str,
    *,
    options: Sequence[str] = (),
    finished: bool = True,
    prefilled: str = "",
    style: str = "report",
    thinking: bool = True,
) -> ParsedReport:
    """Read a completion. Never an exception for any text.

    Args:
        text: the completion as the model wrote it.
        options: names of the options that the question offered, in order; empty for an open question.
        finished: False where the length limit cut the completion: the outcome is then ``truncated``.
        prefilled: what the chat template had already written for the model (``<think>\\n``); joined before parsing.
        style: one of `STYLES`.
        thinking: False leaves findings, differential and reasoning unread and empty, which is faster.

    Raises:
        DataError: unknown style (a wrong setting, not a wrong text).
    """
    tags = tags_of(style)
    if not finished:
        return _TRUNCATED
    try:
        thoughts, body = _split_blocks(prefilled + text, tags)
        written, malignancy, confidence = READERS[style](body)
        diagnosis, option = read_diagnosis(written, tuple(options))
    except InvalidError as invalid:
        return ParsedReport("invalid", str(invalid), None, None)
    bare = ParsedReport("ok", "", _unchecked(diagnosis, malignancy, confidence), option, thoughts)
    return bare.whole() if thinking else bare


_TRUNCATED = ParsedReport("truncated", "cut off at the length limit", None, None)


def _unchecked(
    diagnosis: str,
    malignancy: str | None,
    confidence: int | None,
    findings: str = "",
    differential: tuple[DifferentialItem, ...] = (),
    reasoning: str = "",
) -> DiagnosticReport:
    """A report of parts that were read: to check them once more takes as long as to read them."""
    report = object.__new__(DiagnosticReport)
    report.__dict__.update(
        diagnosis=diagnosis,
        malignancy=malignancy,
        confidence=confidence,
        findings=findings,
        differential=differential,
        reasoning=reasoning,
    )
    return report


def _split_blocks(text: str, tags: tuple[str, str, str, str]) -> tuple[str, str]:
    """Contents of the thinking and the answer block; every tag exactly once, nothing but white space outside."""
    open_think, close_think, open_answer, close_answer = tags
    before, begun, rest = text.partition(open_think)
    thinking, closed, rest = rest.partition(close_think)
    between, opened, rest = rest.partition(open_answer)
    answer, ended, after = rest.partition(close_answer)
    # Every tag starts with "<": where there are four of these and all tags in their order, each is there once.
    if not (begun and closed and opened and ended and text.count("<") == 4):
        counts = [text.count(tag) for tag in tags]
        if counts != [1, 1, 1, 1]:
            raise InvalidError(_wrong_count(*counts))
        if not (closed and opened and ended):
            raise InvalidError("tags in the wrong order")
    if after.strip():
        raise InvalidError("text after the answer")
    if before.strip():
        raise InvalidError("text before the thinking block")
    if between.strip():
        raise InvalidError("text between the blocks")
    return thinking, answer


def _wrong_count(open_think: int, close_think: int, open_answer: int, close_answer: int) -> str:
    if not (open_answer and close_answer):
        return "answer missing"
    if open_answer > 1 or close_answer > 1:
        return "answer doubled"
    return "thinking block doubled" if open_think and close_think else "thinking block missing"


# --- the thinking block: kept for people, never used for the answer ------------------------------------------------

_ITEM = re.compile(r" \d+\. ")  # a pattern that starts with a letter or a space is searched for several times as fast


def listed_names(thoughts: str, most: int) -> list[str]:
    """The first ``most`` names of the differential in a thinking block that was left unread."""
    return [item.partition(": ")[0] for item in _items(_parts(thoughts)[1])[:most]]


def _read_thinking(thoughts: str) -> tuple[str, tuple[DifferentialItem, ...], str]:
    """Findings, differential and reasoning."""
    findings, listed, reasoning = _parts(thoughts)
    return findings, tuple(map(_read_item, _items(listed))), reasoning


def _parts(thoughts: str) -> tuple[str, str, str]:
    """Text under each heading of `PARTS`; what has no heading counts as reasoning."""
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    current = "Reasoning"
    for line in thoughts.strip().splitlines():
        name, colon, rest = line.partition(":")
        if colon and name in parts:
            current, line = name, rest.strip()
        parts[current].append(line)
    findings, listed, reasoning = ["\n".join(parts[name]).strip() for name in PARTS]
    return findings, listed, reasoning


def _items(listed: str) -> list[str]:
    """The numbered items of a differential."""
    if "  " in listed or not listed.isprintable():  # line breaks, and spaces of other kinds
        listed = " ".join(listed.split())
    return [item for item in map(str.strip, _ITEM.split(" " + listed)) if item]


def _read_item(text: str) -> DifferentialItem:
    name, _, evidence = text.partition(": ")
    if evidence.startswith("against "):
        return DifferentialItem(name, "", evidence.removeprefix("against "))
    evidence_for, _, evidence_against = evidence.partition("; against ")
    return DifferentialItem(name, evidence_for.removeprefix("for "), evidence_against)
