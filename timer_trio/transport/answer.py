"""The bytes of answers, without I/O."""

from __future__ import annotations

import httptools

from timer_trio.transport.errors import ProtocolError
from timer_trio.transport.framing import Header, framing_of
from timer_trio.transport.lenient import SWITCHING_PROTOCOLS, LenientParser
from timer_trio.transport.request import Answer
from timer_trio.transport.wording import size


class AnswerReader:
    """Collects one answer after the other from the bytes that are fed to it, until `is_complete`.

    The body is cut at `max_body_bytes`; so is one that hides behind endless chunk extensions or
    trailers. An answer like that is complete, and its connection good for nothing more. So is that
    of an answer which the strict parser refuses, and which is then read leniently from its start.

    It has to be closed: until then it and its parser hold each other, and nobody frees them.
    """

    def __init__(self, *, max_header_bytes: int, max_body_bytes: int) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._parser: httptools.HttpResponseParser | LenientParser
        self._parser = httptools.HttpResponseParser(self)
        self._expect()

    def _expect(self) -> None:
        """Be ready for an answer."""
        self._refusal = ""
        self._seen: list[bytes] = []
        self._received = 0
        self._has_head = False
        self._has_more = False
        self._keeps_alive = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self.status = 0
        self.headers: list[Header] = []
        self.is_complete = False

    @property
    def has_begun(self) -> bool:
        return self._received > 0

    @property
    def is_reusable(self) -> bool:
        """Whether the connection can carry another request."""
        return self._keeps_alive and not self._has_more

    @property
    def body(self) -> bytes:
        return b"".join(self._body)[: self._max_body_bytes]

    def take(self) -> Answer:
        """Return the answer, which is complete, and be ready for the next one."""
        answer = Answer(self.status, self.headers, self.body)
        self._expect()
        return answer

    def close(self) -> None:
        """Take no more bytes."""
        del self._parser

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            ProtocolError: they are no HTTP, or too many headers.
        """
        self._received += len(data)
        if not self._refusal:
            self._seen.append(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserCallbackError:
                raise  # a bug of this class, not of the receiver
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                self._take_refusal(str(error) or type(error).__name__)
        else:
            self._feed_leniently(data)
        self._check_limits()

    def _take_refusal(self, refusal: str) -> None:
        if self.is_complete:
            self._has_more = True
            return
        self._begin_anew(refusal)
        self._feed_leniently(b"".join(self._seen))

    def _begin_anew(self, refusal: str) -> None:
        self._refusal = refusal
        self._parser = LenientParser(self)
        self._has_head = False
        self.headers.clear()
        self._body.clear()
        self._body_bytes = 0

    def _feed_leniently(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            raise ProtocolError(f"answer is not HTTP: {self._refusal}") from None

    def feed_end(self) -> bool:
        """Take the end of the stream; False if the answer is cut by it."""
        self.is_complete = self._has_head and not framing_of(self.headers).is_framed
        return self.is_complete

    def _check_limits(self) -> None:
        if not self._has_head and self._received > self._max_header_bytes:
            limit = size(self._max_header_bytes)
            raise ProtocolError(f"answer headers exceed {limit}")
        exceeds_body = self._body_bytes >= self._max_body_bytes
        if exceeds_body or self._received >= self._max_header_bytes + self._max_body_bytes:
            self.is_complete = True

    # What the parser calls. It goes on behind the end of an answer, so each looks where it is.

    def on_message_begin(self) -> None:
        self._has_more = self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.is_complete:
            return
        self.status = self._parser.get_status_code()
        is_interim = 100 <= self.status < 200 and self.status != SWITCHING_PROTOCOLS
        self._has_head = not is_interim
        if is_interim:
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        if not self.is_complete:
            self._body.append(data)
            self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        if self.is_complete or not self._has_head:
            return
        self.is_complete = True
        self._keeps_alive = self._parser.should_keep_alive()
