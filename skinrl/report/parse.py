"""From a completion to a report, or to the reason why it is none. Total and strict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from skinrl.report.answer_block import READERS, InvalidError, read_diagnosis
from skinrl.report.render import PARTS, DiagnosticReport, DifferentialItem, tags_of

OUTCOMES = ("ok", "invalid", "truncated")


@dataclass(frozen=True)
class ParsedReport:
    """What became of a completion.

    Args:
        outcome: ``ok``, ``invalid`` or ``truncated``.
        reason: empty when ``ok``, else one of a small set of sentences, fit for counting.
        report: the report when ``ok``, else `None`. Its diagnosis is the option's name where options were offered.
        option: letter of the chosen option, where options were offered and one was chosen.
    """

    outcome: str
    reason: str
    report: DiagnosticReport | None
    option: str | None


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
    if not finished:
        tags_of(style)
        return _TRUNCATED
    read = _read_whole if thinking else _read_bare
    if len(text) > _LONGEST_KEPT:
        return read.__wrapped__(prefilled, text, tuple(options), style)[0]
    return read(prefilled, text, tuple(options), style)[0]


_TRUNCATED = ParsedReport("truncated", "cut off at the length limit", None, None)
# Several rewards read the same batch one after the other; with these two limits that costs 64 MB at most.
_KEPT = 4096
_LONGEST_KEPT = 16_384


@lru_cache(maxsize=_KEPT)
def _read_bare(prefilled: str, text: str, options: tuple[str, ...], style: str) -> tuple[ParsedReport, str]:
    """The report without its thinking block, and that block."""
    try:
        thoughts, body = _split_blocks(prefilled + text, tags_of(style))
        written, malignancy, confidence = READERS[style](body)
        diagnosis, option = read_diagnosis(written, options)
    except InvalidError as invalid:
        return ParsedReport("invalid", str(invalid), None, None), ""
    return ParsedReport("ok", "", DiagnosticReport(diagnosis, malignancy, confidence), option), thoughts


@lru_cache(maxsize=_KEPT)
def _read_whole(prefilled: str, text: str, options: tuple[str, ...], style: str) -> tuple[ParsedReport, str]:
    """The same with findings, differential and reasoning."""
    bare = _read_bare if len(text) <= _LONGEST_KEPT else _read_bare.__wrapped__
    parsed, thoughts = bare(prefilled, text, options, style)
    if parsed.report is None:
        return parsed, ""
    findings, differential, reasoning = _read_thinking(thoughts)
    said = parsed.report  # built anew, which is quicker than dataclasses.replace
    report = DiagnosticReport(said.diagnosis, said.malignancy, said.confidence, findings, differential, reasoning)
    return ParsedReport(parsed.outcome, parsed.reason, report, parsed.option), ""


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


def _read_thinking(thinking: str) -> tuple[str, tuple[DifferentialItem, ...], str]:
    """Findings, differential and reasoning; text without a heading counts as reasoning."""
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    current = "Reasoning"
    for line in thinking.strip().splitlines():
        name, colon, rest = line.partition(":")
        if colon and name in parts:
            current, line = name, rest.strip()
        parts[current].append(line)
    findings, listed, reasoning = ("\n".join(parts[name]).strip() for name in PARTS)
    if not listed:
        return findings, (), reasoning
    if "  " in listed or not listed.isprintable():  # line breaks, and spaces of other kinds
        listed = " ".join(listed.split())
    items = _ITEM.split(" " + listed)
    return findings, tuple([_read_item(item) for item in map(str.strip, items) if item]), reasoning


def _read_item(text: str) -> DifferentialItem:
    name, _, evidence = text.partition(": ")
    if evidence.startswith("against "):
        return DifferentialItem(name, "", evidence.removeprefix("against "))
    evidence_for, _, evidence_against = evidence.partition("; against ")
    return DifferentialItem(name, evidence_for.removeprefix("for "), evidence_against)
