"""Who may use the service: whoever knows the key."""

from __future__ import annotations

import hmac
from typing import Final

from quart import request

from timer_trio.api.errors import UnauthorizedError

API_KEY_HEADER: Final = "X-API-Key"
_OPEN: Final = frozenset({"/health", "/openapi.json", "/docs"})
_OPEN_BELOW: Final = ("/health/", "/docs/")


class KeyGuard:
    """Stands before every route, unknown ones included: without the key nobody learns of them."""

    def __init__(self, api_key: str) -> None:
        self._key = api_key.encode()

    async def check(self) -> None:
        """Let a request pass that carries the key, or needs none; its body is not read yet.

        Raises:
            UnauthorizedError: no key, or a wrong one.
        """
        if request.path in _OPEN or request.path.startswith(_OPEN_BELOW):
            return
        given = request.headers.get(API_KEY_HEADER)
        if given is None:
            raise UnauthorizedError(f"send the API key in the header {API_KEY_HEADER}")
        if not hmac.compare_digest(given.encode("latin-1"), self._key):
            raise UnauthorizedError("the API key is wrong")
