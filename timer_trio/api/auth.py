"""Who may use the service: whoever knows the key."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from typing import Final

from quart import request
from werkzeug.datastructures import Headers

from timer_trio.api.errors import UnauthorizedError
from timer_trio.api.principal import SERVICE, set_principal
from timer_trio.api.route import Route

API_KEY_HEADER: Final = "X-API-Key"
_BEARER: Final = "bearer"


class KeyGuard:
    """Checks the key before any route, unknown ones included: nobody learns of them without it."""

    def __init__(self, api_key: str, routes: Sequence[Route]) -> None:
        self._key = api_key.encode()
        self._open_paths = frozenset(route.path for route in routes if route.is_open)
        self._open_folders = tuple(_open_folders(routes))

    async def check(self) -> None:
        """Let a request pass that carries the key, or needs none; its body is not read yet.

        Raises:
            UnauthorizedError: no key, a wrong one, or two.
        """
        path = request.path
        if path in self._open_paths or path.startswith(self._open_folders):
            return
        given = set(_keys(request.headers))
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
        set_principal(SERVICE)


def _open_folders(routes: Sequence[Route]) -> Sequence[str]:
    """Return below which paths nothing needs a key, so that unknown paths there need none."""
    folders = {True: set[str](), False: set[str]()}
    for route in routes:
        folders[route.is_open].add(f"{route.path.rpartition('/')[0]}/")
    return sorted(folders[True] - folders[False])


def _keys(headers: Headers) -> Iterator[str]:
    yield from headers.getlist(API_KEY_HEADER)
    # Another scheme is for somebody in front of the service, such as a proxy.
    for credentials in headers.getlist("Authorization"):
        scheme, _, token = credentials.strip().partition(" ")
        if scheme.lower() == _BEARER:
            yield token.strip(" ")
