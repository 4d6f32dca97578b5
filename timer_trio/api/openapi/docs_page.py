"""The OpenAPI document as a page for people: a frame for a renderer that is in the package."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Final

_FOLDER: Final = files("timer_trio.api.openapi").joinpath("renderer")
_ORIGIN: Final[dict[str, str]] = json.loads(_FOLDER.joinpath("origin.json").read_text())

SCRIPT_PATH: Final = f"/docs/scalar-{_ORIGIN['version']}.js"
SCRIPT_HASH: Final = _ORIGIN["sha256"]
"""Of the script, unpacked."""

# Styles are written by the script as it goes, so none can be named in advance. They can fetch
# nothing: nothing is loaded or called but from the service itself.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SETTINGS: Final[dict[str, Any]] = {
    "url": "openapi.json",
    "agent": {"disabled": True},
    "hideClientButton": True,
    "mcp": {"disabled": True},
    "persistAuth": False,
    "showDeveloperTools": "never",
    "telemetry": False,
    "withDefaultFonts": False,
}


@cache
def script() -> bytes:
    """Return the renderer, packed by gzip."""
    return _FOLDER.joinpath("scalar.js.gz").read_bytes()


def page_of(title: str) -> str:
    """Return the page; all that it names lies beside it."""
    settings = escape(json.dumps(_SETTINGS))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="data:,"></head><body>'
        '<noscript>This page is drawn by a script; what it shows is <a href="openapi.json">'
        "openapi.json</a>.</noscript>"
        f'<script id="api-reference" data-configuration="{settings}" src="{SCRIPT_PATH[1:]}">'
        "</script></body></html>"
    )
