"""A real Chromium for tests of pages: the system's own, because Playwright's download is not asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# SKINRL_CHROMIUM names one that stands elsewhere.
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
ABSENT = "no Chromium: `make system-packages` installs it where one may; SKINRL_CHROMIUM names one elsewhere"


def chromium() -> str | None:
    """The path of a Chromium on this machine; None where there is none."""
    named = os.environ.get("SKINRL_CHROMIUM")
    if named:
        return shutil.which(named)
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    """The browser at ``path``, without windows; root, as in a container, may not use its sandbox."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()
