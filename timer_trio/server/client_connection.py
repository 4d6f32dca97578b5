"""One connection: read, served, bounded, and closed, whatever comes on it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import Final, NoReturn

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from timer_trio.server.connections import Connections, Reason, network_of
from timer_trio.server.limits import LINGER_BYTES, SEND_SLICE_BYTES, ConnectionLimits
from timer_trio.server.protocol import Http1, Phase, Tasks
from timer_trio.server.turns import Turns

MAX_RECEIVE_BYTES: Final = 1 << 16
_READ_ON: Final = frozenset({Reason.REFUSED, Reason.HEAD_TIMEOUT, Reason.BODY_TIMEOUT})
"""Whose client may be sending still, and is to see the answer."""

log = structlog.get_logger()

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What all connections of a server share."""

    app: AppWrapper
    config: Config
    limits: ConnectionLimits
    connections: Connections
    turns: Turns
    context: WorkerContext = field(default_factory=lambda: WorkerContext(None))
    """Of the protocol: it has a say in when hypercorn's own server ends, and none in ours."""


class ClientConnection:
    """Serves one client, from any stream; `client` is its address if it has one."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        serving: Serving,
        *,
        client: Address | None = None,
        server: Address | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._stream = stream
        self._serving = serving
        self._limits = serving.limits
        self._client = client
        self._server = server
        self._tls = tls
        self.network = None if client is None else network_of(client[0])
        self._reason: Reason | None = None
        self._scope = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._sending = trio.Lock()
        self._head_until: float | None = None
        self._has_request = False
        self._protocol: Http1 | None = None

    async def run(self) -> None:
        """Serve until it ends. Nothing that its peer does leads to an exception.

        Cancellation: it is closed at once.
        """
        try:
            with self._contained():
                async with self._stream:
                    with self._scope:
                        await self._serve()
                    if self._reason in _READ_ON and not self._serving.connections.is_stopping:
                        await self._read_on()
        finally:
            self._serving.connections.remove(self, self._reason or Reason.STOP)

    def close(self, reason: Reason) -> None:
        """End it at once, whatever is under way. The first reason counts."""
        self._reason = self._reason or reason
        self._scope.cancel()

    def stop(self) -> None:
        """Take no other request; one under way is answered, and its body must come now."""
        protocol = self._protocol
        is_asked = self._has_request or (protocol and protocol.phase in {Phase.BODY, Phase.ALL})
        if protocol is None or self._reason or not is_asked:
            self.close(Reason.STOP)
            return
        protocol.is_stopping = True
        if protocol.phase is Phase.BODY:
            soon = trio.current_time() + self._limits.stop_read_s
            self._reading.deadline = min(self._reading.deadline, soon)

    @contextmanager
    def _contained(self) -> Iterator[None]:
        try:
            yield
        except* Exception as errors:  # noqa: BLE001 - whatever it is, it is this connection's alone
            self._reason = Reason.BROKEN
            peer = ":".join(map(str, self._client or ("unix",)))
            log.info("connection_broken", peer=peer, error=_first(errors))

    async def _serve(self) -> None:
        if self._tls is not None:
            await self._do_handshake(self._tls)
        async with Tasks() as tasks:
            self._protocol = protocol = Http1(
                self._serving.app,
                self._serving.config,
                self._serving.context,
                tasks,
                ConnectionState({}),
                self._tls is not None,
                self._client,
                self._server,
                self._handle_event,
                max_header_lines=self._limits.max_header_lines,
                wait_turn=self._serving.turns.enter,
            )
            await self._read(protocol)
            await trio.sleep_forever()  # the last answer is still to come, and ends it

    async def _do_handshake(self, context: ssl.SSLContext) -> None:
        self._stream = stream = trio.SSLStream(
            self._stream, context, server_side=True, https_compatible=True
        )
        is_done = False
        with trio.move_on_after(self._limits.handshake_s), suppress(trio.BrokenResourceError):
            await stream.do_handshake()
            is_done = True
        if not is_done:
            await self._end(Reason.HANDSHAKE)

    async def _read(self, protocol: Http1) -> None:
        """Read until there is nothing more to come; an answer may still be under way."""
        data: bytes | None = None
        while data != b"" and not protocol.has_ended:
            data = None
            self._reading = trio.CancelScope(deadline=self._expect(protocol))
            with self._reading, suppress(trio.BrokenResourceError):
                data = bytes(await self._stream.receive_some(MAX_RECEIVE_BYTES))
            if data is None:
                await self._give_up(protocol)
            else:
                self._serving.connections.set_busy(self)
                await self._wait_turn(protocol)
                await protocol.handle(RawData(data))
        if not protocol.is_answering:
            await self._end(Reason.CLIENT)

    async def _wait_turn(self, protocol: Http1) -> None:
        """Wait until a request may begin; what follows its head has its own limits."""
        if protocol.phase in {Phase.WAITING, Phase.HEAD}:
            self._has_request = True
            await self._serving.turns.enter()
            self._has_request = False

    def _expect(self, protocol: Http1) -> float:
        """Note what the next bytes belong to; returns until when they have to come."""
        now, limits = trio.current_time(), self._limits
        match protocol.phase:
            case Phase.WAITING:
                self._serving.connections.set_waiting(self)
                return now + limits.keep_alive_s
            case Phase.HEAD:
                self._head_until = self._head_until or now + limits.head_s
                return self._head_until
            case Phase.BODY:
                return now + (limits.stop_read_s if protocol.is_stopping else limits.read_s)
            case Phase.ALL:
                return inf

    async def _give_up(self, protocol: Http1) -> None:
        """End it after a read that brought nothing: in time, or at all."""
        if not self._reading.cancelled_caught:
            await self._end(Reason.RESET)
        if protocol.phase is Phase.WAITING:
            await self._end(Reason.IDLE)
        is_head = protocol.phase is Phase.HEAD
        self._reason = Reason.HEAD_TIMEOUT if is_head else Reason.BODY_TIMEOUT
        await protocol.refuse(HTTPStatus.REQUEST_TIMEOUT)

    async def _handle_event(self, event: Event) -> None:
        """Send, read on or end, as the protocol asks."""
        match event:
            case RawData():
                await self._send(event.data)
            case Updated(idle=True):
                if self._protocol is not None:
                    self._reading.deadline = self._expect(self._protocol)
            case Updated():
                self._head_until = None
            case _:
                is_refused = self._protocol is not None and self._protocol.is_refused
                self.close(Reason.REFUSED if is_refused else Reason.ANSWERED)

    async def _send(self, data: bytes) -> None:
        """Send all of it, or end the connection: then nobody waits for anything any more."""
        if self._sending.locked():
            await self._sending.acquire()
        else:
            self._sending.acquire_nowait()  # as almost always: without a turn of its own
        try:
            for start in range(0, len(data), SEND_SLICE_BYTES):
                await self._send_slice(data[start : start + SEND_SLICE_BYTES])
        finally:
            self._sending.release()

    async def _send_slice(self, data: bytes) -> None:
        reason = Reason.SEND_TIMEOUT
        with trio.move_on_after(self._limits.send_s):
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                reason = Reason.RESET
            else:
                return
        await self._end(reason)

    async def _end(self, reason: Reason) -> NoReturn:
        self.close(reason)
        await trio.sleep_forever()
        raise AssertionError("the scope of all that it does is cancelled")

    async def _read_on(self) -> None:
        left = LINGER_BYTES
        with (
            trio.move_on_after(self._limits.linger_s) as self._scope,
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            while left > 0 and (data := await self._stream.receive_some(MAX_RECEIVE_BYTES)):
                left -= len(data)


def _first(errors: BaseExceptionGroup[Exception]) -> str:
    """Return the class of what went wrong: its words may be the peer's."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
