"""Cells that a table of a dataset often needs: functions of a row, made from a column."""

from __future__ import annotations

from collections.abc import Callable

from skinrl.data.record import SkinTone
from skinrl.data.sources.files import Row, is_blank


def tone(scale: str, column: str, source: str = "recorded") -> Callable[[Row], SkinTone | None]:
    """Skin tone from a column that holds a number (`2`, `2.0`) or, on the apparent scale, a word."""

    def read(row: Row) -> SkinTone | None:
        text = str(row.get(column) or "").strip()
        if is_blank(text, ("", "unk", "unknown", "na", "nan", "none", "-1")):
            return None
        return SkinTone(scale, text.removesuffix(".0") if scale != "apparent" else text, source)

    read.columns = (column,)  # type: ignore[attr-defined]  # so that a missing column is an error, not a blank
    return read


def age_band(column: str, years: int = 20) -> Callable[[Row], str | None]:
    """Band of an age in years: `"40-59"`; of 80 and more: `"80+"`."""

    def read(row: Row) -> str | None:
        text = str(row.get(column) or "").strip()
        try:
            age = float(text)
        except ValueError:
            return None
        low = int(age // years * years)
        return None if age != age or age < 0 else "80+" if age >= 80 else f"{low}-{low + years - 1}"

    read.columns = (column,)  # type: ignore[attr-defined]
    return read


def lower(column: str) -> Callable[[Row], str]:
    """A column's text in lower case."""

    def read(row: Row) -> str:
        return str(row.get(column) or "").strip().lower()

    read.columns = (column,)  # type: ignore[attr-defined]
    return read
