"""Checks before a run: what would fail, or silently corrupt it, before it costs GPU hours.

`examine` runs them all and returns `Finding`s; the checks themselves are pure functions on plain values, in
`environment`, `model`, `training` and `data`.
"""

from skinrl.doctor.finding import Finding, by_gravity, worst

__all__ = ["Finding", "by_gravity", "worst"]
