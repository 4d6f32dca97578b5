"""A body that its reader takes as it comes."""

from __future__ import annotations

import trio


class BodyStream:
    """A body that is read as it comes, however long: its sender waits for its reader."""

    def __init__(self) -> None:
        self.has_ended = False
        self._send, self._receive = trio.open_memory_channel[bytes](0)

    async def receive(self) -> bytes:
        """Wait for the next bytes; none: it has ended."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return b""

    def close(self) -> None:
        """Refuse the rest of it."""
        self._receive.close()

    async def feed(self, data: bytes) -> bool:
        """Send bytes to the reader; returns whether it takes them."""
        try:
            await self._send.send(data)
        except trio.BrokenResourceError:
            return False
        return True

    def end(self) -> None:
        self.has_ended = True
        self._send.close()
