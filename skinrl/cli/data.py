"""``skinrl data``."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True)


def doctor() -> None:
    """Placeholder until its room is there."""
