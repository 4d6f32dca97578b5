"""The transport of callbacks."""

from __future__ import annotations

import ssl
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import certifi
import httpx
import structlog
import trio

from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.outcome import Phase, Step
from timer_trio.transport.answer import Answer
from timer_trio.transport.connect import connect
from timer_trio.transport.connection import Connection
from timer_trio.transport.pool import Destination, Pool
from timer_trio.transport.resolver import Address, Resolver
from timer_trio.transport.shortage import ShortageError, lacking
from timer_trio.transport.streams import ByteStream, TcpStream, TlsStream
from timer_trio.transport.wording import handshake_failure, peers, refused_addresses

MAX_BODY_BYTES: Final = 64 * 1024
"""What a callback's success needs of a body, and more than anybody reads of an error's."""

MAX_HEADER_BYTES: Final = 64 * 1024
"""Four to eight times what common servers send at most."""

FRESH_S: Final = 1.0
"""A receiver hardly closes a connection so soon after it was used: so the one try will arrive."""

_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535

log = structlog.get_logger()


class SendWithheld(httpx.TransportError):
    """Nothing was sent, since `may_send` said no."""


class _Letter(NamedTuple):
    """What is to go out, and where to."""

    destination: Destination
    message: bytes


class _Order(NamedTuple):
    """A letter, and on which terms it goes out."""

    letter: _Letter
    may_send: Callable[[], bool]
    is_once: bool
    extensions: MutableMapping[str, Any]
    """Those of the request: `phase` says what a connection for it waits for."""


