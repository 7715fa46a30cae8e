"""Near duplicates: images hashed in a second and pairs compared in a second, against the plain way.

    python benchmarks/contamination.py
    python benchmarks/contamination.py --json rows.json --images ../data/isic2019 --files 2000 --stored 80000

``stock`` hashes as the examples of imagehash do: each file opened whole, `phash` of 64 and of 256 bits of each of the
eight positions, one file after the other; and it compares every hash with every hash by imagehash's own subtraction.
Both are timed on fewer files and pairs. The results are compared before anything is timed: the pairs must be the same,
and the hashes within 16 bits (ours are of files decoded at a fraction of their size; the tests compare whole ones).

Images are drawn (1,024 x 768 pixels, JPEG) unless a folder is named. Rows: hashing in one process and in all; opening
the files alone, as hashing does; searching, with as many stored and asked images as named, each asked one in eight
positions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from skinrl.data.images import SUFFIXES, open_image
from skinrl.data.near_duplicates import COARSE, THRESHOLD, hash_images, search, turned

Words = np.ndarray[Any, np.dtype[np.uint64]]


def draw(folder: Path, count: int) -> list[str]:
    """JPEG files of smooth colours with some grain."""
    paths = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((1024, 768))
        grain = rng.normal(0, 5, (768, 1024, 1))
        paths.append(str(folder / f"{seed}.jpg"))
        Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def stock_hash(path: str) -> list[tuple[imagehash.ImageHash, imagehash.ImageHash]]:
    """The two hashes of the eight positions, by imagehash alone."""
    image = open_image(path)
    return [
        (imagehash.phash(placed, hash_size=8, highfreq_factor=8), imagehash.phash(placed, hash_size=16))
        for placed in (turned(image, turn) for turn in range(8))
    ]


def stock_pairs(stored: Sequence[Any], asked: Sequence[Any]) -> set[tuple[int, int]]:
    """Pairs within both thresholds, each hash with each."""
    return {
        (row, column)
        for row, (coarse, fine) in enumerate(stored)
        for column, (other, finer) in enumerate(asked)
        if coarse - other <= COARSE and fine - finer <= THRESHOLD
    }


def as_stock(words: Words) -> list[tuple[imagehash.ImageHash, imagehash.ImageHash]]:
    """Hashes of ours as imagehash's own."""
    bits = np.unpackbits(words.view(np.uint8), axis=1).astype(bool)
    return [
        (imagehash.ImageHash(row[:64].reshape(8, 8)), imagehash.ImageHash(row[64:].reshape(16, 16))) for row in bits
    ]


def random_hashes(count: int, seed: int) -> Words:
    """Hashes (count, 5) whose coarse parts differ as those of lesions do: in 25 of 64 bits, give or take 3.5."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, (count, 5), dtype=np.uint64)
    words[:, 0] &= np.uint64(2**50 - 1)
    return words


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(name: str, unit: str, stock: list[float], ours: list[float], **settings: Any) -> dict[str, Any]:
    """Rates as the rows of every benchmark have them."""

    def spread(values: Sequence[float]) -> dict[str, float]:
        return {"median": statistics.median(values), "low": min(values), "high": max(values)}

    ratios = [a / b for a, b in zip(ours, stock, strict=True)]
    return {"what": name, "unit": unit, **settings, "stock": spread(stock), "skinrl": spread(ours)} | {
        "ratio": spread(ratios)
    }


def check(paths: Sequence[str]) -> None:
    """Both ways agree, or nothing is timed."""
    stored, asked = random_hashes(60, 0), random_hashes(60, 0)
    asked[:, 1] ^= np.uint64(0xFF)
    rows, columns, _ = search(stored, asked, THRESHOLD)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == stock_pairs(as_stock(stored), as_stock(asked))
    hashes = hash_images(paths, processes=1)
    for path in paths:
        ours, wanted = as_stock(hashes[path]), stock_hash(path)
        far = max(a - b for one, two in zip(ours, wanted, strict=True) for a, b in zip(one, two, strict=True))
        assert far <= 16, f"{path}: {far} bits apart"  # decoded at a fraction of the size, so not bit by bit


def hashing(paths: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    few = paths[: max(8, len(paths) // 20)]
    naive, alone, many, opening = [], [], [], []
    cores = os.cpu_count() or 1
    for _ in range(repeats):
        naive.append(len(few) / seconds(lambda: [stock_hash(path) for path in few]))
        alone.append(len(paths) / seconds(lambda: hash_images(paths, processes=1)))
        opening.append(len(paths) / seconds(lambda: [open_image(path, at_least=256, grey=True) for path in paths]))
        many.append(len(paths) / seconds(lambda: hash_images(paths, processes=cores)))
    return [
        row("hashing", "files per second", naive, alone, files=len(paths), processes=1),
        row("hashing", "files per second", naive, many, files=len(paths), processes=cores),
        row("opening", "files per second", naive, opening, files=len(paths), processes=1),
    ]


def searching(stored: int, asked: int, repeats: int) -> list[dict[str, Any]]:
    few = as_stock(random_hashes(300, 1)), as_stock(random_hashes(300, 2))
    naive, ours = [], []
    for repeat in range(repeats):
        left, right = random_hashes(stored, repeat), random_hashes(8 * asked, repeats + repeat)
        naive.append(300 * 300 / seconds(lambda: stock_pairs(*few)))
        ours.append(len(left) * len(right) / seconds(partial(search, left, right, THRESHOLD)))
    return [row("searching", "pairs per second", naive, ours, stored=stored, asked=asked)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="photographs instead of drawn ones")
    parser.add_argument("--files", type=int, default=400, help="images that are hashed")
    parser.add_argument("--stored", type=int, default=80_000, help="images of the larger set that is searched")
    parser.add_argument("--asked", type=int, default=500, help="images of the smaller set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.images is None:
            paths = draw(Path(folder), arguments.files)
        else:
            found = (path for path in sorted(arguments.images.rglob("*")) if path.suffix.lower() in SUFFIXES)
            paths = [str(path) for path in found][: arguments.files]
        check(paths[:8])
        rows = hashing(paths, arguments.repeats) + searching(arguments.stored, arguments.asked, arguments.repeats)
    for one in rows:
        where = ", ".join(f"{one[key]} {key}" for key in ("files", "processes", "stored", "asked") if key in one)
        numbers = (f"{one[key]['median']:,.0f}" for key in ("stock", "skinrl"))
        print(f"{one['what']} ({where}): {' -> '.join(numbers)} {one['unit']}, {one['ratio']['median']:.1f} times")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
