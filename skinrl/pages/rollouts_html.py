"""HTML from Python in which text stays text: what a model wrote is never read as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """A piece of HTML that is one already."""

    __slots__ = ()


Child = Html | str | int | None
Attribute = str | int | float | bool | None
_EMPTY = {"img", "input", "br"}  # elements of SVG are closed like any other


def el(tag: str, attributes: dict[str, Attribute] | None = None, *children: Child | Iterable[Child]) -> Html:
    """An element: attributes by name (None and False: left out), then children; text among them is escaped."""
    written = "".join(
        f" {name}" if value is True else f' {name}="{escape(str(value))}"'
        for name, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    if tag in _EMPTY:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{together(children)}</{tag}>")


def together(children: Sequence[Child | Iterable[Child]]) -> Html:
    """Children side by side, nested ones too."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, str | int):
            parts.append(escape(str(child), quote=False))
        elif child is not None:
            parts.append(together(tuple(child)))
    return Html("".join(parts))


def number(value: float | None) -> str:
    """Three digits; a dash for None."""
    return "–" if value is None else f"{value + 0.0:.3g}".replace("-", "−")


def plural(count: int, one: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
