"""The API described, for programs and for people."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from quart import Response, request

from timer_trio import __version__
from timer_trio.api import page
from timer_trio.api.context import ApiContext
from timer_trio.api.openapi import docs_page
from timer_trio.api.openapi.document import openapi_document
from timer_trio.api.route import Operation, Route, Success

_YEAR_S: Final = 31_536_000
_SLICE_BYTES: Final = 16_384
_GZIP: Final = 16 + zlib.MAX_WBITS
_ASK_AGAIN: Final = {"Cache-Control": "no-cache"}
_SCRIPT: Final = {
    # The path changes with the version.
    "Cache-Control": f"public, max-age={_YEAR_S}, immutable",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
_PACKED: Final = {**_SCRIPT, "Content-Encoding": "gzip"}


def routes(context: ApiContext, others: Sequence[Route]) -> Sequence[Route]:
    """Return the routes that describe all `others` and themselves."""
    docs = _Docs(lambda: openapi_document([*others, *own], context))
    places = (
        ("/openapi.json", docs.openapi, _OPENAPI),
        ("/docs", _page, _DOCS),
        (docs_page.SCRIPT_PATH, _script, None),
        (page.STYLE_PATH, _style, None),
    )
    own = [
        Route(method="GET", path=path, handler=handler, operation=operation, is_open=True)
        for path, handler, operation in places
    ]
    if context.clock_control is None:
        docs.describe()  # it takes longer than a callback may be late
    return own


class _Kept(NamedTuple):
    body: bytes
    tag: str


def _kept(text: str) -> _Kept:
    body = text.encode()
    return _Kept(body, hashlib.sha256(body).hexdigest())


_PAGE: Final = _kept(docs_page.page_of(f"timer-trio {__version__}"))


class _Docs:
    """Answers with the document that `write` returns, from when it is asked for it."""

    def __init__(self, write: Callable[[], Mapping[str, Any]]) -> None:
        self._write = write
        self._document: _Kept | None = None

    def describe(self) -> _Kept:
        if self._document is None:
            self._document = _kept(json.dumps(self._write(), ensure_ascii=False))
        return self._document

    async def openapi(self) -> Response:
        body, tag = self.describe()
        answer = Response(body, headers=_ASK_AGAIN, content_type="application/json")
        return await _unless_known(answer, tag)


async def _page() -> Response:
    headers = {**docs_page.HEADERS, **_ASK_AGAIN}
    answer = Response(_PAGE.body, headers=headers, content_type=page.MEDIA)
    return await _unless_known(answer, _PAGE.tag)


async def _script() -> Response:
    media = "text/javascript; charset=utf-8"
    if request.accept_encodings.quality("gzip"):
        packed = Response(docs_page.script(), headers=_PACKED, content_type=media)
        return await _unless_known(packed, f"{docs_page.SCRIPT_HASH}-gzip")
    plain = Response(_unpacked(docs_page.script()), headers=_SCRIPT, content_type=media)
    plain.timeout = None  # its client may be slow; the server bounds each part
    return await _unless_known(plain, docs_page.SCRIPT_HASH)


async def _unpacked(packed: bytes) -> AsyncIterator[bytes]:
    unpacking = zlib.decompressobj(wbits=_GZIP)
    for start in range(0, len(packed), _SLICE_BYTES):
        yield unpacking.decompress(packed[start : start + _SLICE_BYTES])


async def _style() -> Response:
    return Response(page.STYLE, content_type="text/css; charset=utf-8")


async def _unless_known(response: Response, tag: str) -> Response:
    """Return the response, or a 304 for who has it already."""
    response.set_etag(tag)
    await response.make_conditional(request)
    return response


_OPENAPI: Final = Operation(
    name="getOpenapi",
    tag="operation",
    summary="This document",
    description="OpenAPI 3.1.",
    success=Success(words="The document.", example={"openapi": "3.1.0"}),
)
_DOCS: Final = Operation(
    name="getDocs",
    tag="operation",
    summary="This document for people",
    description="A page that loads nothing from elsewhere, and sends what is tried on it to this "
    "service alone.",
    success=Success(words="The page.", media=page.MEDIA, example="<!doctype html>…"),
)
