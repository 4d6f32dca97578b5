"""Templates, and what stands in the head of each answer of the console."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from quart import Response

from timer_trio import __version__
from timer_trio.domain.timer import rfc3339

ROOT: Final = "/console"
HTML: Final = "text/html; charset=utf-8"
HEADERS: Final[Mapping[str, str]] = {
    # Nothing from elsewhere, and no script or style in a page itself.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NONE: Final = "\N{EN DASH}"
"""In the place of a number that there is not."""
STATIC_MEDIA: Final[Mapping[str, str]] = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_STATIC: Final = files("timer_trio.console").joinpath("static")


def static_file(name: str) -> bytes:
    return _STATIC.joinpath(name).read_bytes()


def answer(html: str, status: int = 200) -> Response:
    return Response(html, status, {**HEADERS}, content_type=HTML)


def see_other(url: str) -> Response:
    """Send a browser elsewhere, so that a reload does nothing twice."""
    return Response(b"", 303, {**HEADERS, "Location": url}, content_type=HTML)


def places(prefix: str) -> dict[str, str]:
    """Return what a template has for its links, given what clients have before each path.

    `base` goes before a path of the service, `root` is the first page of the console.
    """
    return {"base": prefix, "root": prefix + ROOT}


def render(template: str, values: Mapping[str, Any]) -> str:
    return _ENVIRONMENT.get_template(template).render(values)


def render_part(template: str, part: str, values: Mapping[str, Any]) -> str:
    """Return one block of a template alone."""
    found = _ENVIRONMENT.get_template(template)
    return "".join(found.blocks[part](found.new_context(dict(values))))


def _parsed(instant: str | datetime) -> datetime:
    if isinstance(instant, datetime):
        return instant.astimezone(UTC)
    return datetime.fromisoformat(instant).astimezone(UTC)


def _instant(instant: str | datetime | None, empty: str = "never") -> Markup:
    """Show an instant in UTC; the script adds how far away it is."""
    if instant is None:
        return Markup('<span class="dim">{}</span>').format(empty)
    parsed = _parsed(instant)
    iso = rfc3339(parsed)
    text = f"{parsed:%Y-%m-%d %H:%M:%S}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, iso, text)


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.12g}"


def _duration(seconds: float | None) -> str:
    """Show a time in the unit that suits it."""
    if seconds is None:
        return NONE
    for limit, divisor, unit in (
        (1, 0.001, "ms"),
        (120, 1, "s"),
        (7_200, 60, "min"),
        (172_800, 3_600, "h"),
    ):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("timer_trio.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "instant": _instant,
        "pretty": _pretty,
        "number": _number,
        "duration": _duration,
    }
    environment.globals |= {"version": __version__}
    return environment


_ENVIRONMENT: Final = _environment()
