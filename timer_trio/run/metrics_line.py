"""What a worker and its parent tell each other of metrics, over a pair of sockets of their own.

The line ends with either process, however that ends: nobody else holds an end of it.
"""

from __future__ import annotations

import socket
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

import trio

_HEAD: Final = Struct("!BI")


class Kind(IntEnum):
    """Of a message."""

    WANT = 1
    """From a worker: it wants what all show."""
    TEXT = 2
    """To it: that is."""
    ASK = 3
    """To a worker: it is to tell what it shows itself."""
    TOLD = 4
    """From it: that is, as a snapshot."""


class Message(NamedTuple):
    kind: Kind
    body: bytes = b""


class MetricsLine:
    """One end of the line."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._sending = trio.Lock()

    async def send(self, message: Message) -> None:
        """Send a message; it is lost if the other process has ended."""
        data = _HEAD.pack(message.kind, len(message.body)) + message.body
        async with self._sending:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def receive(self) -> Message | None:
        """Wait for the next message; None: the other process has ended."""
        try:
            kind, length = _HEAD.unpack(await self._read(_HEAD.size))
            return Message(Kind(kind), await self._read(length))
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            return None

    def close(self) -> None:
        self._stream.socket.close()

    async def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            some = await self._stream.receive_some(length - len(data))
            if not some:
                raise EOFError
            data += some
        return bytes(data)
