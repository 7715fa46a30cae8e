"""Complete checkpoints on disk: published by one rename, proven by a manifest with a checksum per file.

A checkpoint is written into ``tmp-checkpoint-N``, then receives ``manifest.json`` and takes the name
``checkpoint-N``. Whatever has no manifest, or does not match it, is not a checkpoint.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from skinrl.errors import InputError
from skinrl.files import checksum, read_json, write_json

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
TEMPORARY = "tmp-checkpoint-"
_FINAL = re.compile(r"checkpoint-(\d+)")
_REPLACED = ".replaced"
_THREADS = 8  # hashing releases the interpreter's lock
# Files that something may load: one of these that the manifest does not list was not written by the run
_LOADABLE = {".safetensors", ".bin", ".pt", ".pth", ".pkl"}


class CheckpointError(InputError):
    """A checkpoint is incomplete, damaged, or not this run's own."""


def write_manifest(folder: Path, *, step: int, world_size: int) -> None:
    """Flush every file below ``folder`` to the disk and record its size and SHA-256."""
    files = _files(folder)
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(_flush_and_hash, files))
    entries = {
        str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": digest}
        for file, digest in zip(files, digests, strict=True)
    }
    write_json(folder / MANIFEST, {"step": step, "world_size": world_size, "files": entries})
    for directory in {folder, *(file.parent for file in files)}:
        _sync(directory)


def publish(staged: Path, final: Path) -> None:
    """Give ``staged`` its name. An older folder of that name goes only once the new one stands."""
    aside = final.with_name(f"tmp-{final.name}{_REPLACED}")
    if final.exists():
        final.replace(aside)
    staged.replace(final)
    _sync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def clean_stale(directory: Path) -> None:
    """Remove what a crash left half written in ``directory``; put back what it left half replaced."""
    for stale in sorted(directory.glob(f"{TEMPORARY}*")):
        final = directory / stale.name.removeprefix("tmp-").removesuffix(_REPLACED)
        if stale.name.endswith(_REPLACED) and not final.exists():
            stale.replace(final)
        else:
            logger.warning("removing %s, left half written by a run that was cut off", stale)
            shutil.rmtree(stale)


def verify_checkpoint(folder: Path) -> None:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: no manifest; a file missing, of another size, with other content, or not in the manifest.
    """
    advice = "delete this folder to go on from the checkpoint before it"
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder}: has no {MANIFEST}, so it was never completed; {advice}")
    entries = read_json(folder / MANIFEST, error=CheckpointError)["files"]
    for name, entry in entries.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{file}: is missing, but the manifest lists it; {advice}")
        if file.stat().st_size != entry["bytes"]:
            raise CheckpointError(
                f"{file}: has {file.stat().st_size} bytes, but {entry['bytes']} were written: it was cut short or "
                f"altered; {advice}"
            )
    for file in _files(folder):
        name = str(file.relative_to(folder))
        if name not in entries and file.suffix in _LOADABLE:
            raise CheckpointError(f"{file}: is not in the manifest, so the run did not write it; remove it")
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = pool.map(lambda name: checksum(folder / name), entries)
        for name, digest in zip(entries, digests, strict=True):
            if digest != entries[name]["sha256"]:
                raise CheckpointError(f"{folder / name}: its content was altered after it was written; {advice}")


def checkpoints(directory: Path) -> list[Path]:
    """Folders named ``checkpoint-N`` in ``directory``, newest (highest N) first, complete or not."""
    if not directory.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in directory.iterdir()
        if (match := _FINAL.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(found, reverse=True)]


def last_complete_checkpoint(directory: Path | str) -> Path | None:
    """The newest checkpoint in ``directory`` whose files all match its manifest, or ``None``.

    Each newer one that is incomplete or damaged is passed over with a warning that says what is wrong with it.
    """
    for folder in checkpoints(Path(directory)):
        try:
            verify_checkpoint(folder)
        except CheckpointError as error:
            logger.warning("passing over a broken checkpoint: %s", error)
        else:
            return folder
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _flush_and_hash(file: Path) -> str:
    _sync(file)
    return checksum(file)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
