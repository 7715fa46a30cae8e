"""The one template of all pages: what stands in the head, and files of style and script that go into the page.

A page is one file. Its content security policy lets it reach nothing: what a model wrote, and whose skin is on it,
stays in the file. Data goes in as JSON, and scripts put it into the page as text, never as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from skinrl import files

NOBODY = "'none'"
NOT_A_DEVICE = "skinrl is a research tool, not a medical device."
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d1d1f; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.note { color: #55555a; } footer { margin-top: 3rem; font-size: .85rem; color: #55555a; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
"""


def page(title: str, body: str) -> str:
    """A plain HTML document. ``title`` is text; ``body`` is HTML."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n<footer>{NOT_A_DEVICE}</footer>\n</body>\n</html>\n"
    )


def document(
    title: str,
    body: str,
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: Any = None,
    connect: str = NOBODY,
) -> str:
    """An HTML document with scripts, in light and dark, that reaches no network.

    Args:
        title: text.
        body: HTML.
        styles, scripts: names of files in ``skinrl/pages/assets``, in order; ``base.css`` and ``dom.js`` come first.
        data: plain values, for the scripts under ``DATA``.
        connect: whom scripts may ask and whose images are shown, in the words of a content security policy; a page
            from a server of its own: ``'self'``.
    """
    style = "\n".join(map(asset, ("base.css", *styles)))
    script = "\n".join(map(asset, ("dom.js", *scripts)))
    policy = (
        f"default-src 'none'; img-src data:{'' if connect == NOBODY else ' ' + connect}; style-src 'unsafe-inline'; "
        f"script-src 'unsafe-inline'; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'  # or a browser asks the server of a live page for one
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n<style>\n{style}</style>\n</head>\n'
        f'<body>\n{body}\n<script type="application/json" id="data">{script_json(data)}</script>\n'
        f'<script>\n"use strict";\n(() => {{\n{script}\n}})();\n</script>\n</body>\n</html>\n'
    )


def asset(name: str) -> str:
    """The text of a file in ``skinrl/pages/assets``."""
    return (resources.files("skinrl.pages") / "assets" / name).read_text(encoding="utf-8")


def script_json(value: Any) -> str:
    """Compact JSON that may stand in a script element: no text in it can end the element."""
    text = json.dumps(files.plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
