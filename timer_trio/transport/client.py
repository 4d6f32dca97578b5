"""The transport of callbacks."""

from __future__ import annotations

import ssl
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import certifi
import structlog
import trio

from timer_trio.alarm import Alarm
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.outcome import Phase, Step
from timer_trio.transport.answer import AnswerReader
from timer_trio.transport.connect import connect
from timer_trio.transport.connection import Connection
from timer_trio.transport.errors import ConnectError, SendError, ShortageError, WithheldError
from timer_trio.transport.pool import Pool
from timer_trio.transport.readiness import PATIENCE_S, system_readiness
from timer_trio.transport.request import Answer, Begun, Endpoint, Permit, Request
from timer_trio.transport.resolver import Address, Resolver
from timer_trio.transport.shortage import lacking
from timer_trio.transport.streams import ByteStream, TcpStream, TlsStream
from timer_trio.transport.wording import handshake_failure, peers, refused_addresses

MAX_BODY_BYTES: Final = 64 * 1024
"""What a callback's success needs of a body, and more than anybody reads of an error's."""

MAX_HEADER_BYTES: Final = 64 * 1024
"""Four to eight times what common servers send at most."""

FRESH_S: Final = 1.0
"""A receiver hardly closes a connection so soon after it was used: so the one try will arrive."""

_LOOK_UP: Final = Phase(Step.LOOK_UP)

log = structlog.get_logger()


