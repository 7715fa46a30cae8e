"""Checks before a run: what would fail or silently corrupt it, before it costs GPU hours."""
