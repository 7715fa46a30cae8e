"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skinrl.taxonomy import Taxonomy, load_taxonomy

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
