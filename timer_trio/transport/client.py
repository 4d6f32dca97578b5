"""The transport of callbacks."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import certifi
import httpx
import trio

from timer_trio.transport.answer import Answer
from timer_trio.transport.connect import connect
from timer_trio.transport.connection import Connection
from timer_trio.transport.pool import Destination, Pool
from timer_trio.transport.resolver import Resolver
from timer_trio.transport.streams import ByteStream, TcpStream, TlsStream
from timer_trio.transport.wording import handshake_failure

MAX_BODY_BYTES: Final = 64 * 1024
"""What a callback's success needs of a body, and more than anybody reads of an error's."""

MAX_HEADER_BYTES: Final = 64 * 1024
"""Four to eight times what common servers send at most."""

FRESH_S: Final = 1.0
"""A receiver hardly closes a connection so soon after it was used: no need to ever send twice."""

_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535


class SendWithheld(httpx.TransportError):
    """Nothing was sent, since `may_send` said no."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to go out, where to, and on which terms."""

    destination: Destination
    message: bytes
    may_send: Callable[[], bool]
    is_once: bool


class CallbackTransport(httpx.AsyncBaseTransport):
    """Makes HTTP/1.1 requests on connections that are kept for the next one.

    Each request carries two extensions. `may_send`, a function, is called right before the first
    byte goes out, with no checkpoint in between. `delivery`: `at_most_once` goes out once, on a
    connection opened for it or used within the last second; `at_least_once` (the default) goes out
    again if a connection that was kept turns out to be closed before any byte of an answer.

    Bodies are not decoded and are cut at `max_body_bytes`. There is no timeout: the caller's cancel
    scope is one.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_header_bytes: int = MAX_HEADER_BYTES,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._ssl_context = ssl_context or _public_web()
        self._resolver = resolver or Resolver()
        self._pool = Pool() if pool is None else pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the end of its answer.

        Raises:
            SendWithheld: nothing was sent.
            httpx.TransportError: there was no answer; its text is a sentence that says why.

        Cancellation: closes the connection; the receiver may have got the request.
        """
        order = _order(request)
        within_s = FRESH_S if order.is_once else self._pool.max_idle_s
        kept = self._pool.take(order.destination, within_s=within_s)
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
        except httpx.NetworkError as lost:
            if order.is_once or answer.has_begun:
                raise
            return await self._send_again(order, lost)
        return answer

    async def _send_again(self, order: _Order, lost: httpx.NetworkError) -> Answer:
        try:
            return await self._send_on_fresh(order)
        except SendWithheld:
            # The first try may have arrived: nobody may take it for not sent.
            raise lost from None

    async def _send_on_fresh(self, order: _Order) -> Answer:
        connection = await self._open(order.destination)
        answer = self._new_answer()
        await self._exchange(order, connection, answer)
        return answer

    async def _exchange(self, order: _Order, connection: Connection, answer: Answer) -> None:
        if not order.may_send():
            self._pool.put(order.destination, connection)
            raise SendWithheld("this replica may not send any more")
        # No checkpoint here: what was true above still is when the first byte goes out.
        is_reusable = False
        try:
            is_reusable = await connection.exchange(order.message, answer)
        finally:
            if is_reusable:
                self._pool.put(order.destination, connection)
            else:
                connection.close()

    async def _open(self, destination: Destination) -> Connection:
        addresses = await self._resolver.resolve(destination.host, destination.port)
        socket_stream, address = await connect(addresses)
        stream = TcpStream(socket_stream)
        try:
            secured = await self._secured(stream, destination, str(address))
        except BaseException:
            stream.close()
            raise
        return Connection(secured, str(address))

    async def _secured(self, stream: TcpStream, destination: Destination, peer: str) -> ByteStream:
        if destination.scheme == "http":
            return stream
        # A certificate has no name with the dot that ends an absolute one.
        tls = TlsStream(stream, self._ssl_context, destination.host.rstrip("."))
        try:
            await tls.do_handshake()
        except (trio.BrokenResourceError, ssl.SSLError) as error:
            tls.close()
            raise httpx.ConnectError(handshake_failure(error, peer)) from None
        return tls

    def _new_answer(self) -> Answer:
        return Answer(max_header_bytes=self._max_header_bytes, max_body_bytes=self._max_body_bytes)


def _public_web() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _order(request: httpx.Request) -> _Order:
    return _Order(
        destination=_destination(request.url),
        message=_message(request),
        may_send=request.extensions["may_send"],
        is_once=request.extensions.get("delivery") == "at_most_once",
    )


def _destination(url: httpx.URL) -> Destination:
    if url.scheme not in _PORTS or not url.host:
        raise httpx.UnsupportedProtocol("not an http or https URL with a host")
    port = _PORTS[url.scheme] if url.port is None else url.port
    if port > _MAX_PORT:
        raise httpx.UnsupportedProtocol(f"no port: {port}")
    return Destination(url.scheme, url.raw_host.decode("ascii"), port)


def _message(request: httpx.Request) -> bytes:
    """Write a request as it goes out; httpx has put Host and Content-Length among its headers."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a line of the request holds a line break")
    return b"\r\n".join([*lines, b"", request.content])


def _response(request: httpx.Request, answer: Answer) -> httpx.Response:
    response = httpx.Response(answer.status, content=answer.body, request=request)
    # Not given above: httpx would decode the body as they say, and trip over a lie.
    response.headers = httpx.Headers(answer.headers)
    return response
