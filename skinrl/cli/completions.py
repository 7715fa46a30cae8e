"""Completions for evaluation: from an open engine, with a progress bar, resumable at the exact case.

Several processes of one launch share the cases: each writes a file of its own, and all of them are read together, so
that a start with another number of processes goes on where the last one stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.cli.common import console
from skinrl.errors import RunError

if TYPE_CHECKING:
    from skinrl.engine.base import Generator, Request, Sampling

_SEEDS = 1_000_003  # more than an evaluation has cases, so that runs of neighbouring seeds share no chunk's numbers
_PATIENCE = 3600.0  # seconds without a single new row after which the other processes count as lost

Row = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """One completion as it was saved."""

    text: str
    finished: bool


@dataclass(frozen=True)
class Share:
    """Which cases are this process's own: every ``of``-th one, starting at ``rank``."""

    rank: int = 0
    of: int = 1

    @classmethod
    def of_launch(cls) -> Share:
        """As the launcher (accelerate, torchrun) has it in the environment."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def has(self, number: int) -> bool:
        return number % self.of == self.rank

    def file(self, shared: Path) -> Path:
        """This process's part of a file."""
        return shared if self.of == 1 else shared.with_name(f"{shared.stem}.{self.rank}-of-{self.of}{shared.suffix}")


def fingerprint(*asked: Any) -> str:
    """A short checksum of what was asked, kept in each row: a row that answers another question is not taken."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]


def parts_of(file: Path) -> list[Path]:
    """The file and the parts that processes wrote beside it."""
    return [*([file] if file.is_file() else []), *sorted(file.parent.glob(f"{file.stem}.*-of-*{file.suffix}"))]


def saved_rows(
    file: Path, asked: Mapping[str, str] | None = None, accept: Callable[[Row], bool] | None = None
) -> dict[str, Row]:
    """Rows by id from a file and its parts; rows that answer another question, or that are not accepted, left out.

    Args:
        asked: id -> fingerprint. A row without one (of an older version) is taken.
    """
    found: dict[str, Row] = {}
    for part in parts_of(file):
        for row in files.read_jsonl(part, grown=True):
            same = asked is None or row.get("asked") in (None, asked.get(row["id"]))
            if same and (accept is None or accept(row)):
                found[row["id"]] = row
    return found


def write_rows(
    file: Path,
    title: str,
    ids: Sequence[str],
    make: Callable[[list[int]], list[Row]],
    *,
    chunk: int,
    asked: Mapping[str, str] | None = None,
    accept: Callable[[Row], bool] | None = None,
    share: Share | None = None,
) -> dict[str, Row]:
    """Make and save the rows of this process's cases that are not there yet; gives all rows that are there then.

    Args:
        file: grows by one row a case; a row that a crash cut short is made again.
        ids: of the cases, unique.
        make: rows (without ``id`` and ``asked``) of some cases by their numbers; never called when nothing is left.
        chunk: cases given to ``make`` at once.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    share = share or Share.of_launch()
    done = saved_rows(file, asked, accept)
    own = [number for number in range(len(ids)) if share.has(number)]
    todo = [number for number in own if ids[number] not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as bar:
        task = bar.add_task(title, total=len(own), completed=len(own) - len(todo))
        for start in range(0, len(todo), chunk):
            numbers = todo[start : start + chunk]
            for number, made in zip(numbers, make(numbers), strict=True):
                row = {"id": ids[number], **made}
                if asked is not None:
                    row["asked"] = asked[ids[number]]
                files.append_jsonl(share.file(file), row)
                done[ids[number]] = row
            bar.advance(task, len(numbers))
    return done


def write_completions(
    file: Path,
    title: str,
    ids: Sequence[str],
    request: Callable[[int], Request],
    engine: Callable[[], Generator],
    sampling: Sampling,
    *,
    chunk: int,
    asked: Mapping[str, str] | None = None,
    share: Share | None = None,
) -> list[list[Written]]:
    """Completions of every case, in order; those that ``file`` already holds are not generated again.

    Where several processes share the cases, an empty list stands for a case that another one has not finished.

    Args:
        request: the request of a case by its number; called just before it is needed, so images stay on disk.
        engine: opens the engine, or gives the open one; never called when nothing is left to do.
    """

    def make(numbers: list[int]) -> list[Row]:
        # An engine starts from the seed at every call: with one for all, each chunk would draw the same numbers.
        seed = None if sampling.seed is None else sampling.seed * _SEEDS + numbers[0]
        answers = engine().generate([request(number) for number in numbers], replace(sampling, seed=seed))
        return [{"completions": [{"text": c.text, "finished": c.finished} for c in some]} for some in answers]

    done = write_rows(
        file,
        title,
        ids,
        make,
        chunk=chunk,
        asked=asked,
        accept=lambda row: has_completions(row, sampling.n),
        share=share,
    )
    return [completions_of(done[name]) if name in done else [] for name in ids]


def has_completions(row: Row, count: int) -> bool:
    return len(row.get("completions", ())) == count


def completions_of(row: Row) -> list[Written]:
    return [Written(**one) for one in row["completions"]]


def wait_for_rows(
    file: Path,
    ids: Sequence[str],
    *,
    asked: Mapping[str, str] | None = None,
    accept: Callable[[Row], bool] | None = None,
    patience: float = _PATIENCE,
) -> dict[str, Row]:
    """All rows, waiting for the other processes of the launch.

    Raises:
        RunError: nothing came for ``patience`` seconds.
    """
    seen, deadline, pause = -1, time.monotonic() + patience, 0.1
    while True:
        rows = saved_rows(file, asked, accept)
        if all(name in rows for name in ids):
            return rows
        if len(rows) > seen:
            seen, deadline = len(rows), time.monotonic() + patience
        if time.monotonic() > deadline:
            raise RunError(
                f"{file}: {len(rows)} of {len(ids)} cases are answered and no more came for {patience:.0f} s; another "
                "process of the launch has stopped. The same command resumes"
            )
        time.sleep(pause)
        pause = min(5.0, 1.5 * pause)  # long files are read anew each time
