"""The far end of every callback: a function that plays it, and no socket."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from timer_trio import transport
from timer_trio.transport import Permit, Request, TransportError, WithheldError


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback that the service made, at `sent_at` of the virtual clock."""

    sent_at: datetime
    method: str
    url: str
    headers: httpx.Headers
    content: bytes

    def json(self) -> Any:
        """Decode the payload.

        Raises:
            ValueError: there is none.
        """
        return json.loads(self.content)


Reply = int | httpx.Response
Answer = Callable[[Callback], Reply | Awaitable[Reply]]
"""Answers a callback with a status code or a response, at once or later; may raise as httpx."""


class Receiver:
    """Answers whatever is sent; `on_callback` is called with each callback before."""

    def __init__(
        self, now: Callable[[], datetime], on_callback: Callable[[Callback], None], answer: Answer
    ) -> None:
        self._now = now
        self._on_callback = on_callback
        self._answer = answer

    def begin(self, _request: Request, _permit: Permit) -> None:
        """Have no connection ready."""

    async def send(self, request: Request, permit: Permit) -> transport.Answer:
        if not permit.may_send():
            raise WithheldError("the replica may not send any more")
        callback = Callback(self._now(), *read_head(request), request.body)
        self._on_callback(callback)
        try:
            reply = self._answer(callback)
            answered = await reply if isinstance(reply, Awaitable) else reply
        except httpx.TransportError as error:
            raise TransportError(str(error)) from error
        if isinstance(answered, int):
            return transport.Answer(answered, (), b"")
        return transport.Answer(answered.status_code, answered.headers.raw, answered.content)


def read_head(request: Request) -> tuple[str, str, httpx.Headers]:
    """Read the method, the URL and the headers of a request, as its receiver does."""
    first, *lines = request.head_now().decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    fields = [line.partition(": ") for line in lines]
    headers = httpx.Headers([(name, value) for name, _, value in fields])
    return method, f"{request.endpoint.scheme}://{headers['Host']}{path}", headers
