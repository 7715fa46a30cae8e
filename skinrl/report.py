"""The diagnostic report: the one output format of all stages, rendered and parsed here and nowhere else.

    <think>
    Findings: a dark plaque with three colours
    Differential: 1. melanoma: for irregular border; against no ulceration 2. melanocytic naevus: for ...
    Reasoning: three colours and an irregular border favour melanoma
    </think>
    <answer>
    Diagnosis: melanoma
    Malignancy: malignant
    Confidence: 80
    </answer>

``Diagnosis`` is a name, ``undetermined``, or an option where the question offers options. ``Malignancy`` is one of
`BEHAVIOURS`, or ``undetermined``. ``Confidence`` may be absent. The thinking block may be empty, never missing, and
is never searched for the answer.

The parser is total: every string gives a `ParsedReport`, none an exception. It accepts the variants that stand in the
tables below, and nothing else. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from skinrl.errors import DataError

OUTCOMES = ("ok", "invalid", "truncated")
BEHAVIOURS = ("non-neoplastic", "benign", "uncertain", "precancerous or in situ", "malignant")
UNDETERMINED = "undetermined"

# --- accepted variants: everything the parser takes beside the form that `render` writes ---------------------------

_FIELDS = ("Diagnosis", "Malignancy", "Confidence")
FIELD_VARIANTS = ("{}:", "**{}:**", "**{}**:")  # Markdown bold around the name of a field
OPTION_VARIANTS = (  # a letter alone, or a letter and the name that the question gives it
    r"(?P<a>[A-Z]{1,2})",  # B
    r"(?P<b>[A-Z]{1,2})[.):](?:\s+(?P<b_name>.+))?",  # B.  B)  B:  B. name  B) name  B: name
    r"\((?P<c>[A-Z]{1,2})\)\.?(?:\s+(?P<c_name>.+))?",  # (B)  (B).  (B) name
)
BEHAVIOUR_VARIANTS: Mapping[str, str] = {
    **{behaviour: behaviour for behaviour in BEHAVIOURS},
    "non neoplastic": "non-neoplastic",
    "precancerous": "precancerous or in situ",
    "precancerous in situ": "precancerous or in situ",
    "precancerous (in situ)": "precancerous or in situ",
    "in situ": "precancerous or in situ",
}
# Beside these: letter case and spaces within a name, one full stop at its end, a percent sign after the confidence,
# the order of the fields, blank lines, and white space around blocks.

_PREFIXES = {variant.format(field): field for variant in FIELD_VARIANTS for field in _FIELDS}
_OPTION = re.compile("|".join(OPTION_VARIANTS))
_CONFIDENCE = re.compile(r"(\d{1,3}) ?%?", re.ASCII)


@dataclass(frozen=True)
class DifferentialItem:
    """One alternative that was weighed: its name, and what speaks for and against it."""

    name: str
    evidence_for: str = ""
    evidence_against: str = ""


@dataclass(frozen=True)
class DiagnosticReport:
    """What a report says.

    Args:
        diagnosis: name of the disease, or ``undetermined``; one line.
        malignancy: one of `BEHAVIOURS`; `None` is written as ``undetermined``.
        confidence: 0 to 100, or `None` where the report gives none.
        findings: what is seen, in words.
        differential: alternatives, most likely first.
        reasoning: from the findings to the diagnosis.

    Raises:
        DataError: empty or many-lined diagnosis, unknown malignancy, confidence outside 0 to 100.
    """

    diagnosis: str
    malignancy: str | None = None
    confidence: int | None = None
    findings: str = ""
    differential: tuple[DifferentialItem, ...] = ()
    reasoning: str = ""

    def __post_init__(self) -> None:
        if not self.diagnosis.strip() or len(self.diagnosis.splitlines()) > 1:
            raise DataError(f"a report's diagnosis must be one line of text, found {self.diagnosis!r}")
        if self.malignancy is not None and self.malignancy not in BEHAVIOURS:
            raise DataError(f"unknown malignancy {self.malignancy!r}; expected one of: {', '.join(BEHAVIOURS)}")
        if self.confidence is not None and not 0 <= self.confidence <= 100:
            raise DataError(f"a report's confidence must be a whole number from 0 to 100, found {self.confidence!r}")

    def render(self, style: str = "report", *, option: str = "", ancestors: Sequence[str] = ()) -> str:
        """The report as text, in one of `STYLES`.

        Args:
            style: ``report`` (ours), ``skin_r1`` (Skin-R1's RL tags), ``skin_r1_sft`` or ``skingpt_r1``.
            option: letter of the option, written before the name: ``B. melanoma``.
            ancestors: names from near to far, for the taxonomy sentence of ``skin_r1_sft``.

        Raises:
            DataError: a field holds a tag of this style, so that the text could not be parsed again.
        """
        form = _style(style)
        answer = form.write(self, f"{option}. {self.diagnosis}" if option else self.diagnosis, ancestors)
        thinking = _write_thinking(self)
        for tag in form.tags:
            if tag in thinking or tag in answer:
                raise DataError(f"a report must not contain the tag {tag} in its text, found in {self!r}")
        open_think, close_think, open_answer, close_answer = form.tags
        thinking = f"{thinking}\n" if thinking else ""
        gap = "\n" if form.multiline else ""
        return f"{open_think}\n{thinking}{close_think}\n{open_answer}{gap}{answer}{gap}{close_answer}"


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


def option_letter(index: int) -> str:
    """Letter of an option: 0 is A, 25 is Z, 26 is AA, 27 is AB, as in a spreadsheet."""
    return chr(65 + index) if index < 26 else chr(64 + index // 26) + chr(65 + index % 26)


def prefill(style: str = "report") -> str:
    """What a chat template writes where it opens the thinking block for the model: ``<think>`` and a new line."""
    return _style(style).tags[0] + "\n"


def looks_cut(text: str, *, prefilled: str = "", style: str = "report") -> bool:
    """Whether a text ends inside a block that it opened: the sign of a cut where nobody says if it finished."""
    text = prefilled + text
    open_think, close_think, open_answer, close_answer = _style(style).tags
    return (open_think in text and close_think not in text) or (open_answer in text and close_answer not in text)


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
        thinking: False leaves findings, differential and reasoning unread and empty, which is twice as fast.

    Raises:
        DataError: unknown style (a wrong setting, not a wrong text).
    """
    form = _style(style)
    if not finished:
        return ParsedReport("truncated", "cut off at the length limit", None, None)
    try:
        thoughts, body = _split_blocks(prefilled + text, form.tags)
        answer = form.read(body)
        diagnosis, option = _read_diagnosis(answer.diagnosis, tuple(options))
    except _InvalidError as invalid:
        return ParsedReport("invalid", str(invalid), None, None)
    findings, differential, reasoning = _read_thinking(thoughts if thinking else "")
    report = DiagnosticReport(diagnosis, answer.malignancy, answer.confidence, findings, differential, reasoning)
    return ParsedReport("ok", "", report, option)


class _InvalidError(Exception):
    """Carries the reason out of the parser's helpers; never leaves this module."""


@dataclass(frozen=True)
class _Answer:
    diagnosis: str
    malignancy: str | None = None
    confidence: int | None = None


@dataclass(frozen=True)
class _Style:
    tags: tuple[str, str, str, str]
    write: Callable[[DiagnosticReport, str, Sequence[str]], str]
    read: Callable[[str], _Answer]
    multiline: bool = True


def _style(name: str) -> _Style:
    if name not in _STYLES:
        raise DataError(f"unknown report style {name!r}; expected one of: {', '.join(_STYLES)}")
    return _STYLES[name]


def _split_blocks(text: str, tags: tuple[str, str, str, str]) -> tuple[str, str]:
    """Contents of the thinking and the answer block; every tag exactly once, nothing but white space outside."""
    open_think, close_think, open_answer, close_answer = tags
    if open_answer not in text or close_answer not in text:
        raise _InvalidError("answer missing")
    if text.count(open_answer) > 1 or text.count(close_answer) > 1:
        raise _InvalidError("answer doubled")
    if open_think not in text or close_think not in text:
        raise _InvalidError("thinking block missing")
    if text.count(open_think) > 1 or text.count(close_think) > 1:
        raise _InvalidError("thinking block doubled")
    before, _, rest = text.partition(open_think)
    thinking, closed, rest = rest.partition(close_think)
    between, opened, rest = rest.partition(open_answer)
    answer, ended, after = rest.partition(close_answer)
    if not (closed and opened and ended):
        raise _InvalidError("tags in the wrong order")
    if after.strip():
        raise _InvalidError("text after the answer")
    if before.strip():
        raise _InvalidError("text before the thinking block")
    if between.strip():
        raise _InvalidError("text between the blocks")
    return thinking, answer


# --- the diagnosis, with and without options -----------------------------------------------------------------------


def _plain(name: str) -> str:
    return " ".join(name.split()).removesuffix(".").rstrip().casefold()


@lru_cache(maxsize=4096)
def _option_table(options: tuple[str, ...]) -> tuple[Mapping[str, int], Mapping[str, tuple[int, ...]]]:
    """Index of an option by its letter, and indices by its plain name."""
    names: dict[str, tuple[int, ...]] = {}
    for index, name in enumerate(options):
        names[_plain(name)] = (*names.get(_plain(name), ()), index)
    return {option_letter(index): index for index in range(len(options))}, names


def _read_diagnosis(value: str, options: tuple[str, ...]) -> tuple[str, str | None]:
    """Name and option letter of a Diagnosis line's value."""
    value = value.strip()
    if not value:
        raise _InvalidError("diagnosis empty")
    plain = _plain(value)
    if plain == UNDETERMINED:
        return UNDETERMINED, None
    if not options:
        return value.removesuffix(".").rstrip() or value, None
    letters, names = _option_table(options)
    by_name = names.get(plain, ())
    match = _OPTION.fullmatch(value)
    letter = (match["a"] or match["b"] or match["c"]) if match else ""
    if match and letter in letters:
        index = letters[letter]
        name = match["b_name"] or match["c_name"]
        if by_name and by_name != (index,):
            raise _InvalidError("letter and name disagree")
        if name is not None and _plain(name) != _plain(options[index]):
            raise _InvalidError("letter and name disagree")
    elif len(by_name) == 1:
        index = by_name[0]
    else:
        raise _InvalidError("several options have this name" if by_name else "option not offered")
    return " ".join(options[index].split()) or option_letter(index), option_letter(index)


# --- the thinking block: kept for people, never used for the answer ------------------------------------------------

_ITEM = re.compile(r"(?:^| )\d+\. ")
_PARTS = ("Findings", "Differential", "Reasoning")


def _write_thinking(report: DiagnosticReport) -> str:
    items = []
    for number, item in enumerate(report.differential, start=1):
        evidence = (("for", item.evidence_for), ("against", item.evidence_against))
        said = "; ".join(f"{word} {text}" for word, text in evidence if text)
        items.append(f"{number}. {item.name}" + (f": {said}" if said else ""))
    parts = zip(_PARTS, (report.findings, " ".join(items), report.reasoning), strict=True)
    return "\n".join(f"{name}: {text}" for name, text in parts if text)


def _read_thinking(thinking: str) -> tuple[str, tuple[DifferentialItem, ...], str]:
    """Findings, differential and reasoning; text without a heading counts as reasoning."""
    parts: dict[str, list[str]] = {name: [] for name in _PARTS}
    current = "Reasoning"
    for line in thinking.strip().splitlines():
        name, colon, rest = line.partition(":")
        if colon and name in parts:
            current, line = name, rest.strip()
        parts[current].append(line)
    findings, listed, reasoning = ("\n".join(parts[name]).strip() for name in _PARTS)
    items = _ITEM.split(" ".join(listed.split())) if listed else []
    return findings, tuple(_read_item(item) for item in items if item.strip()), reasoning


def _read_item(text: str) -> DifferentialItem:
    name, _, evidence = text.strip().partition(": ")
    if evidence.startswith("against "):
        return DifferentialItem(name, "", evidence.removeprefix("against "))
    evidence_for, _, evidence_against = evidence.partition("; against ")
    return DifferentialItem(name, evidence_for.removeprefix("for "), evidence_against)


# --- the styles ----------------------------------------------------------------------------------------------------


def _behaviour(value: str) -> str | None:
    plain = _plain(value)
    if plain == UNDETERMINED:
        return None
    if plain not in BEHAVIOUR_VARIANTS:
        raise _InvalidError("malignancy is not a class")
    return BEHAVIOUR_VARIANTS[plain]


def _write_report(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    lines = [f"Diagnosis: {diagnosis}", f"Malignancy: {report.malignancy or UNDETERMINED}"]
    if report.confidence is not None:
        lines.append(f"Confidence: {report.confidence}")
    return "\n".join(lines)


def _read_report(body: str) -> _Answer:
    fields: dict[str, str] = {}
    for line in body.splitlines():
        line = line.strip()
        if not line:
            continue
        prefix = next((prefix for prefix in _PREFIXES if line.startswith(prefix)), None)
        if prefix is None:
            raise _InvalidError("unknown line in the answer")
        field = _PREFIXES[prefix]
        if field in fields:
            raise _InvalidError(f"two {field} lines")
        fields[field] = line[len(prefix) :]
    for field in ("Diagnosis", "Malignancy"):
        if field not in fields:
            raise _InvalidError(f"{field} line missing")
    confidence = None
    if "Confidence" in fields:
        match = _CONFIDENCE.fullmatch(fields["Confidence"].strip())
        if match is None or int(match[1]) > 100:
            raise _InvalidError("confidence is not a number from 0 to 100")
        confidence = int(match[1])
    return _Answer(fields["Diagnosis"], _behaviour(fields["Malignancy"]), confidence)


def _write_skin_r1(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    return f"{diagnosis} ({report.malignancy})" if report.malignancy else diagnosis


# `B (malignant)`, `B. melanoma, malignant`, or the two on two lines
_SKIN_R1 = re.compile(
    r"(?P<diagnosis>.*?)[ \t]*(?:[,;(]|\n)\s*(?P<behaviour>"
    + "|".join(sorted(map(re.escape, BEHAVIOUR_VARIANTS), key=len, reverse=True))
    + r")\)?\.?",
    re.IGNORECASE | re.DOTALL,
)


def _read_skin_r1(body: str) -> _Answer:
    body = body.strip()
    # The class stands at the end, so only the end is matched: the pattern never walks through a long text.
    start = max(0, len(body) - 40)
    match = _SKIN_R1.fullmatch(body, start)
    if match is None:
        diagnosis, behaviour = body, None
    else:
        diagnosis, behaviour = body[:start] + match["diagnosis"], _behaviour(match["behaviour"])
    if len(diagnosis.splitlines()) > 1:
        raise _InvalidError("unknown line in the answer")
    return _Answer(diagnosis, behaviour)


def _write_skin_r1_sft(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    kinds = ([f"subtype of {', '.join(ancestors)}"] if ancestors else []) + (
        [f"generally classified as {report.malignancy}"] if report.malignancy else []
    )
    sentence = ", ".join(kinds)
    return f"{diagnosis}. {sentence[:1].upper()}{sentence[1:]}." if sentence else diagnosis


_SENTENCE = re.compile(
    r"(?:subtype of [^.]*?)?(?:, )?(?:generally classified as (?P<behaviour>[^.]+))?", re.IGNORECASE
)


def _read_skin_r1_sft(body: str) -> _Answer:
    text = " ".join(body.split()).removesuffix(".")
    diagnosis, _, sentence = text.rpartition(". ")
    match = _SENTENCE.fullmatch(sentence) if diagnosis and sentence else None
    if match is None:  # no taxonomy sentence; the full stop of `B. melanoma` ends none
        return _Answer(text)
    behaviour = match["behaviour"]
    return _Answer(diagnosis, _behaviour(behaviour) if behaviour else None)


def _write_skingpt_r1(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    return f"Final Answer: {diagnosis}"


def _read_skingpt_r1(body: str) -> _Answer:
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith("Final Answer:")]
    if len(marked) > 1:
        raise _InvalidError("two Final Answer lines")
    if not marked or lines[-1] != marked[0]:
        raise _InvalidError("Final Answer line missing" if not marked else "text after the Final Answer line")
    return _Answer(marked[0].removeprefix("Final Answer:"))


_STYLES: Mapping[str, _Style] = {
    "report": _Style(("<think>", "</think>", "<answer>", "</answer>"), _write_report, _read_report),
    "skin_r1": _Style(
        ("<thinking>", "</thinking>", "<final diagnosis>", "</final diagnosis>"), _write_skin_r1, _read_skin_r1, False
    ),
    "skin_r1_sft": _Style(
        ("<thinking>", "</thinking>", "<diagnosis>", "</diagnosis>"), _write_skin_r1_sft, _read_skin_r1_sft, False
    ),
    "skingpt_r1": _Style(("<think>", "</think>", "<answer>", "</answer>"), _write_skingpt_r1, _read_skingpt_r1),
}
STYLES = tuple(_STYLES)
