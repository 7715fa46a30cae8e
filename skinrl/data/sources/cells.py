"""Cells that a table of a dataset often needs: functions of a row, made from columns."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from skinrl.data.record import SkinTone
from skinrl.data.sources.files import Row, is_blank
from skinrl.errors import DataError

_NO_TONE = ("", "unk", "unknown", "na", "nan", "none", "-1")


def tone(
    scale: str, column: str, source: str = "recorded", values: Mapping[str, str] | None = None
) -> Callable[[Row], SkinTone | None]:
    """Skin tone from a column that holds a number (`2`, `2.0`) or, on the apparent scale, a word.

    Args:
        scale, source: see `SkinTone`.
        column: of the table.
        values: what the table writes -> value on the scale; a value that it does not name is taken as it is.
    """

    def read(row: Row) -> SkinTone | None:
        text = str(row.get(column) or "").strip().removesuffix(".0")
        if is_blank(text, _NO_TONE):
            return None
        value = (values or {}).get(text, text)
        return SkinTone(scale, value, source) if value else None

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


def first_of(*columns: str) -> Callable[[Row], str]:
    """Text of the first of several columns that is filled; the table needs to have one of them."""

    def read(row: Row) -> str:
        return next((str(row[name]).strip() for name in columns if not is_blank(row.get(name))), "")

    read.columns = (frozenset(columns),)  # type: ignore[attr-defined]
    return read


def if_there(column: str) -> Callable[[Row], Any]:
    """A column that some releases of a table have and others do not; a blank where it is absent."""
    return lambda row: row.get(column)


def one_hot(*columns: str) -> Callable[[Row], str]:
    """Name of the column that holds the 1 (`1`, `1.0`); the others hold 0.

    Raises:
        DataError: when called, for a row with no 1 or with several.
    """

    def read(row: Row) -> str:
        hits = [name for name in columns if str(row.get(name)).strip() in ("1", "1.0")]
        if len(hits) != 1:
            found = ", ".join(f"{name} {row.get(name)}" for name in columns)
            raise DataError(f"expected one 1 among the columns of the classes; found {found}")
        return hits[0]

    read.columns = columns  # type: ignore[attr-defined]
    return read


def literal(column: str) -> Callable[[Row], Any]:
    """A cell that holds a Python literal: `{'Eczema': 0.41, 'Psoriasis': 0.59}`, `['a', 'b']`.

    Raises:
        DataError: when called, for a cell that holds something else.
    """

    def read(row: Row) -> Any:
        text = str(row.get(column) or "").strip()
        try:
            return ast.literal_eval(text) if text else {}
        except (ValueError, SyntaxError) as problem:
            raise DataError(f"column {column}: {text[:80]!r} is no list or mapping ({problem})") from problem

    read.columns = (column,)  # type: ignore[attr-defined]
    return read
