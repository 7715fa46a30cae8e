"""Completions for evaluation: from an open engine, with a progress bar, resumable at the exact case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.cli.common import console

if TYPE_CHECKING:
    from skinrl.engine.base import Generator, Request, Sampling

_SEEDS = 1_000_003  # more than an evaluation has cases, so that runs of neighbouring seeds share no chunk's numbers


@dataclass(frozen=True)
class Written:
    """One completion as it was saved."""

    text: str
    finished: bool


def write_completions(
    file: Path,
    title: str,
    ids: Sequence[str],
    request: Callable[[int], Request],
    engine: Callable[[], Generator],
    sampling: Sampling,
    *,
    chunk: int,
) -> list[list[Written]]:
    """Completions of every case, in order; those that ``file`` already holds are not generated again.

    Args:
        file: grows by one row a case; a row that a crash cut short is generated again.
        ids: of the cases, unique.
        request: the request of a case by its number; called just before it is needed, so images stay on disk.
        engine: opens the engine, or gives the open one; never called when nothing is left to do.
        chunk: cases given to the engine at once.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done: dict[str, Any] = {}
    if file.is_file():
        done = {row["id"]: row for row in files.read_jsonl(file, grown=True)}
    todo = [number for number, name in enumerate(ids) if name not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as bar:
        task = bar.add_task(title, total=len(ids), completed=len(ids) - len(todo))
        for start in range(0, len(todo), chunk):
            numbers = todo[start : start + chunk]
            # An engine starts from the seed at every call: with one for all, each chunk would draw the same numbers.
            seed = None if sampling.seed is None else sampling.seed * _SEEDS + numbers[0]
            answers = engine().generate([request(number) for number in numbers], replace(sampling, seed=seed))
            for number, completions in zip(numbers, answers, strict=True):
                written = [{"text": one.text, "finished": one.finished} for one in completions]
                row = {"id": ids[number], "completions": written}
                files.append_jsonl(file, row)
                done[ids[number]] = row
            bar.advance(task, len(numbers))
    return [[Written(**one) for one in done[name]["completions"]] for name in ids]
