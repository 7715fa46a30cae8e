"""One line of the contract test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the contract test.

    Args:
        check: what was looked at.
        status: ``ok``, ``warn``, ``fail`` or ``skipped``.
        what: what was found.
        mend: what to do, empty when ``ok``.
        why: what it would do to a run, empty when ``ok``.
    """

    check: str
    status: str
    what: str = ""
    mend: str = ""
    why: str = ""


def failed(check: str, what: str, mend: str, why: str) -> Finding:
    """A check that the reward does not pass."""
    return Finding(check, "fail", what, mend, why)
