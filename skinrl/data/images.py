"""Opening photographs: orientation applied, metadata left behind, RGB; and checking many of them at once.

A photograph from a telephone carries the patient's place and time in its EXIF block and often lies on its
side. `open_image` gives upright pixels and nothing else, the same ones as the rows of `dataset.py`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from skinrl.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# What Pillow raises for a file that is no image, is cut short, is damaged inside, or is absurdly large.
_UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_log = logging.getLogger(__name__)
_NAMED = 5  # how many files a message names


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a look at one file gave.

    Args:
        path: the file.
        pixels: SHA-256 of the size and the upright RGB pixels: equal for identical images, whatever their file
            format or metadata. Empty where the file cannot be read.
        width, height: upright, in pixels; 0 where the file cannot be read.
        error: why it cannot be read; empty where it can.
    """

    path: str
    pixels: str = ""
    width: int = 0
    height: int = 0
    error: str = ""


def _upright(image: Image.Image, mode: str = "RGB") -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    clean = upright.convert(mode).copy()  # a plain image: what `exif_transpose` returns still knows its EXIF block
    clean.info = {}  # EXIF, GPS, comments, colour profile: none of it leaves this function
    return clean


def open_image(path: str | Path, *, at_least: int | None = None, grey: bool = False) -> Image.Image:
    """The image at `path`: upright, RGB, without metadata, fully decoded.

    Args:
        at_least: for a thumbnail: a JPEG may come at a fraction of its size, no side below so many pixels, which
            is several times as fast.
        grey: one channel instead of three; of a JPEG the others are not even decoded.

    Raises:
        DataError: the file is missing, is no image, or is cut short.
    """
    try:
        with Image.open(path) as image:
            if at_least is not None:
                image.draft("L" if grey else "RGB", (at_least, at_least))  # does nothing to other formats
            image.load()
            return _upright(image, "L" if grey else "RGB")
    except FileNotFoundError as problem:
        raise DataError(f"image {path} is missing") from problem
    except _UNREADABLE as problem:
        raise DataError(f"image {path} cannot be read: {problem}") from problem


def look_at(path: str) -> ImageFacts:
    """Decode one file and tell what it holds; a file that cannot be read is a finding, not an exception."""
    try:
        with Image.open(io.BytesIO(Path(path).read_bytes())) as image:
            image.load()
            upright = _upright(image)
    except _UNREADABLE as problem:
        reason = "missing" if isinstance(problem, FileNotFoundError) else f"{type(problem).__name__}: {problem}"
        return ImageFacts(path, error=reason.replace(path, Path(path).name).replace("\n", " "))
    digest = hashlib.sha256(b"%d %d " % upright.size)
    digest.update(upright.tobytes())
    return ImageFacts(path, digest.hexdigest(), *upright.size)


def check_images(
    paths: Iterable[str], *, cache: Path | None = None, threads: int | None = None
) -> dict[str, ImageFacts]:
    """Look at every file once, several at a time (Pillow decodes without holding Python's lock).

    Args:
        paths: files; doubles are looked at once.
        cache: an SQLite file that remembers what was found, by path, size and time of change; the second
            call then costs one `stat` a file. Holds paths and hashes, no pixels.
        threads: default: one per core, at most 16.

    Returns:
        path -> facts, in the order of the paths given.
    """
    wanted = list(dict.fromkeys(paths))
    stamps = {path: _stamp(path) for path in wanted}
    known = _cached(_read_cache, cache, stamps) or {}
    fresh = [path for path in wanted if path not in known]
    with ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1)) as pool:
        found = list(pool.map(look_at, fresh))
    if found:
        _cached(_write_cache, cache, stamps, found)
    known.update((facts.path, facts) for facts in found)
    return {path: known[path] for path in wanted}


def refuse_broken(facts: Mapping[str, ImageFacts], *, allow: bool = False) -> list[str]:
    """The paths that cannot be read.

    Raises:
        DataError: there are such paths and `allow` is false; the message counts and names them.
    """
    broken = [fact for fact in facts.values() if fact.error]
    if broken and not allow:
        named = some(f"{fact.path} ({fact.error})" for fact in broken)
        raise DataError(
            f"{len(broken)} of {len(facts)} images cannot be read: {named}. "
            "Mend or remove them, or set on_broken_image: skip"
        )
    return [fact.path for fact in broken]


def some(items: Iterable[str], limit: int = _NAMED) -> str:
    """The first items, and how many more there are: for messages."""
    listed = list(items)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


# --- the cache ------------------------------------------------------------------------------------------------

_COLUMNS = tuple(field.name for field in fields(ImageFacts))


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change; (-1, -1) for a missing file, which is never remembered."""
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def _cached(use: Callable[..., dict[str, ImageFacts] | None], cache: Path | None, *what: Any) -> Any:
    """What the cache gives; nothing where there is none or where it cannot be used just now.

    File systems of clusters often refuse SQLite's locks; then every image is looked at again, which costs time only.
    """
    if cache is None:
        return None
    try:
        return use(cache, *what)
    except (sqlite3.OperationalError, OSError) as problem:
        _log.warning("image cache %s is not used: %s", cache, problem)
        return None
    except sqlite3.DatabaseError as problem:
        raise DataError(f"image cache {cache} is damaged ({problem}); delete it") from problem


def _connect(cache: Path) -> sqlite3.Connection:
    cache.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(cache, timeout=60)  # the wait covers several ranks that start together
    connection.execute(
        "CREATE TABLE IF NOT EXISTS images (path TEXT PRIMARY KEY, pixels TEXT, width INTEGER, height INTEGER, "
        "error TEXT, size INTEGER, changed INTEGER)"
    )
    return connection


def _read_cache(cache: Path, stamps: Mapping[str, tuple[int, int]]) -> dict[str, ImageFacts]:
    with closing(_connect(cache)) as connection:
        query = f"SELECT {', '.join(_COLUMNS)}, size, changed FROM images"
        rows = connection.execute(query).fetchall()
    return {row[0]: ImageFacts(*row[:-2]) for row in rows if stamps.get(row[0]) == row[-2:]}


def _write_cache(cache: Path, stamps: Mapping[str, tuple[int, int]], found: Sequence[ImageFacts]) -> None:
    rows = [(*astuple(facts), *stamps[facts.path]) for facts in found if stamps[facts.path] != (-1, -1)]
    with closing(_connect(cache)) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
