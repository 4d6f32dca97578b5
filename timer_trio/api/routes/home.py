"""The root: what this is, for whoever finds it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from quart import Response, request
from typing_extensions import TypedDict

from timer_trio import __version__
from timer_trio.api.body.media import JSON
from timer_trio.api.context import ApiContext
from timer_trio.api.page import HEADERS, MEDIA, page
from timer_trio.api.responses import success
from timer_trio.api.route import Operation, Route, Success
from timer_trio.domain.virtual_time import NO_REAL_SERVICE

_LINKS: Final = {"docs": "/docs", "openapi": "/openapi.json", "health": "/health"}
_WORDS: Final = """\
<p>A durable timer service: tell it when and where, and it makes the HTTP call at that instant.</p>
<p>The API is described <a href="{docs}">for people</a> and \
<a href="{openapi}">for programs</a>; \
<a href="{health}">its health</a> can be asked for without a key.</p>"""


@with_config(ConfigDict(extra="forbid"))
class HomeData(TypedDict):
    name: Literal["timer-trio"]
    version: Annotated[str, Field(examples=[__version__])]
    docs: Annotated[str, Field(description="The API for people.", examples=[_LINKS["docs"]])]
    openapi: Annotated[
        str, Field(description="The API for programs.", examples=[_LINKS["openapi"]])
    ]
    health: Annotated[str, Field(description="Whether all is well.", examples=[_LINKS["health"]])]
    warning: Annotated[
        NotRequired[str], Field(description="That this is no real service but one for tests.")
    ]


def routes(context: ApiContext) -> Sequence[Route]:
    warning = None if context.clock_control is None else NO_REAL_SERVICE
    handler = _Home(context.root_path, warning, context.front_page).home
    return (Route(method="GET", path="/", handler=handler, operation=_HOME, is_open=True),)


class _Home:
    def __init__(self, root_path: str, warning: str | None, front_page: str | None) -> None:
        self._front_page = front_page
        links = {name: root_path + path for name, path in _LINKS.items()}
        told = "" if warning is None else f"<p><strong>Take care: {escape(warning)}.</strong></p>"
        body = f"<h1>{escape(_TITLE)}</h1>{told}{_WORDS.format_map(links)}"
        self._page = page(_TITLE, body, root_path).encode()
        self._data: dict[str, Any] = {"name": "timer-trio", "version": __version__, **links}
        if warning is not None:
            self._data["warning"] = warning

    async def home(self) -> Response:
        """Answer a browser with a page, and a program, which asks for none, with JSON."""
        if request.accept_mimetypes.best_match((JSON, "text/html")) == "text/html":
            answer = self._for_browser()
        else:
            answer = success(self._data)
        answer.headers["Vary"] = "Accept"
        return answer

    def _for_browser(self) -> Response:
        answer = Response(self._page, headers=HEADERS, content_type=MEDIA)
        if self._front_page is not None:
            answer.status_code = HTTPStatus.SEE_OTHER
            answer.headers["Location"] = self._front_page
        return answer


_TITLE: Final = f"timer-trio {__version__}"
_HOME: Final = Operation(
    name="getHome",
    tag="operation",
    summary="What is this?",
    description="Name, version, and where to read on. A browser, which asks for `text/html`, "
    "gets a page, or is led to the console.",
    success=Success(words="This service.", data=HomeData, has_page=True),
)
