"""The API asked from within the process, on behalf of whoever has signed in to a page.

What is asked goes the way of any request: through the limits of its key, its scopes, its route and
the audit. So a page can do nothing that its key could not, and does nothing in another way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote

from quart import Request, Response
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from timer_trio.api.asgi import ApiRequest
from timer_trio.api.auth import KeyGuard, KnownKeys
from timer_trio.api.body.media import JSON
from timer_trio.api.principal import ON_BEHALF, Principal
from timer_trio.domain.api_key import KeyId

_SCOPE: Final[Mapping[str, Any]] = {
    "type": "http",
    "http_version": "1.1",
    "asgi": {"version": "3.0"},
    "scheme": "http",
    "root_path": "",
    "extensions": {},
}


class Asker(NamedTuple):
    """For whom the API is asked, and from where that person does."""

    by: Principal
    client: object = None
    """As the scope of his own request has it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request: `path` without percent-encoding, `query` and `body` as they are sent."""

    method: str
    path: str
    query: bytes = b""
    body: bytes = b""

    @property
    def headers(self) -> Headers:
        if not self.body:
            return Headers()
        return Headers([("Content-Type", JSON), ("Content-Length", str(len(self.body)))])


class Inside:
    """The way to the API for what is served beside it."""

    def __init__(self, app: QuartTrio, guard: KeyGuard, keys: KnownKeys) -> None:
        self._app = app
        self._keys = keys
        self.sign_in: Callable[[Request, str], Awaitable[Principal]] = guard.sign_in

    async def returning(self, key_id: KeyId | None, project: str | None) -> Principal:
        """Return for whom a key acts that was known before; None: the key of the whole service.

        That one may act in any `project`; None: in the default one.

        Raises:
            UnauthorizedError: the key is no more, or has expired.
            InvalidRequestError: there is no such project.
            StorageUnavailableError: nobody knows.
        """
        if key_id is not None:
            return await self._keys.principal_named(key_id)
        return self._keys.service if project is None else await self._keys.service_in(project)

    async def ask(self, asker: Asker, question: Question) -> Response:
        """Return what the API answers, refusals among it."""
        request = self._request(asker, question)
        return cast("Response", await self._app.handle_request(request))

    def _request(self, asker: Asker, question: Question) -> ApiRequest:
        scope: Any = {
            **_SCOPE,
            "method": question.method,
            "path": question.path,
            "raw_path": quote(question.path).encode("ascii"),
            "query_string": question.query,
            "headers": [],
            "client": asker.client,
            ON_BEHALF: asker.by,
        }
        config = self._app.config
        request = ApiRequest(
            question.method,
            "http",
            question.path,
            question.query,
            question.headers,
            "",
            scope["http_version"],
            scope,
            max_content_length=config["MAX_CONTENT_LENGTH"],
            body_timeout=config["BODY_TIMEOUT"],
            send_push_promise=_push_nothing,
        )
        body: Any = request.body  # one of ours, whatever Quart calls it
        body.receive = _receiving(question.body)
        return request


async def _push_nothing(path: str, headers: Headers) -> None:
    raise AssertionError(f"{path} is not pushed: {headers}")


def _receiving(body: bytes) -> Callable[[], Awaitable[Mapping[str, object]]]:
    async def receive() -> Mapping[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
