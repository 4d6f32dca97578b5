"""The messages between a worker and its parent, over a pair of sockets.

The line ends with either process, however that ends: nobody else holds an end of it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

import trio

READY: Final = b"r"
"""From the worker: its first load is done."""
STOP: Final = b"s"
"""From the parent: stop in order; sent again: hurry."""


class Lifeline:
    """One end of the line."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def send(self, message: bytes) -> None:
        """Send one of the messages above; it is lost if the other process has ended."""
        with suppress(OSError):
            self._sock.send(message)

    async def receive(self) -> bytes:
        """Wait for the next message; an empty one: the other process has ended."""
        try:
            return await trio.socket.from_stdlib_socket(self._sock).recv(1)
        except OSError:
            return b""  # with messages of ours unread

    def close(self) -> None:
        self._sock.close()
