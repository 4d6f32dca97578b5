"""What goes out, where to, and whether it may: what the transport is asked for, and its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from timer_trio.domain.outcome import Phase
from timer_trio.transport.framing import Header


class Endpoint(NamedTuple):
    """What a connection leads to. `host` is a name in ASCII or an IP, without brackets."""

    scheme: str
    host: str
    port: int


class Request(NamedTuple):
    """A request as it goes out.

    `head` ends with its empty line. `is_once`: it goes out on a connection that was opened for it
    or used within the last second, and never again. `sign` returns further lines of the head, and
    its empty line, for the body: it is called whenever the request goes out.
    """

    endpoint: Endpoint
    head: bytes
    body: bytes
    is_once: bool
    sign: Callable[[bytes], bytes] | None = None

    def head_now(self) -> bytes:
        """Return the head as it goes out now."""
        return self.head if self.sign is None else self.head[:-2] + self.sign(self.body)


class Permit(Protocol):
    """`phase`: what a connection for the request waits for; None: it is open, or not asked for."""

    phase: Phase | None

    def may_send(self) -> bool:
        """Tell whether the request may go out.

        It is asked right before the first byte does, with no checkpoint in between.
        """


class Answer(NamedTuple):
    """An answer as it came; its body may have been cut."""

    status: int
    headers: Sequence[Header]
    body: bytes


Begun = Callable[[Permit], Awaitable[Answer]]
"""Waits for the end of the answer to a request that has gone out, and ends as `Transport.send`.

It must be called, at once or a little later, with the permit of the request."""


class Transport(Protocol):
    """Whatever makes a callback."""

    def begin(self, request: Request, permit: Permit) -> Begun | None:
        """Send a request at once if a connection is ready for it; None: nothing was sent.

        Raises:
            WithheldError: nothing was sent.
            ShortageError: nothing was sent, for want of something of our own.
        """

    async def send(self, request: Request, permit: Permit) -> Answer:
        """Send a request and wait for the end of its answer.

        Raises:
            WithheldError: nothing was sent.
            ShortageError: nothing was sent, for want of something of our own.
            TransportError: there was no answer.

        Cancellation: the receiver may have got the request.
        """
