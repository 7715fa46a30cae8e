"""``skinrl data overlap``, and the same look at a test set before it is evaluated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skinrl.cli.common import Experiment, JsonOption, console, print_json
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record
    from skinrl.evaluation.contamination import Contamination

_SHOWN = 20  # pairs printed; --out has all


def overlap(
    first: Annotated[str, typer.Argument(help="Training data: a folder of images, or SOURCE=FOLDER.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Test data: a folder of images, or SOURCE=FOLDER.", metavar="B")],
    out: Annotated[Path | None, typer.Option("--out", help="Write all pairs there, as JSON Lines.")] = None,
    threshold: Annotated[
        int | None, typer.Option("--threshold", help="Bits in which the hashes of two copies may differ.", min=0)
    ] = None,
    cache: Annotated[Path, typer.Option("--cache", help="File that remembers the hashes of images.")] = Path(
        "runs/cache/images.sqlite"
    ),
    taxonomy: Annotated[str, typer.Option("--taxonomy", help="Name or file of the taxonomy.")] = "dermatology",
    json: JsonOption = False,
) -> None:
    """Find images of B that are in A: identical, nearly so (saved anew, resized, cropped, turned), or by their ids.

    With SOURCE=FOLDER the tables of a published dataset are read as well, so that ids of lesions are compared.

    Example: skinrl data overlap ham10000=../data/ham10000 isic2019=../data/isic2019 --out pairs.jsonl
    """
    from skinrl import files
    from skinrl.data.near_duplicates import THRESHOLD, hash_images
    from skinrl.data.overlap import find_overlaps
    from skinrl.evaluation.contamination import Contamination

    training, test = _records(first, taxonomy), _records(second, taxonomy)
    bits = THRESHOLD if threshold is None else threshold
    images, others = ({path for record in part for path in record.images} for part in (training, test))
    with progress("hashing images", len(images | others)) as advance:
        hashes = hash_images(sorted(images | others), cache=cache, advance=advance)
    unread = sorted((images | others) - hashes.keys())
    pairs = find_overlaps(training, test, hashes, threshold=bits)
    found = Contamination(tuple(pairs), len(images), len(others), bits)
    if out is not None:
        files.write_jsonl(out, (one.to_dict() for one in pairs))
    if json:
        print_json(
            {
                "cases": len(found.cases),
                "test_cases": len(test),
                "pairs": [one.to_dict() for one in pairs],
                "training_images": len(images),
                "test_images": len(others),
                "threshold": bits,
                "unreadable": unread,
            }
        )
    else:
        typer.echo("\n".join([*_lines(found, len(test)), *(f"cannot be read: {path}" for path in unread[:_SHOWN])]))
    if out is not None:
        console().print(f"{len(pairs)} pairs -> {out}")


def eval_overlap(experiment: Experiment, data: LoadedData) -> Contamination:
    """What the test cases of ``data`` share with the images that SFT and GRPO learn from, by the recipe as it is.

    Training data that is not there is left out, as in the check of splits.
    """
    from skinrl.cli.build import stage_data
    from skinrl.data.near_duplicates import THRESHOLD, hash_images
    from skinrl.data.overlap import find_overlaps
    from skinrl.evaluation.contamination import Contamination

    recipe = experiment.recipe
    training: dict[tuple[str, str], Record] = {}
    pixels = dict(data.pixels)
    for stage in ("sft", "grpo"):
        entries = recipe.data_for(stage)
        if not entries or not all(entry.path and Path(entry.path).is_dir() for entry in entries):
            continue
        loaded = data if entries == recipe.data_for("evaluation") else stage_data(experiment, stage)
        training.update(((record.source, record.id), record) for record in loaded.records if record.split != "test")
        pixels.update(loaded.pixels)
    learnt, test = list(training.values()), list(data.split("test"))
    images, others = ({path for record in part for path in record.images} for part in (learnt, test))
    with progress("hashing images", len(images | others)) as advance:
        cache = experiment.runs / "cache" / "images.sqlite"
        hashes = hash_images(sorted(images | others), cache=cache, advance=advance)
    pairs = find_overlaps(learnt, test, hashes, pixels=pixels)
    found = Contamination(tuple(pairs), len(images), len(others), THRESHOLD)
    for line in _lines(found, len(test)):
        console().print(f"  {line}")
    return found


def _records(place: str, taxonomy: str) -> list[Record]:
    """Records of a folder of images (one each), or of a dataset whose tables are known."""
    source, equals, folder = place.partition("=")
    if not equals:
        return _files(Path(place))
    from skinrl.data.entries import DataSpec, load_entry
    from skinrl.taxonomy import load_taxonomy

    if not Path(folder).is_dir():
        raise InputError(f"{place}: no folder {folder}")
    spec = DataSpec(source, folder, on_missing_image="skip")
    return list(load_entry(spec, load_taxonomy(taxonomy), seed=0, base=Path.cwd()))


def _files(folder: Path) -> list[Record]:
    from skinrl.data.images import SUFFIXES
    from skinrl.data.record import Record

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with images, or SOURCE=FOLDER")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"{folder}: holds no images ({', '.join(SUFFIXES)})")
    return [Record(str(path.relative_to(folder)), (str(path),), "other", str(folder), ()) for path in paths]


def _lines(found: Contamination, cases: int) -> list[str]:
    """What was found, for a person."""
    compared = f"{found.test_images} test images against {found.training_images} training images"
    if not found.overlaps:
        return [f"overlap: none ({compared})"]
    reasons = Counter(one.reason for one in found.overlaps)
    listed = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in reasons.most_common())
    lines = [f"overlap: {len(found.cases)} of {cases} test cases ({compared}); pairs: {listed}"]
    for one in found.overlaps[:_SHOWN]:
        bits = f", {one.distance} bits" if one.distance is not None else ""
        turned = ", turned or mirrored" if one.turned else ""
        lines.append(f"{one.case.id} = {one.training.source}:{one.training.id} ({one.reason}{bits}{turned})")
    if len(found.overlaps) > _SHOWN:
        lines.append(f"and {len(found.overlaps) - _SHOWN} more pairs")
    return lines


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that is told how many more are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)
