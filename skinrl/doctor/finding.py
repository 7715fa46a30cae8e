"""What a check found: one line for a person, the same fields for a program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail", "skipped"]
_ORDER: tuple[Status, ...] = ("fail", "warn", "ok", "skipped")


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        check: What was checked, in a word or two; stable, for programs.
        status: `fail` would stop or silently corrupt a run, `warn` may, `skipped` could not be checked here.
        what: What was found.
        why: Why it matters; empty where all is well.
        mend: What to do about it; empty where all is well.
    """

    check: str
    status: Status
    what: str
    why: str = ""
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """The fields of `skinrl doctor --json`."""
        return asdict(self)


def ok(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", what)


def skipped(check: str, what: str) -> Finding:
    """It could not be checked; ``what`` says why."""
    return Finding(check, "skipped", what)


def worst(findings: Iterable[Finding]) -> Status:
    """The gravest status among the findings; `skipped` if there are none."""
    found = {finding.status for finding in findings}
    return next((status for status in _ORDER if status in found), "skipped")


def by_gravity(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest first, otherwise in the order in which they were checked."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.status))
