"""The API described, for programs and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from quart import Response

from timer_trio.api import page
from timer_trio.api.openapi.docs_page import page_of


class DocsRoutes:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = json.dumps(document, ensure_ascii=False).encode()
        self._page = page_of(document).encode()

    async def openapi(self) -> Response:
        return Response(self._document, content_type="application/json")

    async def page(self) -> Response:
        return Response(self._page, headers=page.HEADERS, content_type=page.MEDIA)

    async def style(self) -> Response:
        return Response(page.STYLE, content_type="text/css; charset=utf-8")
