"""What the user should know about a source before trusting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from skinrl.data.sources.rows import chosen_files

if TYPE_CHECKING:
    from skinrl.data.sources.table import SourceTable


def layout_warnings(source: SourceTable) -> list[str]:
    """A warning where nobody has seen the files of this layout."""
    if source.layout != "unverified":
        return []
    return [
        f"{source.name}: the layout of this dataset is unverified ({source.layout_from}); compare some records with "
        "its files before you trust a result"
    ]


def count_warnings(
    source: SourceTable, counts: Mapping[str, int], parts: Sequence[str] | None, named: int, missing: int
) -> list[str]:
    """What differs from the published counts, and images that are absent."""
    tables = chosen_files(source, parts)
    said = {what: n for what, n in source.published.items() if what in tables or (what == "rows" and parts is None)}
    lines = [
        f"{source.name}: {counts.get(what, 0):,} {'rows' if what == 'rows' else f'rows of the {what} part'}, but "
        f"{n:,} are published: a part of the dataset, or another version"
        for what, n in said.items()
        if counts.get(what, 0) != n
    ]
    if missing:
        lines.append(f"{source.name}: {named - missing:,} of the {named:,} images that its table names are there")
    return lines
