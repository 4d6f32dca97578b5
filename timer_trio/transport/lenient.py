"""A reader of answers that are not written as they should be, and mean but one thing all the same.

Clients have always read them, and RFC 9110 and 9112 let or even make them do so: folded lines, one
length that is named twice, blanks before a colon and around chunk sizes, lines that end in LF
alone, a length beside a transfer coding. Their connection carries no other request: who writes like
that may mean something else with what follows. Anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final, Protocol

import httptools

from timer_trio.transport.framing import Header, framing_of

SWITCHING_PROTOCOLS: Final = 101
_WITHOUT_BODY: Final = frozenset({SWITCHING_PROTOCOLS, 204, 304})

_START: Final = b"HTTP/1."
_STATUS: Final = re.compile(rb"HTTP/1\.[0-9][ \t]+([1-9][0-9]{2})(?:[ \t].*)?", re.DOTALL)
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_SIZE: Final = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)

Step = Generator[None, None, None]
"""A part of the reading; it stops wherever more bytes are needed."""


class Reading(Protocol):
    """What is told of an answer, as by httptools' parser."""

    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_headers_complete(self) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_message_complete(self) -> None: ...


class RefusedError(httptools.HttpParserError):
    """It means nothing, or more than one thing."""


class LenientParser:
    """Stands in for httptools' parser of responses; what comes behind an answer it drops."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._buffer = bytearray()
        self._status = 0
        self._steps = self._read()

    def feed_data(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            RefusedError: they are no HTTP.
        """
        self._buffer += data
        next(self._steps)

    def get_status_code(self) -> int:
        return self._status

    def should_keep_alive(self) -> bool:
        return False

    def _read(self) -> Step:
        headers = yield from self._head()
        while self._status < SWITCHING_PROTOCOLS or SWITCHING_PROTOCOLS < self._status < 200:
            headers = yield from self._head()
        if self._status not in _WITHOUT_BODY:
            yield from self._body(headers)
        self._reading.on_message_complete()
        while True:
            self._buffer.clear()
            yield

    def _head(self) -> Generator[None, None, list[Header]]:
        while len(self._buffer) < len(_START) and _START.startswith(self._buffer):
            yield
        if not self._buffer.startswith(_START):  # and may have no lines at all
            raise RefusedError("another protocol")
        status = _STATUS.fullmatch((yield from self._line()))
        if status is None:
            raise RefusedError("no status line")
        self._status = int(status[1])
        headers: list[Header] = []
        while line := (yield from self._line()):
            if line[:1] not in {b" ", b"\t"}:
                headers.append(_header(line))
            elif headers:  # a folded line; one before the first header is none of its own
                name, value = headers[-1]
                headers[-1] = name, b"%b %b" % (value, line.strip(b" \t"))
        for name, value in headers:
            self._reading.on_header(name, value.strip(b" \t"))
        self._reading.on_headers_complete()
        return headers

    def _body(self, headers: list[Header]) -> Step:
        framing = framing_of(headers)
        if framing.is_chunked:
            yield from self._chunks()
        elif framing.codings or not framing.lengths:
            yield from self._rest()
        elif framing.length is None:
            raise RefusedError("more than one length, or none that is a number")
        else:
            yield from self._data(framing.length)

    def _chunks(self) -> Step:
        while size := _chunk_size((yield from self._line())):
            yield from self._data(size)
            if (yield from self._line()):
                raise RefusedError("a chunk longer than it says")
        while (yield from self._line()):  # a trailer
            pass

    def _data(self, count: int) -> Step:
        while count:
            while not self._buffer:
                yield
            part = bytes(self._buffer[:count])
            del self._buffer[:count]
            count -= len(part)
            self._reading.on_body(part)

    def _rest(self) -> Step:
        while True:
            self._reading.on_body(bytes(self._buffer))
            self._buffer.clear()
            yield

    def _line(self) -> Generator[None, None, bytes]:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            yield
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        # RFC 9112, section 2.2: a bare CR is refused or taken for a blank.
        return line.removesuffix(b"\r").replace(b"\r", b" ")


def _header(line: bytes) -> Header:
    name, colon, value = line.partition(b":")
    name = name.rstrip(b" \t")
    if not colon or b"\0" in value or not _NAME.fullmatch(name):
        raise RefusedError("no header line")
    return name, value


def _chunk_size(line: bytes) -> int:
    size = _CHUNK_SIZE.fullmatch(line)
    if size is None:
        raise RefusedError("no chunk size")
    return int(size[1], 16)
