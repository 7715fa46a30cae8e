"""Nearly identical images among many: saved anew, resized, cropped a little, mirrored or turned.

Every image gets two perceptual hashes (imagehash's pHash), one of 64 and one of 256 bits, in each of its eight
positions. Two images are looked at where both hashes of one are near the upright ones of the other; if those of 256
bits are not very near, the pixels decide: what is left of a small grey copy without its coarse shades must fit that of
the other under some small shift and scale. docs/controls.md has the measurements behind the numbers below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from skinrl import files
from skinrl.data.images import open_image
from skinrl.errors import DataError

COARSE = 14  # of 64 bits: copies that differ by a crop of 2 % are within it, and 0.08 % of other pairs
THRESHOLD = 64  # of 256 bits: the same; no two photographs of different lesions that we have are within it
SURE = 24  # of 256 bits: nearer than any two different photographs by far, so that the pixels need not be asked
FIT = 0.82  # correlation of small grey copies: cropped ones 0.83 and more, drawn lesions 0.81, other photographs 0.3

_TURNS, _WORDS = 8, 5
_EDGE = 64  # pixels a side of the grey copy that is hashed
_BLOCK = 64, 4096  # hashes compared at a time: 2 MB, which stays in a core's cache
_FEW = 200  # images below which starting processes takes longer than hashing

#: (8, 5) words of 64 bits: the coarse hash, then the fine one, of the image as it is, mirrored, upside down and turned
#: by 180 degrees, then of the transposed image likewise.
ImageHash = NDArray[np.uint64]
Floats = NDArray[np.float64]

_ODD = (-1.0) ** np.arange(16)
#: Signs of the coefficients (4, 16, 16) for each of the flips.
_SIGNS = np.stack([np.ones((16, 16)), np.tile(_ODD, (16, 1)), np.tile(_ODD, (16, 1)).T, np.outer(_ODD, _ODD)])
_FLIPS = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180)


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two images that are nearly the same.

    Args:
        first, second: paths, from the two sets that were compared.
        distance: bits in which the hashes differ.
        turned: they are nearly the same after mirroring or turning one of them.
    """

    first: str
    second: str
    distance: int
    turned: bool


# --- hashing -------------------------------------------------------------------------------------------------------


def turned(image: Image.Image, turn: int) -> Image.Image:
    """The image in one of its eight positions, 0 to 7."""
    upright = image.transpose(Image.Transpose.TRANSPOSE) if turn >= len(_FLIPS) else image
    flip = _FLIPS[turn % len(_FLIPS)]
    return upright if flip is None else upright.transpose(flip)


