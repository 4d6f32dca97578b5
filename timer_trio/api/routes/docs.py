"""The API described, for programs and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from quart import Response

from timer_trio.api import page
from timer_trio.api.context import ApiContext
from timer_trio.api.openapi.docs_page import page_of
from timer_trio.api.openapi.document import openapi_document
from timer_trio.api.route import Operation, Route, Success


def routes(context: ApiContext, others: Sequence[Route]) -> Sequence[Route]:
    """Return the routes that describe all `others` and themselves."""
    docs = _Docs()
    places = (
        ("/openapi.json", docs.openapi, _OPENAPI),
        ("/docs", docs.page, _DOCS),
        (page.STYLE_PATH, docs.style, None),
    )
    own = [
        Route(method="GET", path=path, handler=handler, operation=operation, is_open=True)
        for path, handler, operation in places
    ]
    docs.describe(openapi_document([*others, *own], context))
    return own


class _Docs:
    """Answers with what `describe` has been given."""

    def __init__(self) -> None:
        self._document = self._page = b""

    def describe(self, document: Mapping[str, Any]) -> None:
        self._document = json.dumps(document, ensure_ascii=False).encode()
        self._page = page_of(document).encode()

    async def openapi(self) -> Response:
        return Response(self._document, content_type="application/json")

    async def page(self) -> Response:
        return Response(self._page, headers=page.HEADERS, content_type=page.MEDIA)

    async def style(self) -> Response:
        return Response(page.STYLE, content_type="text/css; charset=utf-8")


_OPENAPI: Final = Operation(
    name="getOpenapi",
    tag="operation",
    summary="This document",
    description="OpenAPI 3.1.",
    success=Success(words="The document."),
)
_DOCS: Final = Operation(
    name="getDocs",
    tag="operation",
    summary="This document for people",
    description="A page that loads nothing from elsewhere.",
    success=Success(words="The page.", media=page.MEDIA),
)
