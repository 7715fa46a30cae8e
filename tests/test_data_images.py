"""Images: upright, clean, and the broken ones counted and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinrl.data import images
from skinrl.data.images import ImageFacts, check_images, look_at, open_image, refuse_broken
from skinrl.errors import DataError

Draw = Callable[..., str]


def rotated(path: Path) -> Path:
    """A 40 x 20 image, red on its left half, stored lying on its side with an EXIF block that says so."""
    upright = Image.new("RGB", (40, 20), (0, 0, 255))
    upright.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise
    exif[0x010E] = "Mrs Example, 3 March"
    # A clockwise turn of what is stored gives the upright image.
    upright.rotate(90, expand=True).save(path, exif=exif, quality=95)
    return path


def test_orientation_is_applied_and_metadata_left_behind(tmp_path: Path) -> None:
    image = open_image(rotated(tmp_path / "a.jpg"))
    assert image.size == (40, 20)
    left, right = np.asarray(image)[10, 5].astype(int), np.asarray(image)[10, 35].astype(int)
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]
    assert image.info == {}
    assert dict(image.getexif()) == {}


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (8, 8), (200, 100, 50)).convert(mode).save(path)
    assert open_image(path).mode == "RGB"


def test_a_truncated_a_foreign_and_a_missing_file_are_each_named(tmp_path: Path, draw: Draw) -> None:
    whole = draw(tmp_path / "whole.jpg", 1, size=(64, 64))
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(Path(whole).read_bytes()[:900])
    text = tmp_path / "text.png"
    text.write_text("no image")
    facts = check_images([whole, str(cut), str(text), str(tmp_path / "gone.png")])
    assert [bool(fact.error) for fact in facts.values()] == [False, True, True, True]
    assert facts[str(tmp_path / "gone.png")].error == "missing"
    with pytest.raises(DataError, match=r"3 of 4 images cannot be read: .*cut\.jpg.*text\.png.*gone\.png"):
        refuse_broken(facts)
    assert len(refuse_broken(facts, allow=True)) == 3
    for path in (cut, text, tmp_path / "gone.png"):
        with pytest.raises(DataError, match=path.name):
            open_image(path)


def test_identical_pixels_have_one_hash_whatever_the_file(tmp_path: Path, draw: Draw) -> None:
    a, b = draw(tmp_path / "a.png", 1), draw(tmp_path / "b.bmp", 1)
    other, wide = draw(tmp_path / "c.png", 2), draw(tmp_path / "d.png", 1, size=(24, 32))
    assert look_at(a).pixels == look_at(b).pixels
    assert len({look_at(path).pixels for path in (a, other, wide)}) == 3


def test_the_cache_spares_the_second_look_and_notices_a_changed_file(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [draw(tmp_path / f"{n}.png", n) for n in range(3)]
    cache = tmp_path / "deep" / "images.sqlite"
    first = check_images([*paths, str(tmp_path / "gone.png")], cache=cache)
    looked: list[str] = []

    def watched(path: str) -> ImageFacts:
        looked.append(path)
        return look_at(path)

    monkeypatch.setattr(images, "look_at", watched)
    assert check_images([*paths, str(tmp_path / "gone.png")], cache=cache) == first
    assert looked == [str(tmp_path / "gone.png")]  # what was missing may have come since
    draw(tmp_path / "1.png", 9, size=(40, 40))
    assert check_images(paths, cache=cache)[paths[1]].width == 40
    assert looked[1:] == [paths[1]]


def test_a_cache_file_that_is_no_cache_is_refused(tmp_path: Path, draw: Draw) -> None:
    cache = tmp_path / "cache"
    cache.write_text("something else entirely, long enough to be looked at " * 20)
    with pytest.raises(DataError, match="delete it"):
        check_images([draw(tmp_path / "a.png")], cache=cache)


def test_a_cache_that_cannot_be_locked_or_written_costs_time_only(
    tmp_path: Path, draw: Draw, caplog: pytest.LogCaptureFixture
) -> None:
    path = draw(tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way of a folder")
    assert check_images([path], cache=tmp_path / "file" / "cache") == check_images([path])
    assert "is not used" in caplog.text
