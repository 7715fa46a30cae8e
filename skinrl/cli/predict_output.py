"""What `skinrl predict` shows: text, JSON Lines, one page. Each says that it is no medical device."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from skinrl import files
from skinrl.cli.predict_cases import Asked
from skinrl.cli.predict_run import NOTE

__all__ = ["NOTE", "print_lines", "print_text", "text_of", "thumbnail", "write_page"]

_SIDE = 320  # pixels, the longer side of a thumbnail


def print_lines(rows: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object a line, to standard output."""
    for row in rows:
        sys.stdout.write(files.json_line(row) + "\n")


def print_text(rows: Sequence[Mapping[str, Any]]) -> None:
    """For a person, to standard output."""
    typer.echo("\n\n".join([*map(text_of, rows), NOTE]))


def text_of(row: Mapping[str, Any]) -> str:
    """The answer in its place in the hierarchy, the agreement of samples, and the report."""
    lines = [f"{row['id']}: {_answer(row)}"]
    if row["path_names"]:
        lines.append(f"  {' > '.join(row['path_names'])}")
    agreement = row.get("agreement")
    if agreement is not None and agreement["node"] is None:
        lines.append(f"  agreement: none of {agreement['samples']} samples named a disease")
    elif agreement is not None:
        count = round(agreement["share"] * agreement["samples"])
        lines.append(
            f"  agreement: {count} of {agreement['samples']} samples at or below it, {agreement['answered']} named a "
            f"disease; entropy {agreement['entropy']:.2f} nats"
        )
        lines += [f"    level {one['level']}: {one['share']:4.0%} {one['name']}" for one in agreement["levels"]]
    return "\n".join([*lines, row["completion"]])


def _answer(row: Mapping[str, Any]) -> str:
    if row["answer_node"]:
        return str(row["name"])
    return "undetermined" if row["undetermined"] else f"no answer ({row['outcome']}: {row['reason']})"


def write_page(
    file: Path,
    rows: Sequence[Mapping[str, Any]],
    cases: Sequence[Asked],
    *,
    model: str,
    taxonomy: str,
    thumbnails: bool,
) -> None:
    """Write one HTML file that opens offline."""
    from skinrl.pages.predictions import predictions_page

    shown = [[thumbnail(path) for path in case.images] if thumbnails else [] for case in cases]
    name = "/".join(Path(model).parts[-3:])  # of a folder what tells it apart, not where it lies
    facts = {"model": name, "taxonomy": taxonomy, "cases": len(rows), "note": NOTE}
    files.write_text(file, predictions_page([dict(row) | {"answer": _answer(row)} for row in rows], shown, facts))


def thumbnail(path: str) -> str:
    """A small upright copy of an image, without metadata, as a `data:` address."""
    from skinrl.data.images import open_image

    image = open_image(path)
    image.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
