"""The page of ``skinrl predict`` in a real browser: readable on a telephone, usable by keyboard, asks no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from skinrl.pages.predictions import predictions_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
LONG = "Findings: " + "erythematosquamous" * 12


def row(name: str, **more: Any) -> dict[str, Any]:
    sample = {"name": "psoriasis", "outcome": "ok", "completion": "another report"}
    return {
        "id": name,
        "answer": "psoriasis",
        "path_names": ["inflammatory skin disease", "psoriasis"],
        "malignancy": "non-neoplastic",
        "confidence": 70,
        "options": [],
        "completion": LONG,
        "agreement": {
            "samples": 2, "answered": 2, "node": "psoriasis", "share": 1.0, "entropy": 0.0,
            "levels": [{"level": 1, "node": "inflammatory", "share": 1.0, "name": "inflammatory skin disease"}],
        },
        "samples": [sample, sample],
    } | more  # fmt: skip


@pytest.fixture
def html(tmp_path: Path) -> Path:
    facts = {
        "model": "grpo/final",
        "taxonomy": "dermatology",
        "cases": 2,
        "note": "Research tool, not a medical device.",
    }
    file = tmp_path / "page.html"
    file.write_text(predictions_page([row("a.png"), row("b.png", confidence=None)], [[DOT, DOT], []], facts))
    return file


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_every_case_is_there_on_any_width(width: int, scheme: str, html: Path, open_page: Callable[..., Page]) -> None:
    page = open_page(html, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_role("heading", level=2).all_inner_texts() == ["psoriasis", "psoriasis"]
    assert page.get_by_role("note").inner_text().startswith("Research tool, not a medical device.")
    assert page.get_by_role("img").count() == 2
    assert page.get_by_alt_text("Image 2 of 2 of case a.png").count() == 1
    assert page.get_by_text("70 of 100").count() == 1


def test_samples_open_and_cases_are_found_by_keyboard_alone(html: Path, open_page: Callable[..., Page]) -> None:
    page = open_page(html)
    assert not page.get_by_text("another report").first.is_visible()
    page.get_by_text("All 2 samples").first.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("another report").first.is_visible()
    page.get_by_text("All cases").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="b.png").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#case-1")
