"""A page for people, with no script and nothing from elsewhere."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Final

MEDIA: Final = "text/html; charset=utf-8"
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
STYLE: Final = files("timer_trio.api").joinpath("page.css").read_bytes()
STYLE_PATH: Final = "/docs/style.css"


def page(title: str, body: str, root_path: str) -> str:
    """Return a page around a body that is HTML already; `root_path`: what stands before paths."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    view = '<meta name="viewport" content="width=device-width">'
    style = f'<link rel="stylesheet" href="{root_path}{STYLE_PATH}">'
    start = '<!doctype html><html lang="en">'
    return f"{start}<head>{head}{view}{style}</head><body>{body}</body></html>"
