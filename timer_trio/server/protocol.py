"""HTTP/1.1 to ASGI by hypercorn, and nothing else: no other version, no upgrade to anything."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final

import h11
import trio
from h11._receivebuffer import ReceiveBuffer
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.task_group import _handle as handle_app
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveEvent,
    ASGISendEvent,
    H11SendableEvent,
    Scope,
)
from hypercorn.utils import valid_server_name

from timer_trio.api.errors import Code, shown
from timer_trio.api.responses import envelope

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_WORDS: Final = {
    HTTPStatus.REQUEST_TIMEOUT: "the request did not arrive in time",
    HTTPStatus.MISDIRECTED_REQUEST: "this host is not served here",
    HTTPStatus.NOT_IMPLEMENTED: "this Transfer-Encoding is not known here: send it chunked",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "only HTTP/1.1 is spoken here",
}

_PYTHON_BYTES: Final = re.compile(
    r"""(bytearray\()?\bb(?P<quoted>(?P<mark>['"])(?:\\.|(?!(?P=mark)).)*(?P=mark))(?(1)\))"""
)


class Phase(Enum):
    """Where the client is in what it has to say."""

    WAITING = auto()
    """Not a byte of the next request has come."""
    HEAD = auto()
    BODY = auto()
    ALL = auto()
    """Its request is whole, and not answered yet."""


class Http1(H11Protocol):
    """One connection's requests, one after the other.

    Of its events, the last one is `Closed`: the answer is out, and no other request is wanted. A
    request that came together with the one before it begins once `wait_turn` returns.
    """

    def __init__(
        self, *args: Any, max_header_lines: int, wait_turn: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(*args)
        self._wait_turn = wait_turn
        self.connection: h11.Connection
        self.stream: Exchange | None = None
        most = self.config.h11_max_incomplete_size
        self._received = _Received(max_lines=max_header_lines, max_bytes=most)
        # h11 itself counts no lines, and bytes only of what is incomplete. Once it has parsed 4,000
        # lines they have cost what they cost. It has no public place before its parser: only there
        # is it known where a head ends, and where the lines behind the chunks of a body begin.
        self.connection._receive_buffer = self._received  # noqa: SLF001 - see above
        self._method = b""
        """Of the request under way, if any: who asks for a head alone is refused by one."""
        self._head = b""
        """Of an answer, if it is to be sent with the body."""
        self._head_waits = False
        """Whether it is."""
        self.is_refused = False
        """Whether the answer was not the app's."""
        self.has_ended = False
        """Whether nothing more is to be read."""
        self.is_stopping = False

    @property
    def phase(self) -> Phase:
        state = self.connection.their_state
        if state is h11.IDLE:
            return Phase.HEAD if self._received else Phase.WAITING
        return Phase.BODY if state is h11.SEND_BODY else Phase.ALL

    @property
    def is_answering(self) -> bool:
        """Whether there is a request under way."""
        return self.stream is not None

    async def refuse(self, status: HTTPStatus, words: str = "") -> None:
        """Answer in the app's place and end the connection; an answer that has begun is ended."""
        self.has_ended = True
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self.is_refused = True
            await self.send(RawData(self._refusal(status, words or _WORDS[status])))
            await self.send(Closed())
        elif self.stream is not None:
            put: Any = self.stream.app_put  # hypercorn has no type for it
            await put({"type": "http.disconnect"})
        else:
            await self.send(Closed())

    async def stream_send(self, event: StreamEvent) -> None:
        if self.is_refused:  # the app answers too late
            return
        self._head_waits = isinstance(event, Response) and self._has_body(event)
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if self._head_waits:
            self._head = data
            return
        data, self._head = self._head + data, b""
        if data:
            await self.send(RawData(data))

    def _has_body(self, head: Response) -> bool:
        """Whether a body follows at once: whoever knows its length has all of it."""
        if self._method == b"HEAD":
            return False
        return any(name == b"content-length" and value != b"0" for name, value in head.headers)

    async def _handle_events(self) -> None:
        while not self.has_ended:
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(
                    h11.InformationalResponse(
                        status_code=HTTPStatus.CONTINUE, headers=self.config.response_headers("h11")
                    )
                )
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse_broken(error)
                return
            if isinstance(event, h11.Request):
                await self._begin(event)
            elif event is h11.PAUSED:
                await self.can_read.clear()
                await self.can_read.wait()
                await self._wait_turn()
            elif self.stream is None:
                return
            elif event is h11.NEED_DATA:
                await self.stream.hand_on()
                return
            elif isinstance(event, h11.Data):
                await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            else:  # the client has closed its side
                return

    async def _begin(self, request: h11.Request) -> None:
        self._method = request.method
        headers = request.headers.raw_items()
        if not self.config.h11_pass_raw_headers:
            headers = [(name.lower(), value) for name, value in headers]
        begun = Request(
            stream_id=STREAM_ID,
            headers=headers,
            http_version=request.http_version.decode(),
            method=request.method.decode("ascii").upper(),
            raw_path=request.target,
            state=self.connection_state,
        )
        if begun.http_version not in _VERSIONS:
            await self.refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        elif not self._is_ours(begun):
            await self.refuse(HTTPStatus.MISDIRECTED_REQUEST)
        else:
            await self.send(Updated(idle=False))
            await self._begin_exchange(begun)

    def _is_ours(self, request: Request) -> bool:
        try:
            return valid_server_name(self.config, request)
        except UnicodeDecodeError:
            return False

    async def _begin_exchange(self, request: Request) -> None:
        self.stream = Exchange(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        self.keep_alive_requests += 1
        await self.stream.handle(request)

    async def _maybe_recycle(self) -> None:
        # The app's task may be cancelled as soon as it is told: what is to be done is done first.
        stream, self.stream = self.stream, None
        states = {self.connection.our_state, self.connection.their_state}
        if states == {h11.DONE} and not self.is_stopping:
            self._method = b""
            self.connection.start_next_cycle()
            await self.can_read.set()
            await self.send(Updated(idle=True))
        else:
            await self.send(Closed())
        if stream is not None:
            await stream.handle(StreamClosed(stream_id=STREAM_ID))

    async def _refuse_broken(self, error: h11.RemoteProtocolError) -> None:
        status = HTTPStatus(error.error_status_hint)
        words = _WORDS.get(status, f"this is not HTTP/1.1: {shown(_plain(str(error)))}")
        if status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            words = (
                f"the head of the request is too large (at most {self._received.max_lines} headers "
                f"in {self._received.max_bytes:,} bytes)"
            )
        await self.refuse(status, words)

    def _refusal(self, status: HTTPStatus, words: str) -> bytes:
        body = envelope(Code.INVALID, words, "null")
        headers = [*_envelope_headers(body), *self.config.response_headers("h11")]
        answer = [h11.Response(status_code=status, headers=headers), h11.EndOfMessage()]
        if self._method != b"HEAD":
            answer.insert(1, h11.Data(data=body))
        return b"".join(self.connection.send(event) or b"" for event in answer)


class Exchange(HTTPStream):
    """One request and its answer. What the app cannot answer is answered in the envelope too."""

    _has_begun = False
    _part: bytes | None = None
    """Of the body: it has come, and waits for what follows, which may be the end."""

    async def handle(self, event: StreamEvent) -> None:
        if isinstance(event, Body):
            await self.hand_on()
            self._part = bytes(event.data)
        elif isinstance(event, EndBody):
            await self._hand_on(self._part or b"", more=False)
        else:
            await super().handle(event)

    async def hand_on(self) -> None:
        """Give the app what has come of the body, since nobody knows when more of it will."""
        if self._part is not None:
            await self._hand_on(self._part, more=True)

    async def _hand_on(self, part: bytes, *, more: bool) -> None:
        self._part = None
        if not self.closed:
            await self.app_put({"type": "http.request", "body": part, "more_body": more})

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            # The app has ended. It may have been cancelled in the middle of its answer's head.
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._has_begun and self.state is ASGIHTTPState.REQUEST:
                self.state = ASGIHTTPState.RESPONSE
        elif message["type"] == "http.response.start":
            self._has_begun = True
        await super().app_send(message)

    async def _send_error_response(self, status_code: int) -> None:
        body = envelope(Code.INTERNAL, "internal error", "null")
        await self.send(
            Response(
                stream_id=self.stream_id, headers=_envelope_headers(body), status_code=status_code
            )
        )
        if self.scope["method"] != "HEAD":
            await self.send(Body(stream_id=self.stream_id, data=body))
        await self.send(EndBody(stream_id=self.stream_id))
        self.state = ASGIHTTPState.CLOSED
        took_s = time.time() - self.start_time  # noqa: TID251 - for hypercorn's access log
        await self.config.log.access(self.scope, {"status": status_code, "headers": []}, took_s)


class Tasks(TaskGroup):
    """hypercorn's tasks, in which an app gets its messages without a turn for each."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        inbox = _Inbox(config.max_app_queue_size)
        self.spawn(
            handle_app,
            app,
            config,
            scope,
            inbox.receive,
            send,
            trio.to_thread.run_sync,  # noqa: TID251 - for apps of another kind
            trio.from_thread.run,
        )
        return inbox.put


class _Inbox:
    """What the app has not received yet; who puts something in waits while there are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._messages: deque[ASGIReceiveEvent] = deque()
        self._changed = trio.lowlevel.ParkingLot()

    async def put(self, message: ASGIReceiveEvent) -> None:
        while len(self._messages) >= self._most:
            await self._changed.park()
        self._messages.append(message)
        self._changed.unpark_all()

    async def receive(self) -> ASGIReceiveEvent:
        while not self._messages:
            await self._changed.park()
        self._changed.unpark_all()
        return self._messages.popleft()


class _Received(ReceiveBuffer):
    """What has come and is not read yet. A head, and what follows chunks, may be so large."""

    def __init__(self, *, max_lines: int, max_bytes: int) -> None:
        super().__init__()
        self.max_lines = max_lines
        self.max_bytes = max_bytes

    def maybe_extract_lines(self) -> list[bytearray] | None:
        before = len(self)
        lines = super().maybe_extract_lines()
        if lines and (len(lines) > self.max_lines + 1 or before - len(self) > self.max_bytes):
            raise h11.RemoteProtocolError(
                "too large", error_status_hint=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            )
        return lines


def _plain(words: str) -> str:
    """Return h11's words with bytes as anybody would quote them."""
    return _PYTHON_BYTES.sub(r"\g<quoted>", words).replace("\\'", "'")


def _envelope_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
