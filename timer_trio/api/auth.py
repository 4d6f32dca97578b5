"""Who may use the service: whoever knows the key."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Final

from quart import request

from timer_trio.api.errors import UnauthorizedError

API_KEY_HEADER: Final = "X-API-Key"
_BEARER: Final = "bearer"
_OPEN: Final = frozenset({"/", "/health", "/openapi.json", "/docs"})
_OPEN_BELOW: Final = ("/health/", "/docs/")


class KeyGuard:
    """Stands before every route, unknown ones included: without the key nobody learns of them."""

    def __init__(self, api_key: str) -> None:
        self._key = api_key.encode()

    async def check(self) -> None:
        """Let a request pass that carries the key, or needs none; its body is not read yet.

        Raises:
            UnauthorizedError: no key, a wrong one, or two.
        """
        if request.path in _OPEN or request.path.startswith(_OPEN_BELOW):
            return
        given = set(_keys())
        if not given:
            raise UnauthorizedError(
                f"send the API key in the header {API_KEY_HEADER}, or as Authorization: Bearer"
            )
        if len(given) > 1:
            raise UnauthorizedError(
                f"different keys in {API_KEY_HEADER} and Authorization: send one of them"
            )
        if not hmac.compare_digest(given.pop().encode("latin-1"), self._key):
            raise UnauthorizedError("the API key is wrong")


def _keys() -> Iterator[str]:
    yield from request.headers.getlist(API_KEY_HEADER)
    # Another scheme is for somebody in front of the service, such as a proxy.
    for credentials in request.headers.getlist("Authorization"):
        scheme, _, token = credentials.strip().partition(" ")
        if scheme.lower() == _BEARER:
            yield token.strip(" ")
