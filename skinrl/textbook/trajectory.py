"""The trajectory: one worked case for SFT, with where it came from and which checks it passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skinrl.data.questions import Question
from skinrl.report import DiagnosticReport


@dataclass(frozen=True)
class Trajectory:
    """One worked case.

    Args:
        images: paths; empty for a text-only row.
        question: what is asked.
        report: what is answered.
        record_id: the record it was made from.
        origin: how it was made: `made_by` (`"template"`), `rule` (which one), `neighbour` (node of the differential
            neighbour that was weighed, or empty), `answer` (`"shown"` to the maker, or `"hidden"`).
        checks: names of the checks that it passed.
    """

    images: tuple[str, ...]
    question: Question
    report: DiagnosticReport
    record_id: str
    origin: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()

    @property
    def text_only(self) -> bool:
        """Whether it has no image; such rows are counted apart."""
        return not self.images
