"""A body that its reader takes whole."""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import Any

from hypercorn.typing import ASGIReceiveCallable
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout


class WholeBody:
    """A body that is received as its reader awaits it, so that no task has to wait for it beside.

    `expected` is its length, as its head says. What is longer than `most` bytes is not kept.

    Awaiting it raises RequestEntityTooLarge, when there is still some of it to come, and
    RequestTimeout if it comes no further.
    """

    receive: ASGIReceiveCallable
    """Where it comes from."""

    def __init__(self, expected: int | None, most: int | None) -> None:
        self._most = inf if most is None else most
        self._is_too_large = expected is not None and expected > self._most
        self._data = bytearray()
        self._received = 0
        self.has_ended = False

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._collect().__await__()

    async def drop(self, most: int) -> None:
        """Receive the rest of it, until so many bytes have come beyond what is taken of it."""
        self._data.clear()
        while not self.has_ended and self._received <= self._most + most:
            await self._receive_part()

    async def _collect(self) -> bytes:
        while not self._is_too_large and not self.has_ended:
            part = await self._receive_part()
            if part is None:
                raise RequestTimeout
            self._data += part
            self._is_too_large = len(self._data) > self._most
        if self._is_too_large:
            raise RequestEntityTooLarge
        return bytes(self._data)

    async def _receive_part(self) -> bytes | None:
        """Return what comes next; None: nothing will."""
        message = await self.receive()
        if message["type"] != "http.request":
            self.has_ended = True
            return None
        part = message.get("body", b"")
        self._received += len(part)
        self.has_ended = not message.get("more_body", False)
        return part
