"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import ABSENT, chromium, open_browser
from PIL import Image

from skinrl.taxonomy import Taxonomy, load_taxonomy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it skip, saying so, where it is absent."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    """The dermatology taxonomy that ships with the project."""
    return load_taxonomy()


@pytest.fixture(scope="session")
def draw() -> Callable[..., str]:
    """Draws a small image of noise: `draw(path, seed)`; other seeds give other images. Returns the path."""

    def draw(path: Path, seed: int = 0, size: tuple[int, int] = (32, 24), **save: Any) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **save)
        return str(path)

    return draw


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of one file: Playwright's event loop must not be open while other files run theirs."""
    path = chromium()
    if path is None:
        pytest.skip(ABSENT)
    with open_browser(path) as opened:
        yield opened


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page: `open_page(path or address, width=, height=, scheme=)`. Errors of its scripts fail the test."""
    contexts, faults = [], []

    def open_page(target: Path | str, width: int = 1280, height: int = 900, scheme: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.goto(target.resolve().as_uri() if isinstance(target, Path) else target)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults, faults
