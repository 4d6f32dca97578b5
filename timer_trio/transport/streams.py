"""Bytes over TCP and over TLS, closed without waiting.

No two tasks ever share one of these streams. trio's own take care of such sharing, run other tasks
after each send that went through at once, and first try to read what cannot have come yet: a third
of a callback's CPU time. So TCP is a non-blocking socket and trio's `wait_readable`. trio's
SSLStream, too, lets other tasks run between encrypting and sending, and cannot say whether
undecrypted bytes are left over; so TLS is a few lines over Python's own sans-IO object.
"""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import Final

import trio

_READ_SIZE: Final = 16 * 1024
"""One TLS record; an answer to a callback hardly needs a second read."""


class TcpStream:
    """A connected non-blocking socket; raises OSError where the connection broke."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def send_all(self, data: bytes) -> None:
        """Send; no other task runs before the first bytes have been handed to the system.

        It is a checkpoint only if the system does not take them all at once.
        """
        sent = self._send(data)
        while sent < len(data):
            await trio.lowlevel.wait_writable(self._socket)
            sent += self._send(memoryview(data)[sent:])

    async def receive_some(self) -> bytes:
        """Wait for the next bytes; nothing at the end."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            with suppress(BlockingIOError):  # the wake-up was a false one
                return self._socket.recv(_READ_SIZE)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def is_quiet(self) -> bool:
        """Whether the other side has neither said anything unasked nor closed."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self, farewell: bytes = b"") -> None:
        if farewell:
            with suppress(OSError):  # it blocks, or nobody is there: then we part without
                self._socket.send(farewell)
        self._socket.close()


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
        """Send; no other task runs before the first byte has been handed to the system.

        Raises:
            MemoryError: nothing was sent.
        """
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
