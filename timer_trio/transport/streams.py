"""Bytes over TCP and over TLS, closed without waiting.

trio's SSLStream lets other tasks run between encrypting and sending, and cannot say whether
undecrypted bytes are left over. A callback needs both the other way, and no two tasks ever share
one of these streams: so TLS is a few lines over Python's own sans-IO object.
"""

from __future__ import annotations

import os
import select
import ssl
from contextlib import suppress
from typing import Final

import trio

_READ_SIZE: Final = 16 * 1024
"""One TLS record; an answer to a callback hardly needs a second read."""


class TcpStream:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        """Send; no other task runs before the first byte has been handed to the system.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        await self._stream.send_all(data)

    async def receive_some(self) -> bytes:
        """Receive what has come; nothing at the end.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        return await self._stream.receive_some(_READ_SIZE)

    def is_quiet(self) -> bool:
        """Tell whether the other side has neither said anything unasked nor closed."""
        poll = select.poll()
        poll.register(self._stream.socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def close(self, farewell: bytes = b"") -> None:
        if farewell:
            with suppress(OSError):  # it blocks, or nobody is there: then we part without
                os.write(self._stream.socket.fileno(), farewell)
        self._stream.socket.close()


class TlsStream:
    """TLS over a TCP stream; raises what that one raises, and ssl.SSLError."""

    def __init__(self, stream: TcpStream, context: ssl.SSLContext, server_hostname: str) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )

    async def do_handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange()
            else:
                await self._flush()
                return

    async def send_all(self, data: bytes) -> None:
        """Send; no other task runs before the first byte has been handed to the system."""
        self._tls.write(data)
        await self._flush()

    async def receive_some(self) -> bytes:
        while True:
            try:
                return self._tls.read(_READ_SIZE)
            except ssl.SSLWantReadError:
                await self._exchange()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # Many servers close without TLS's goodbye. HTTP's own framing tells a cut answer.
                return b""

    def is_quiet(self) -> bool:
        return not self._incoming.pending and not self._tls.pending() and self._stream.is_quiet()

    def close(self) -> None:
        with suppress(ssl.SSLError):  # it wants the other side's goodbye, for which we do not wait
            self._tls.unwrap()
        self._stream.close(self._outgoing.read())

    async def _exchange(self) -> None:
        await self._flush()
        received = await self._stream.receive_some()
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._stream.send_all(self._outgoing.read())


ByteStream = TcpStream | TlsStream
