"""``skinrl page``: the results of a run, or of several, on one page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer

from skinrl import __version__, files
from skinrl.cli.common import console
from skinrl.cli.page_files import find_evaluations, labels_of, thumbnails
from skinrl.cli.page_sets import by_cases, read_set
from skinrl.errors import InputError

IMAGES = 200


def page(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs (runs/<recipe>/<run>).", metavar="RUN...")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page; default: RUN/report.html.")] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="No photograph on the page, for privacy.")] = False,
    images: Annotated[int, typer.Option("--images", min=0, max=IMAGES, help="At most so many thumbnails.")] = IMAGES,
) -> None:
    """Put the results of runs onto one HTML page that opens without a network.

    The page holds ids, answers and thumbnails of cases: it stays where the data may be.

    Examples: skinrl page runs/phantom/default

    skinrl page runs/phantom/seed0 runs/phantom/seed1 --out both.html --no-images
    """
    lost = [str(run) for run in runs if not run.is_dir()]
    if lost:
        raise InputError(f"{', '.join(lost)}: no such folder; expected runs/<recipe>/<run>")
    path = write_page(runs, out, images=0 if no_images else images)
    console().print(f"page: -> {path} ({path.stat().st_size / 2**20:.1f} MiB)")


def write_page(folders: Path | Sequence[Path], out: Path | None = None, *, images: int = IMAGES) -> Path:
    """Write the page of one or several runs; returns where.

    Args:
        folders: of runs, or of single evaluations.
        out: default: `report.html` in the first folder.
        images: at most so many thumbnails; 0 for none.

    Raises:
        InputError: a folder without an evaluation; DataError: files that do not belong together.
    """
    from skinrl.pages.report import report_page

    given = [folders] if isinstance(folders, Path) else folders
    runs = list({run.resolve(): run for run in given}.values())
    if not runs:
        raise InputError("no run to show; expected at least one folder of a run")
    labels = labels_of(runs)
    evaluated = [one for run, label in labels.items() for one in find_evaluations(run, label)]
    sets = [read_set(group, several=len(labels) > 1) for group in by_cases(evaluated)]
    notes = _add_images(sets, images)
    seeds = runs[0].parent / "seeds.json"
    report = {
        "title": ", ".join(labels.values()),
        "facts": _facts(sets),
        "made": f"Made on {datetime.now(UTC).date()} by skinrl {__version__}.",
        "notes": notes,
        "seeds": files.read_json(seeds) if seeds.is_file() else None,
        "sets": sets,
    }
    path = out or runs[0] / "report.html"
    files.write_text(path, report_page(report))
    return path


def _facts(sets: Sequence[dict[str, Any]]) -> str:
    most = max(sets, key=lambda one: len(one["cases"]["id"]))
    sources = ", ".join(sorted(set(most["cases"]["source"])))
    return f"{len(most['cases']['id']):,} cases from {sources}."


def _add_images(sets: Sequence[dict[str, Any]], limit: int) -> list[str]:
    """Give thumbnails to the cases shown, in turn to each model's worst and right ones; returns what is missing."""
    missing = [one for one in sets if not one["paths"]]
    unread = 0
    turns = [
        [(one, number) for number in listed]
        for one in sets
        for model in one["models"]
        for listed in (model["worst"], model["right"])
    ]
    chosen: dict[int, dict[int, str]] = {id(one): {} for one in sets}
    left = limit
    for one, number in (item for turn in zip_longest(*turns) for item in turn if item is not None):
        path = one["paths"].get(one["cases"]["id"][number])
        if left and path is not None and number not in chosen[id(one)]:
            chosen[id(one)][number] = path
            left -= 1
    for one in sets:
        one["images"], lost = thumbnails(chosen[id(one)])
        unread += lost
        del one["paths"]
    if limit == 0:
        return ["This page was made without photographs."]
    notes = [f"{unread} images could not be read again; their cases are shown without."] if unread else []
    if missing:
        notes.append("Images are not shown where the evaluation did not write down which image belongs to which case.")
    return notes
