"""The one reader of callback URLs: it alone says where a URL leads and how a request names it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import httpx

from timer_trio.domain.timer import CallbackUrl, Destination

_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535
_SPELLING: Final = re.compile(
    r"https?://([^/?#]*@)?(\[[^\[\]]*\]|[^/?#:@\[\]]*)(:[0-9]*)?([/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
"""httpx takes more: a port in letters of any script or with a sign, and one without a colon."""


@lru_cache(maxsize=1_024)  # most callbacks go to a few URLs, and reading one costs 10 µs or more
def read_url(text: str) -> CallbackUrl:
    """Read a URL.

    Raises:
        ValueError: no request can be made of it, and why, in words that follow its name.
    """
    if not _SPELLING.fullmatch(text):
        raise ValueError("is not a valid URL")
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (ValueError, httpx.InvalidURL):
        raise ValueError("is not a valid URL") from None
    port = _PORTS[url.scheme] if url.port is None else url.port
    if port > _MAX_PORT:
        raise ValueError("is not a valid URL")
    _check_host(url)
    return CallbackUrl(
        text=text,
        scheme=url.scheme,
        host=host,
        port=port,
        authority=url.netloc.decode("ascii"),
        target=url.raw_path.decode("ascii"),
        destination=_destination(url.scheme, host.lower().rstrip("."), port),
    )


def _check_host(url: httpx.URL) -> None:
    try:
        is_named = bool(url.host)
    except ValueError:  # what begins with xn-- and is no encoded name
        raise ValueError("must name a valid host") from None
    if not is_named:
        raise ValueError("must name a host")


def _destination(scheme: str, host: str, port: int) -> Destination:
    name = f"[{host}]" if ":" in host else _in_letters(host)
    return Destination(f"{scheme}://{name}:{port}")


def _in_letters(host: str) -> str:
    if "xn--" not in host:
        return host
    return ".".join(map(_decoded, host.split(".")))


def _decoded(label: str) -> str:
    """Decode what RFC 3492 has encoded; a label that only looks like it stays as it is."""
    prefix, _, encoded = label.partition("xn--")
    try:
        letters = "" if prefix else encoded.encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    return letters if letters.isprintable() and not letters.isascii() else label