def image_hash(image: Image.Image) -> ImageHash:
    """The hashes of an image in its eight positions.

    They are imagehash's `phash(hash_size=8, highfreq_factor=8)` and `phash(hash_size=16)`, from one cosine transform
    for all positions: mirroring an image changes the sign of every second coefficient, transposing it transposes them.
    """
    from scipy.fft import dctn

    small = image.convert("L").resize((_EDGE, _EDGE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    waves = dctn(np.asarray(small, dtype=float))[:16, :16]
    placed = np.concatenate([_SIGNS * waves, _SIGNS * waves.T])
    bits = [block > np.median(block, axis=1, keepdims=True) for block in (_flat(placed[:, :8, :8]), _flat(placed))]
    return np.packbits(np.concatenate(bits, axis=1), axis=1).view(np.uint64)


def _flat(blocks: Floats) -> Floats:
    return blocks.reshape(len(blocks), -1)


def hash_images(
    paths: Iterable[str],
    *,
    cache: Path | None = None,
    processes: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, ImageHash]:
    """Hashes of many files, in several processes; files that cannot be read are left out.

    A JPEG is decoded at the smallest size that still has four times the pixels that a hash needs.

    Args:
        paths: files; doubles are hashed once.
        cache: an SQLite file that remembers hashes by path, size and time of change. Holds no pixels.
        processes: default: one per core. They are started anew, not forked, so that a script which calls this needs
            the usual `if __name__ == "__main__":`.
        advance: told how many files are done.
    """
    stamps = {path: stamp for path in dict.fromkeys(paths) if (stamp := _stamp(path)) is not None}
    known = _read_cache(cache, stamps) if cache is not None else {}
    advance(len(known))
    fresh = [path for path in stamps if path not in known]
    found: dict[str, ImageHash] = {}
    for path, made in _hash_all(fresh, processes or os.cpu_count() or 1):
        advance(1)
        if made is not None:
            found[path] = made
    if cache is not None and found:
        _write_cache(cache, stamps, found)
    known.update(found)
    return {path: known[path] for path in stamps if path in known}


def _hash_all(paths: Sequence[str], processes: int) -> Iterator[tuple[str, ImageHash | None]]:
    if processes == 1 or len(paths) < _FEW:
        yield from zip(paths, map(_hash_file, paths), strict=True)
        return
    # Not forked: the process may hold threads of torch. A worker imports this module and little else.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from zip(paths, pool.map(_hash_file, paths, chunksize=64), strict=True)


def _hash_file(path: str) -> ImageHash | None:
    try:
        return image_hash(open_image(path, at_least=4 * _EDGE, grey=True))
    except DataError:
        return None


def _stamp(path: str) -> tuple[int, int] | None:
    """Size and time of change; None for a missing file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


_TABLE = "hashes (path TEXT PRIMARY KEY, hash BLOB, size INTEGER, changed INTEGER)"


def _read_cache(cache: Path, stamps: Mapping[str, tuple[int, int]]) -> dict[str, ImageHash]:
    with closing(files.open_cache(cache, _TABLE)) as connection:
        rows = connection.execute("SELECT path, hash, size, changed FROM hashes").fetchall()
    return {
        path: np.frombuffer(blob, dtype=np.uint64).reshape(_TURNS, _WORDS)
        for path, blob, *stamp in rows
        if stamps.get(path) == tuple(stamp)
    }


def _write_cache(cache: Path, stamps: Mapping[str, tuple[int, int]], found: Mapping[str, ImageHash]) -> None:
    rows = [(path, made.tobytes(), *stamps[path]) for path, made in found.items()]
    with closing(files.open_cache(cache, _TABLE)) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", rows)


# --- searching -----------------------------------------------------------------------------------------------------


def near_pairs(
    first: Mapping[str, ImageHash],
    second: Mapping[str, ImageHash],
    *,
    threshold: int = THRESHOLD,
    processes: int | None = None,
) -> list[NearPair]:
    """Every pair of an image of `first` and an image of `second` that are nearly the same, nearest first.

    Args:
        first, second: path -> hashes. With the same mapping twice, each pair comes in both orders, and every image
            with itself.
        threshold: bits of 256 in which the hashes may differ; above `SURE` the files are opened and compared.
        processes: for opening them; default: one per core.
    """
    if not first or not second:
        return []
    swap = len(second) > len(first)  # the larger set stays as it is, the smaller one is asked in all positions
    stored, asked = (second, first) if swap else (first, second)
    stored_names, asked_names = list(stored), list(asked)
    upright = np.stack([stored[name][0] for name in stored_names])
    rows, columns, bits = search(upright, np.concatenate([asked[name] for name in asked_names]), threshold)
    best: dict[tuple[int, int], tuple[int, int]] = {}  # (stored, asked) -> distance and position, the nearest
    for row, column, distance in zip(rows.tolist(), columns.tolist(), bits.tolist(), strict=True):
        query, turn = divmod(column, _TURNS)
        best[row, query] = min(best.get((row, query), (distance, turn)), (distance, turn))
    unsure = [(stored_names[r], asked_names[q], turn) for (r, q), (bits_, turn) in best.items() if bits_ > SURE]
    same = dict(zip(unsure, _fit_all(unsure, processes or os.cpu_count() or 1), strict=True))
    pairs = [
        NearPair(*((asked_names[q], stored_names[r]) if swap else (stored_names[r], asked_names[q])), bits_, turn > 0)
        for (r, q), (bits_, turn) in best.items()
        if same.get((stored_names[r], asked_names[q], turn), True)
    ]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.first, pair.second))


def search(
    stored: NDArray[np.uint64], asked: NDArray[np.uint64], threshold: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Every pair whose coarse hashes differ in at most `COARSE` bits and whose fine ones in at most `threshold`.

    All pairs are compared, 64 bits in one operation and some hundred thousand pairs in one call, on every core.

    Args:
        stored, asked: (N, 5) and (M, 5) words.

    Returns:
        Rows of `stored`, rows of `asked`, distances of the fine hashes in bits.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # numpy lets other threads run meanwhile
        starts = range(0, len(asked), _BLOCK[0] * 16)
        parts = list(pool.map(lambda start: _search(stored, asked, start, threshold), starts))
    rows, columns, bits = (np.concatenate(found) for found in zip(*parts, strict=True))
    return rows, columns, bits


def _search(
    stored: NDArray[np.uint64], asked: NDArray[np.uint64], start: int, threshold: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of 1,024 of the asked hashes."""
    coarse = np.ascontiguousarray(stored[:, 0])
    found = [(np.empty(0, np.intp),) * 3]
    for top in range(start, min(start + _BLOCK[0] * 16, len(asked)), _BLOCK[0]):
        block = asked[top : top + _BLOCK[0]]
        for left in range(0, len(coarse), _BLOCK[1]):
            differing = np.bitwise_count(block[:, 0, None] ^ coarse[None, left : left + _BLOCK[1]])
            columns, rows = np.divmod(np.flatnonzero(differing <= COARSE), differing.shape[1])
            rows, columns = rows + left, columns + top
            bits = np.bitwise_count(stored[rows, 1:] ^ asked[columns, 1:]).sum(axis=1, dtype=np.intp)
            near = bits <= threshold
            found.append((rows[near], columns[near], bits[near]))
    rows, columns, bits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, bits


# --- comparing the pixels ------------------------------------------------------------------------------------------

_SCALES = (1.0, 0.98, 0.965, 0.95, 0.93, 0.9)  # of the side: crops of up to 5 % on each side
_SMALL = 96  # pixels a side of the copy that crops are taken from
_SHIFT = 8  # half pixels of 64 by which crops may be moved against each other
_FINE = 1.25  # pixels of 64: shades coarser than this are taken out
_RING = np.hanning(_EDGE + 2)[1:-1]
_FADE = np.sqrt(np.outer(_RING, _RING))  # the borders count less: a shift moves other pixels in


def fit(first: Image.Image, second: Image.Image) -> float:
    """How well two grey images of 96 x 96 pixels fit at the best small shift and scale: correlation, at most 1.

    Coarse shades are taken out first: lesions are dark blobs on light skin, all of them alike.
    """
    waves = [[np.fft.rfft2(_detail(image, scale)) for scale in _SCALES] for image in (first, second)]
    best = -1.0
    for one, other in [(0, at) for at in range(len(_SCALES))] + [(at, 0) for at in range(1, len(_SCALES))]:
        matches = _at_half_pixels(waves[0][one] * waves[1][other].conj())
        window = np.roll(matches, (_SHIFT, _SHIFT), (0, 1))[: 2 * _SHIFT + 1, : 2 * _SHIFT + 1]
        best = max(best, float(window.max()))
    return best


def _at_half_pixels(wave: NDArray[np.complex128]) -> Floats:
    """The inverse transform of (64, 33) coefficients at every half pixel, (128, 128)."""
    half = _EDGE // 2
    padded = np.zeros((2 * _EDGE, _EDGE + 1), dtype=complex)
    padded[:half, : half + 1] = wave[:half]
    padded[-half:, : half + 1] = wave[half:]
    padded[half] = padded[-half] = padded[-half] / 2  # the highest frequency now has its mirror image beside it
    padded[:, half] /= 2
    return 4 * np.fft.irfft2(padded)


def _detail(image: Image.Image, scale: float) -> Floats:
    """The middle of an image at 64 x 64 pixels, without its coarse shades, of length 1; all 0 where it is flat."""
    edge = _SMALL * (1 - scale) / 2
    box = (edge, edge, _SMALL - edge, _SMALL - edge)
    small = image.resize((_EDGE, _EDGE), Image.Resampling.BICUBIC, box=box)
    coarse = small.filter(ImageFilter.GaussianBlur(_FINE))
    detail = (np.asarray(small, dtype=float) - np.asarray(coarse, dtype=float)) * _FADE
    length = float(np.linalg.norm(detail))
    return detail / length if length > 1e-9 else detail


def _fit_all(pairs: Sequence[tuple[str, str, int]], processes: int) -> list[bool]:
    if processes == 1 or len(pairs) < _FEW:
        return list(map(_fits, pairs))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_fits, pairs, chunksize=32))


def _fits(pair: tuple[str, str, int]) -> bool:
    """Whether the second file, in the position given, shows what the first shows."""
    first, second, turn = pair
    return fit(_grey(first), turned(_grey(second), turn)) >= FIT


@lru_cache(maxsize=256)
def _grey(path: str) -> Image.Image:
    small = open_image(path, at_least=2 * _SMALL, grey=True)
    return small.resize((_SMALL, _SMALL), Image.Resampling.LANCZOS)
