"""The one template of all pages."""

from __future__ import annotations

from html import escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d1d1f; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.note { color: #55555a; } footer { margin-top: 3rem; font-size: .85rem; color: #55555a; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
"""
NOT_A_DEVICE = "skinrl is a research tool, not a medical device."


def page(title: str, body: str) -> str:
    """A whole HTML document. ``title`` is text; ``body`` is HTML."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n<footer>{NOT_A_DEVICE}</footer>\n</body>\n</html>\n"
    )