class CallbackTransport(httpx.AsyncBaseTransport):
    """Makes HTTP/1.1 requests on connections that are kept for the next one.

    Each request carries two extensions. `may_send`, a function, is called right before the first
    byte goes out, with no checkpoint in between. `delivery`: `at_most_once` goes out once, on a
    connection opened for it or used within the last second; `at_least_once` (the default) goes out
    again if a connection that was kept breaks before the last byte has been handed to the system:
    nobody can have read it whole then. A request that has gone out whole is never sent again. One
    that `write_down` was given goes out as it was then. While a connection for it is being opened a
    third extension, `phase`, says what that waits for.

    A connection is opened to addresses that `guard` lets pass, and to no others; without one these
    are the public ones. Certificates are trusted that the public web trusts, or `ca_file` holds.

    Bodies are cut at `max_body_bytes`; `aiter_raw` has them as they came. There is no timeout: the
    caller's cancel scope is one.
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
    ) -> None:
        self._guard = guard or AddressGuard()
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._ssl_context = ssl_context or _public_web(ca_file)
        self._resolver = resolver or Resolver()
        self._pool = Pool() if pool is None else pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the end of its answer.

        Raises:
            SendWithheld: nothing was sent.
            ShortageError: nothing was sent, for want of something of our own.
            httpx.TransportError: there was no answer; its text is a sentence that says why.

        Cancellation: closes the connection; the receiver may have got the request.
        """
        order = _order(request)
        within_s = FRESH_S if order.is_once else self._pool.max_idle_s
        kept = self._pool.take(order.letter.destination, within_s=within_s)
        if kept is None:
            answer = await self._send_on_fresh(order)
        else:
            answer = await self._send_on_kept(order, kept)
        return _response(request, answer)

    async def close_expired_forever(self) -> NoReturn:
        """Close connections that have been idle for too long, even if no request comes any more."""
        while True:
            await trio.sleep(self._pool.max_idle_s)
            self._pool.close_expired()

    async def aclose(self) -> None:
        """Close what is idle; what is in use closes when it is done."""
        self._pool.close()
        await trio.lowlevel.checkpoint()

    async def _send_on_kept(self, order: _Order, connection: Connection) -> Answer:
        answer = self._new_answer()
        try:
            await self._exchange(order, connection, answer)
        except httpx.WriteError as lost:
            if order.is_once or answer.has_begun:
                raise
            return await self._send_again(order, lost)
        return answer

    async def _send_again(self, order: _Order, lost: httpx.WriteError) -> Answer:
        try:
            return await self._send_on_fresh(order)
        except (SendWithheld, ShortageError):
            # A part of the first try may have arrived: nobody may take it for not sent.
            raise lost from None

    async def _send_on_fresh(self, order: _Order) -> Answer:
        connection = await self._open(order)
        answer = self._new_answer()
        await self._exchange(order, connection, answer)
        return answer

    async def _exchange(self, order: _Order, connection: Connection, answer: Answer) -> None:
        if not order.may_send():
            self._pool.put(order.letter.destination, connection)
            raise SendWithheld("this replica may not send any more")
        # No checkpoint here: what was true above still is when the first byte goes out.
        is_reusable = False
        try:
            is_reusable = await connection.exchange(order.letter.message, answer)
        finally:
            if is_reusable:
                self._pool.put(order.letter.destination, connection)
            else:
                connection.close()

    async def _open(self, order: _Order) -> Connection:
        try:
            return await self._try_to_open(order)
        except ShortageError:
            self._resolver.note_shortage()
            if not self._pool.make_room():
                raise
        return await self._try_to_open(order)

    async def _try_to_open(self, order: _Order) -> Connection:
        destination, extensions = order.letter.destination, order.extensions
        extensions["phase"] = Phase(Step.LOOK_UP)
        found = await self._resolver.resolve(destination.host, destination.port)
        # What was vetted is what is connected to: nobody asks for the name again.
        vetted = self._vetted(destination.host, found)
        extensions["phase"] = Phase(Step.CONNECT, peers(vetted))
        connected, address = await connect(vetted)
        stream = TcpStream(connected)
        extensions["phase"] = Phase(Step.HANDSHAKE, str(address))
        try:
            secured = await self._secured(stream, destination, str(address))
        except BaseException:
            stream.close()
            raise
        del extensions["phase"]
        return Connection(secured, str(address))

    def _vetted(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        refused = {a.ip: kind for a in addresses if (kind := self._guard.refusal(host, a.ip))}
        vetted = [address for address in addresses if address.ip not in refused]
        if not vetted:
            # What the consumer reads names no address that a name has led to.
            log.info("addresses_refused", host=host, addresses=refused)
            raise httpx.ConnectError(refused_addresses(host, refused))
        return vetted

    async def _secured(self, stream: TcpStream, destination: Destination, peer: str) -> ByteStream:
        if destination.scheme == "http":
            return stream
        try:
            # A certificate has no name with the dot that ends an absolute one.
            tls = TlsStream(stream, self._ssl_context, destination.host.rstrip("."))
            await _shake_hands(tls)
        except (OSError, MemoryError) as error:  # ssl.SSLError is an OSError
            lack = lacking(error)
            if lack is not None or isinstance(error, MemoryError):
                raise ShortageError(f"{lack} for a TLS handshake with {peer}") from None
            raise httpx.ConnectError(handshake_failure(error, peer)) from None
        return tls

    def _new_answer(self) -> Answer:
        return Answer(max_header_bytes=self._max_header_bytes, max_body_bytes=self._max_body_bytes)


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


def write_down(request: httpx.Request) -> None:
    """Do what can be done before a request is sent; from now on its URL and headers are fixed.

    Raises:
        httpx.TransportError: it cannot be sent.
    """
    request.extensions["letter"] = _letter(request)


def _order(request: httpx.Request) -> _Order:
    return _Order(
        letter=request.extensions.get("letter") or _letter(request),
        may_send=request.extensions["may_send"],
        is_once=request.extensions.get("delivery") == "at_most_once",
        extensions=request.extensions,
    )


def _letter(request: httpx.Request) -> _Letter:
    return _Letter(_destination(request.url), _message(request))


def _destination(url: httpx.URL) -> Destination:
    if url.scheme not in _PORTS or not url.host:
        raise httpx.UnsupportedProtocol("not an http or https URL with a host")
    port = _PORTS[url.scheme] if url.port is None else url.port
    if port > _MAX_PORT:
        raise httpx.UnsupportedProtocol(f"no port: {port}")
    return Destination(url.scheme, url.raw_host.decode("ascii"), port)


def _message(request: httpx.Request) -> bytes:
    """Write a request as it goes out; Host and Content-Length are among its headers already."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines)
    if head.count(b"\n") + head.count(b"\r") != 2 * (len(lines) - 1):
        raise httpx.LocalProtocolError("a line of the request holds a line break")
    return b"%b\r\n\r\n%b" % (head, request.content)


def _response(request: httpx.Request, answer: Answer) -> httpx.Response:
    return httpx.Response(
        answer.status,
        headers=answer.headers,
        # Given as content, httpx would decode it as the headers say, and trip over a lie.
        stream=httpx.ByteStream(answer.body),
        request=request,
    )
