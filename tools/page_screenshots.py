"""The two pictures of an evaluation's page in the README, from a page that `make demo` made.

    python tools/page_screenshots.py runs/phantom/default/report.html

Writes docs/images/report.png (a desktop window) and docs/images/report_phone.png (three views on a phone, one of them
dark), each under 300 KB. Use a run of the phantom: its lesions are drawn, so no patient and no licence is touched.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
_IMAGES = ROOT / "docs" / "images"
_MOST_BYTES = 300_000
_GAP = 24
_PHONE = (("headline", "light"), ("tree", "light"), ("mistakes", "dark"))


def save(image: Image.Image, path: Path) -> None:
    """A PNG with as many colours as fit."""
    for colours in (256, 128, 64):
        stream = io.BytesIO()
        image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
        if stream.tell() < _MOST_BYTES:
            break
    path.write_bytes(stream.getvalue())
    print(f"{path}: {image.size[0]} x {image.size[1]}, {stream.tell() / 1000:.0f} kB, {colours} colours")


def main() -> None:
    from browser import ABSENT, chromium, open_browser

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    address = parser.parse_args().page.resolve().as_uri()
    path = chromium()
    if path is None:
        raise SystemExit(ABSENT)
    with open_browser(path) as browser:

        def look(section: str, scheme: str, width: int, height: int) -> Image.Image:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
            )
            tab = context.new_page()
            tab.goto(address)
            tab.evaluate("id => id && document.getElementById(id).scrollIntoView()", section)
            tab.wait_for_timeout(500)
            shot = Image.open(io.BytesIO(tab.screenshot()))
            context.close()
            return shot

        save(look("", "light", 1280, 1000), _IMAGES / "report.png")
        views = [look(section, scheme, 390, 844) for section, scheme in _PHONE]
    sheet = Image.new("RGB", (390 * len(views) + _GAP * (len(views) - 1), 844), "white")
    for number, view in enumerate(views):
        sheet.paste(view, (number * (390 + _GAP), 0))
    save(sheet, _IMAGES / "report_phone.png")


if __name__ == "__main__":
    main()
