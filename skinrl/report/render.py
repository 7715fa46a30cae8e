"""What a report says, and how each style writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from skinrl.errors import DataError

BEHAVIOURS = ("non-neoplastic", "benign", "uncertain", "precancerous or in situ", "malignant")
UNDETERMINED = "undetermined"

# Tags of each style: thinking block opened and closed, answer block opened and closed.
TAGS: Mapping[str, tuple[str, str, str, str]] = {
    "report": ("<think>", "</think>", "<answer>", "</answer>"),
    "skin_r1": ("<thinking>", "</thinking>", "<final diagnosis>", "</final diagnosis>"),
    "skin_r1_sft": ("<thinking>", "</thinking>", "<diagnosis>", "</diagnosis>"),
    "skingpt_r1": ("<think>", "</think>", "<answer>", "</answer>"),
}
STYLES = tuple(TAGS)
PARTS = ("Findings", "Differential", "Reasoning")  # headings of the thinking block


class DifferentialItem(NamedTuple):
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
        tags = tags_of(style)
        answer = _WRITERS[style](self, f"{option}. {self.diagnosis}" if option else self.diagnosis, ancestors)
        thinking = _write_thinking(self)
        for tag in tags:
            if tag in thinking or tag in answer:
                raise DataError(f"a report must not contain the tag {tag} in its text, found in {self!r}")
        open_think, close_think, open_answer, close_answer = tags
        thinking = f"{thinking}\n" if thinking else ""
        gap = "" if style in _ONE_LINE else "\n"
        return f"{open_think}\n{thinking}{close_think}\n{open_answer}{gap}{answer}{gap}{close_answer}"


def option_letter(index: int) -> str:
    """Letter of an option: 0 is A, 25 is Z, 26 is AA, 27 is AB, as in a spreadsheet."""
    return chr(65 + index) if index < 26 else chr(64 + index // 26) + chr(65 + index % 26)


def prefill(style: str = "report") -> str:
    """What a chat template writes where it opens the thinking block for the model: ``<think>`` and a new line."""
    return tags_of(style)[0] + "\n"


def tags_of(style: str) -> tuple[str, str, str, str]:
    """Tags of a style.

    Raises:
        DataError: unknown style (a wrong setting, not a wrong text).
    """
    if style not in TAGS:
        raise DataError(f"unknown report style {style!r}; expected one of: {', '.join(STYLES)}")
    return TAGS[style]


def _write_thinking(report: DiagnosticReport) -> str:
    items = []
    for number, item in enumerate(report.differential, start=1):
        evidence = (("for", item.evidence_for), ("against", item.evidence_against))
        said = "; ".join(f"{word} {text}" for word, text in evidence if text)
        items.append(f"{number}. {item.name}" + (f": {said}" if said else ""))
    parts = zip(PARTS, (report.findings, " ".join(items), report.reasoning), strict=True)
    return "\n".join(f"{name}: {text}" for name, text in parts if text)


def _write_report(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    lines = [f"Diagnosis: {diagnosis}", f"Malignancy: {report.malignancy or UNDETERMINED}"]
    if report.confidence is not None:
        lines.append(f"Confidence: {report.confidence}")
    return "\n".join(lines)


def _write_skin_r1(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    return f"{diagnosis} ({report.malignancy})" if report.malignancy else diagnosis


def _write_skin_r1_sft(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    kinds = ([f"subtype of {', '.join(ancestors)}"] if ancestors else []) + (
        [f"generally classified as {report.malignancy}"] if report.malignancy else []
    )
    sentence = ", ".join(kinds)
    return f"{diagnosis}. {sentence[:1].upper()}{sentence[1:]}." if sentence else diagnosis


def _write_skingpt_r1(report: DiagnosticReport, diagnosis: str, ancestors: Sequence[str]) -> str:
    return f"Final Answer: {diagnosis}"


_WRITERS: Mapping[str, Callable[[DiagnosticReport, str, Sequence[str]], str]] = {
    "report": _write_report,
    "skin_r1": _write_skin_r1,
    "skin_r1_sft": _write_skin_r1_sft,
    "skingpt_r1": _write_skingpt_r1,
}
_ONE_LINE = ("skin_r1", "skin_r1_sft")  # the answer stands between its tags without new lines
