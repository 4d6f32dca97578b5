"""Bytes over TCP and over TLS, without waiting: whoever has to wait does it in between.

trio's own streams let two tasks share one, run other tasks after each send that went through at
once, and first try to read what cannot have come yet: a third of a callback's CPU time. So TCP is a
non-blocking socket. trio's SSLStream, too, lets other tasks run between encrypting and sending, and
cannot say whether undecrypted bytes are left over; so TLS is a few lines over Python's own sans-IO
object.
"""

from __future__ import annotations

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
        self.socket: Final = connected
        self._unsent: bytes | memoryview = b""
        self.is_drained = True
        """Whether the last read has left nothing behind, as far as it can tell."""

    @property
    def has_unsent(self) -> bool:
        """Whether the system has not taken yet all that was sent."""
        return bool(self._unsent)

    def send(self, data: bytes) -> None:
        """Hand bytes to the system; what it does not take at once goes out with `flush`."""
        if self._unsent:
            self._unsent = bytes(self._unsent) + data
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]

    async def flush(self) -> None:
        """Return once the system has taken all; a checkpoint only if it has not yet."""
        while self._unsent:
            await trio.lowlevel.wait_writable(self.socket)
            with suppress(BlockingIOError):  # the wake-up was a false one
                self._unsent = self._unsent[self.socket.send(self._unsent) :]

    def receive(self) -> bytes | None:
        """Return what has come; nothing at the end, and None if there is nothing now."""
        try:
            data = self.socket.recv(_READ_SIZE)
        except BlockingIOError:
            return None
        self.is_drained = len(data) < _READ_SIZE
        return data

    def close(self, farewell: bytes = b"") -> None:
        if farewell and not self._unsent:  # it makes no sense behind half a record
            with suppress(OSError):  # it blocks, or nobody is there: then we part without
                self.socket.send(farewell)
        self.socket.close()


class TlsStream:
    """TLS over a TCP stream; raises what that one raises, and ssl.SSLError."""

    def __init__(self, stream: TcpStream, context: ssl.SSLContext, server_hostname: str) -> None:
        self._stream = stream
        self.socket: Final = stream.socket
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )

    @property
    def has_unsent(self) -> bool:
        return self._stream.has_unsent

    @property
    def is_drained(self) -> bool:
        is_decrypted = not self._incoming.pending and not self._tls.pending()
        return is_decrypted and self._stream.is_drained

    async def do_handshake(self) -> None:
        """Shake hands, before anybody else waits for this connection."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_outgoing()
                await self._stream.flush()
                await trio.lowlevel.wait_readable(self.socket)
                self._take_incoming()
            else:
                self._send_outgoing()
                await self._stream.flush()
                return

    def send(self, data: bytes) -> None:
        """Encrypt bytes and hand them to the system, as a TCP stream does.

        Raises:
            MemoryError: nothing was sent.
        """
        self._tls.write(data)
        self._send_outgoing()

    async def flush(self) -> None:
        await self._stream.flush()

    def receive(self) -> bytes | None:
        while True:
            try:
                return self._tls.read(_READ_SIZE)
            except ssl.SSLWantReadError:
                self._send_outgoing()
                if not self._take_incoming():
                    return None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # Many servers close without TLS's goodbye. HTTP's own framing tells a cut answer.
                return b""

    def close(self) -> None:
        with suppress(ssl.SSLError):  # it wants the other side's goodbye, for which we do not wait
            self._tls.unwrap()
        self._stream.close(self._outgoing.read())

    def _send_outgoing(self) -> None:
        if self._outgoing.pending:
            self._stream.send(self._outgoing.read())

    def _take_incoming(self) -> bool:
        """Take what has come for decryption; False: nothing has."""
        received = self._stream.receive()
        if received:
            self._incoming.write(received)
        elif received is not None:
            self._incoming.write_eof()
        return received is not None


ByteStream = TcpStream | TlsStream