class CallbackTransport:
    """Makes HTTP/1.1 requests on connections that are kept for the next one.

    A request goes out again, unless it is for once, if a connection that was kept breaks before the
    last byte has been handed to the system: nobody can have read it whole then. One that has gone
    out whole is never sent again.

    A connection is opened to addresses that `guard` lets pass, and to no others; without one these
    are the public ones. Certificates are trusted that the public web trusts, or `ca_file` holds.

    A few answers wait up to `patience_s` for the alarm, so that both cost one wake-up.

    Bodies are cut at `max_body_bytes`, and stay as they came. There is no timeout: the caller's
    cancel scope is one.
    """

    def __init__(
        self,
        *,
        guard: AddressGuard | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_header_bytes: int = MAX_HEADER_BYTES,
        ssl_context: ssl.SSLContext | None = None,
        ca_file: Path | None = None,
        resolver: Resolver | None = None,
        pool: Pool | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._guard = guard or AddressGuard()
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._ssl_context = ssl_context or _public_web(ca_file)
        self._resolver = resolver or Resolver()
        self._pool = Pool() if pool is None else pool
        self._patience_s = patience_s

    async def __aenter__(self) -> Self:
        self._readiness = system_readiness(self._patience_s)
        self._tasks_manager = trio.open_nursery()
        self._tasks = await self._tasks_manager.__aenter__()
        await self._tasks.start(self._readiness.run)
        return self

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, bool | None]:
        """Close what is idle; what is in use closes when it is done."""
        return self._leave(kind, error, traceback)

    async def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._pool.close()
        self._tasks.cancel_scope.cancel()
        try:
            return await self._tasks_manager.__aexit__(kind, error, traceback)
        finally:
            self._readiness.close()

    @property
    def alarm(self) -> Alarm:
        """Rings in the same wait in which answers come in."""
        return self._readiness.alarm

    def begin(self, request: Request, permit: Permit) -> Begun | None:
        """Send a request at once on a connection that was kept; None: there is none.

        Raises:
            WithheldError: nothing was sent.
            ShortageError: nothing was sent, for want of something of our own.
        """
        within_s = FRESH_S if request.is_once else self._pool.max_idle_s
        kept = self._pool.take(request.endpoint, within_s=within_s)
        if kept is None:
            return None
        self._begin_on(kept, request, permit)
        return partial(self._finish_on_kept, request, kept)

    async def send(self, request: Request, permit: Permit) -> Answer:
        """Send a request and wait for the end of its answer.

        Raises:
            WithheldError: nothing was sent.
            ShortageError: nothing was sent, for want of something of our own.
            TransportError: there was no answer.

        Cancellation: closes the connection; the receiver may have got the request.
        """
        self._readiness.look()  # no connection is taken that is known to be gone
        begun = self.begin(request, permit)
        if begun is None:
            return await self._send_on_fresh(request, permit)
        return await begun(permit)

    async def close_expired_forever(self) -> NoReturn:
        """Close connections that have been idle for too long, even if no request comes any more."""
        while True:
            await trio.sleep(self._pool.max_idle_s)
            self._pool.close_expired()

    async def _finish_on_kept(
        self, request: Request, connection: Connection, permit: Permit
    ) -> Answer:
        try:
            answer = await connection.finish()
        except SendError as lost:
            if request.is_once or connection.has_answer_begun:
                raise
            return await self._send_again(request, permit, lost)
        self._keep(connection, request.endpoint)
        return answer

    async def _send_again(self, request: Request, permit: Permit, lost: SendError) -> Answer:
        try:
            return await self._send_on_fresh(request, permit)
        except (WithheldError, ShortageError):
            # A part of the first try may have arrived: nobody may take it for not sent.
            raise lost from None

    async def _send_on_fresh(self, request: Request, permit: Permit) -> Answer:
        connection = await self._open(request.endpoint, permit)
        self._begin_on(connection, request, permit)
        answer = await connection.finish()
        self._keep(connection, request.endpoint)
        return answer

    def _begin_on(self, connection: Connection, request: Request, permit: Permit) -> None:
        try:
            whole = request.head_now() + request.body
            if permit.may_send():
                # No checkpoint here: what was true above still is when the first byte goes out.
                connection.begin(whole)
                return
        except BaseException:
            connection.close()
            raise
        self._keep(connection, request.endpoint)
        raise WithheldError("this replica may not send any more")

    def _keep(self, connection: Connection, endpoint: Endpoint) -> None:
        if connection.is_open:
            self._pool.put(endpoint, connection)

    async def _open(self, endpoint: Endpoint, permit: Permit) -> Connection:
        try:
            return await self._try_to_open(endpoint, permit)
        except ShortageError:
            self._resolver.note_shortage()
            if not self._pool.make_room():
                raise
        return await self._try_to_open(endpoint, permit)

    async def _try_to_open(self, endpoint: Endpoint, permit: Permit) -> Connection:
        permit.phase = _LOOK_UP
        found = await self._resolver.resolve(endpoint.host, endpoint.port)
        # What was vetted is what is connected to: nobody asks for the name again.
        vetted = self._vetted(endpoint.host, found)
        permit.phase = Phase(Step.CONNECT, peers(vetted))
        connected, address = await connect(vetted)
        stream = TcpStream(connected)
        permit.phase = Phase(Step.HANDSHAKE, str(address))
        try:
            secured = await self._secured(stream, endpoint, str(address))
        except BaseException:
            stream.close()
            raise
        permit.phase = None
        reader = AnswerReader(
            max_header_bytes=self._max_header_bytes, max_body_bytes=self._max_body_bytes
        )
        return Connection(secured, str(address), self._readiness, reader)

    def _vetted(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        refused = {a.ip: kind for a in addresses if (kind := self._guard.refusal(host, a.ip))}
        vetted = [address for address in addresses if address.ip not in refused]
        if not vetted:
            # What the consumer reads names no address that a name has led to.
            log.info("addresses_refused", host=host, addresses=refused)
            raise ConnectError(refused_addresses(host, refused))
        return vetted

    async def _secured(self, stream: TcpStream, endpoint: Endpoint, peer: str) -> ByteStream:
        if endpoint.scheme == "http":
            return stream
        try:
            # A certificate has no name with the dot that ends an absolute one.
            tls = TlsStream(stream, self._ssl_context, endpoint.host.rstrip("."))
            await _shake_hands(tls)
        except (OSError, MemoryError) as error:  # ssl.SSLError is an OSError
            lack = lacking(error)
            if lack is not None or isinstance(error, MemoryError):
                raise ShortageError(f"{lack} for a TLS handshake with {peer}") from None
            raise ConnectError(handshake_failure(error, peer)) from None
        return tls


async def _shake_hands(tls: TlsStream) -> None:
    try:
        await tls.do_handshake()
    except (OSError, MemoryError):
        tls.close()
        raise


def _public_web(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
