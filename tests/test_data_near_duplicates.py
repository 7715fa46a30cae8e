"""Near duplicates: the hashes, the search, and what is found among real photographs."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from skinrl.data.near_duplicates import (
    COARSE,
    SURE,
    THRESHOLD,
    fit,
    hash_images,
    image_hash,
    near_pairs,
    search,
    turned,
)


def blobs(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A smooth random picture with some grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def crop(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


def saved(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved": lambda image: saved(image, 50),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "double": lambda image: image.resize((image.width * 2, image.height * 2)),
    "square": lambda image: image.resize((224, 224)),
    "cropped": lambda image: crop(image, 0.02),
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "all": lambda image: saved(crop(ImageOps.mirror(image), 0.02).resize((224, 224)), 70),
}


# --- hashes --------------------------------------------------------------------------------------------------------


def test_hashes_equal_those_of_imagehash_in_all_eight_positions():
    for seed in range(3):
        image = blobs(seed)
        small = image.convert("L").resize((64, 64), Image.Resampling.LANCZOS)
        for turn, words in enumerate(image_hash(image)):
            placed = turned(small, turn)
            coarse = imagehash.phash(placed, hash_size=8, highfreq_factor=8).hash
            fine = imagehash.phash(placed, hash_size=16).hash
            bits = np.unpackbits(words.view(np.uint8)).astype(bool)
            assert (bits == np.concatenate([coarse.ravel(), fine.ravel()])).all(), (seed, turn)


def test_the_eight_positions_are_eight():
    image = blobs(0, (64, 64)).convert("L")
    assert len({turned(image, turn).tobytes() for turn in range(8)}) == 8


def test_files_are_hashed_once_and_a_changed_file_anew(tmp_path, monkeypatch):
    paths = [str(tmp_path / f"{n}.png") for n in range(4)]
    for seed, path in enumerate(paths[:3]):
        blobs(seed).save(path)
    Path(paths[3]).write_bytes(b"no image")
    cache, seen = tmp_path / "cache" / "hashes.sqlite", []
    first = hash_images([*paths, paths[0], "missing.png"], cache=cache, processes=1, advance=seen.append)
    assert list(first) == paths[:3]  # unreadable and missing files are left out
    assert sum(seen) == 4
    monkeypatch.setattr("skinrl.data.near_duplicates.open_image", None)  # nothing is opened any more
    again = hash_images(paths[:3], cache=cache, processes=1)
    assert all((first[path] == again[path]).all() for path in paths[:3])
    monkeypatch.undo()
    blobs(9).save(paths[1])
    os.utime(paths[1], ns=(1, 1))
    assert (hash_images(paths[:3], cache=cache, processes=1)[paths[1]] == image_hash(Image.open(paths[1]))).all()


def test_several_processes_give_the_same_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr("skinrl.data.near_duplicates._FEW", 10)
    paths = []
    for seed in range(20):
        paths.append(str(tmp_path / f"{seed}.png"))
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(paths[-1])
    one, two = hash_images(paths, processes=1), hash_images(paths, processes=2)
    assert list(one) == list(two) == paths
    assert all((one[path] == two[path]).all() for path in paths)


# --- search --------------------------------------------------------------------------------------------------------


def test_search_finds_what_comparing_all_with_all_finds():
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 2**64, (500, 5), dtype=np.uint64)
    asked = stored[rng.integers(0, 500, 3000)].copy()
    for row in asked:  # flips some bits: a few of the coarse word, more of the fine ones
        for word, most in ((0, 9), *((word, 30) for word in range(1, 5))):
            for bit in rng.integers(0, 64, rng.integers(0, most)):
                row[word] ^= np.uint64(1) << np.uint64(bit)
    coarse = np.bitwise_count(stored[:, None, 0] ^ asked[None, :, 0])
    fine = np.bitwise_count(stored[:, None, 1:] ^ asked[None, :, 1:]).sum(axis=2)
    wanted = {(int(r), int(c)): int(fine[r, c]) for r, c in np.argwhere((coarse <= COARSE) & (fine <= THRESHOLD))}
    rows, columns, bits = search(stored, asked, THRESHOLD)
    assert 1000 < len(wanted) < 3000
    assert dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), bits.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("swap", [False, True])
def test_pairs_name_the_sets_in_the_order_given_whichever_is_larger(swap):
    many = {f"m{seed}": image_hash(blobs(seed)) for seed in range(6)}
    few = {"few": image_hash(ImageOps.mirror(blobs(4)))}
    (pair,) = near_pairs(few, many) if swap else near_pairs(many, few)
    assert (pair.first, pair.second) == (("few", "m4") if swap else ("m4", "few"))
    assert pair.turned
    assert pair.distance <= 2
    assert near_pairs({}, few) == near_pairs(many, {}) == []


def test_flat_images_fit_nothing():
    flat = Image.new("L", (96, 96), 90)
    assert fit(flat, flat) == 0.0
    grey = blobs(1, (96, 96)).convert("L")
    assert fit(grey, flat) == 0.0
    assert fit(grey, grey) == pytest.approx(1.0)
    moved = grey.transform((96, 96), Image.Transform.AFFINE, (1, 0, 2.25, 0, 1, 0.75), Image.Resampling.BICUBIC)
    assert fit(grey, moved) > 0.85  # by one and a half and half a pixel of 64


def test_pictures_alike_in_their_coarse_shades_alone_are_no_copies(tmp_path):
    """What the hashes of drawn lesions cannot tell apart: the same large shades, another texture."""
    rng = np.random.default_rng(0)
    shades = np.asarray(Image.fromarray(rng.integers(0, 256, (14, 18), np.uint8)).resize((160, 120)), float)
    for number in (1, 2):
        texture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 54), np.uint8))
        both = shades + 0.5 * (np.asarray(texture.resize((160, 120)), float) - 128)
        Image.fromarray(np.clip(both, 0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
    one, two = (hash_images([str(tmp_path / f"{number}.png")], processes=1) for number in (1, 2))
    (first,), (second,) = one.values(), two.values()
    _, _, bits = search(first[:1], second[:1], THRESHOLD)
    assert SURE < bits[0] <= THRESHOLD
    assert near_pairs(one, two, processes=1) == []
    assert len(near_pairs(one, one, processes=1)) == 1


# --- real photographs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(shared_data) -> dict[str, Image.Image]:
    files = [*sorted((shared_data / "pad_ufes_20" / "images").glob("*.jpg"))[::6]]
    files += sorted((shared_data / "isic_uda1" / "images").glob("*.jpg"))[::3]
    return {str(file): Image.open(file).convert("RGB") for file in files}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_real_photographs_are_found_and_other_lesions_are_not(copy, photographs, tmp_path):
    hashes = hash_images(photographs, processes=1)
    copies = {}
    for number, (path, image) in enumerate(list(photographs.items())[::4]):
        copies[str(tmp_path / f"{number}.jpg")] = path
        COPIES[copy](image).save(tmp_path / f"{number}.jpg", quality=90)
    pairs = near_pairs(hashes, hash_images(copies, processes=1), processes=1)
    assert {(pair.second, pair.first) for pair in pairs} == set(copies.items())
    assert all(pair.turned == (copy in ("mirrored", "turned", "all")) for pair in pairs)


def test_no_two_lesions_are_near_before_the_pixels_are_asked(photographs):
    hashes = list(hash_images(photographs, processes=1).values())
    upright, placed = np.stack([one[0] for one in hashes]), np.concatenate(hashes)
    rows, columns, _ = search(upright, placed, THRESHOLD)
    assert set(zip(rows.tolist(), (columns // 8).tolist(), strict=True)) == {(n, n) for n in range(len(hashes))}
    assert SURE < 70  # the nearest two of all 235 photographs are 70 bits apart


def test_the_pixels_tell_a_copy_from_another_lesion(photographs):
    small = [image.convert("L").resize((96, 96)) for image in photographs.values()]
    others = [fit(small[n], small[n - 1]) for n in range(len(small))]
    same = [fit(one, crop(image, 0.02).convert("L").resize((96, 96)))
            for one, image in zip(small, photographs.values(), strict=True)]  # fmt: skip
    assert max(others) < 0.4
    assert min(same) > 0.9
