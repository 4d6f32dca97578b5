"""Receivers of callbacks, healthy and hostile: raw sockets on the loopback.

`async with receiver(answering) as served:` serves until the block ends. `answering` gets the stream
of each connection, which is closed when it returns. `silent_port` and `deaf_port` are for what no
stream can do.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
import trustme

from timer_trio.callback_url import read_url
from timer_trio.delivery.callback import Caller, request_of
from timer_trio.domain.addresses import LOOPBACK, AddressGuard
from timer_trio.domain.outcome import CallbackOutcome, Phase, TimedOut
from timer_trio.domain.timer import ClaimedTimer
from timer_trio.transport import Answer, CallbackTransport, Endpoint, Request

HERE: Final = AddressGuard(LOOPBACK)
"""Lets the transport under test reach these receivers."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Answering = Callable[[Stream], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """Where a receiver listens, and how many connections it has had."""

    port: int
    scheme: str
    connections: int = 0

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came."""

    head: bytes
    body: bytes

    def header(self, name: bytes) -> list[bytes]:
        fields = (line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:])
        return [value for key, value in fields if key.lower() == name.lower()]


@asynccontextmanager
async def receiver(
    answering: Answering, *, port: int = 0, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Serve on a port, 0 for a free one, until the block ends.

    A client that leaves early is no error. A connection that is idle when the block ends is not
    reset, so that another receiver can serve on the same port.
    """
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
    served = Receiver(listener.socket.getsockname()[1], "https" if ssl_context else "http")

    async def handle(tcp: trio.SocketStream) -> None:
        served.connections += 1
        stream: Stream = tcp
        if ssl_context is not None:
            stream = trio.SSLStream(tcp, ssl_context, server_side=True, https_compatible=True)
        try:
            await answering(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, handle, [listener]))
        yield served
        nursery.cancel_scope.cancel()


def tls_contexts(
    authority: trustme.CA, name: str, *, expires: datetime | None = None
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a server's context with a certificate for a name, and a client's that trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_after=expires).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def self_signed_context() -> ssl.SSLContext:
    """Make a server's context with a certificate that nobody else has signed."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.private_key_pem.tempfile() as key, authority.cert_pem.tempfile() as certificate:
        server.load_cert_chain(certificate, key)
    return server


def yes() -> bool:
    """Let a request go out."""
    return True


@dataclass(slots=True)
class GivenPermit:
    """A permit that asks a function."""

    may_send: Callable[[], bool] = yes
    phase: Phase | None = None


async def send(
    transport: CallbackTransport, request: Request, may_send: Callable[[], bool] = yes
) -> Answer:
    return await transport.send(request, GivenPermit(may_send))


async def call_back(transport: CallbackTransport, timer: ClaimedTimer) -> CallbackOutcome:
    """Fire a timer, and tell how that ends, within its timeout."""
    permit = GivenPermit()
    with trio.move_on_after(timer.spec.callback.timeout_s):
        return await Caller(transport).call_back(request_of(timer), permit)
    return TimedOut(permit.phase)


def request_to(url: str, *, is_once: bool = False, content: bytes = b"{}") -> Request:
    """Make a callback as the transport gets it."""
    read = read_url(url)
    head = (
        f"POST {read.target} HTTP/1.1\r\nHost: {read.authority}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    endpoint = Endpoint(read.scheme, read.host, read.port)
    return Request(endpoint, head.encode(), content, is_once)


def open_files() -> int:
    """Count this process's file descriptors."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def read_request(stream: Stream) -> Received | None:
    """Read one request with a Content-Length, if any; None when the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            return None
        data += more
    head, _, start = data.partition(b"\r\n\r\n")
    length = int((Received(head, b"").header(b"content-length") or [b"0"])[0])
    body = bytearray(start)
    while len(body) < length:
        body += await stream.receive_some()
    return Received(head, bytes(body))


class Recorder:
    """A healthy receiver: keeps each request, and answers all of them on one connection."""

    def __init__(self, answer: bytes = OK) -> None:
        self.requests: list[Received] = []
        self._answer = answer

    async def __call__(self, stream: Stream) -> None:
        while request := await read_request(stream):
            self.requests.append(request)
            await stream.send_all(self._answer)


def answers(answer: bytes) -> Answering:
    """Answer each request with these bytes, and keep the connection."""
    return Recorder(answer)


def answers_and_closes(answer: bytes = b"") -> Answering:
    """Answer one request with these bytes, and close in good order."""

    async def answering(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(answer)

    return answering


def answers_in_turn(*answers: bytes) -> Answering:
    """Answer the requests on one connection with these bytes, one after the other, and close."""

    async def answering(stream: Stream) -> None:
        for answer in answers:
            await read_request(stream)
            await stream.send_all(answer)

    return answering


def answers_by_connection(*answers: bytes) -> Answering:
    """Answer the first request of each connection with the next of these, and close."""
    left = iter(answers)

    async def answering(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(next(left))

    return answering


def answers_first_bytes(answer: bytes = b"") -> Answering:
    """Answer the first bytes that come, be it a request or a handshake, and close."""

    async def answering(stream: Stream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    return answering


def answers_and_resets(answer: bytes = b"") -> Answering:
    """Answer one request with these bytes, and reset the connection."""

    async def answering(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(answer)
        reset(stream)

    return answering


def answers_and_half_closes(answer: bytes = b"") -> Answering:
    """Answer one request with these bytes, say that no more will come, and go on listening."""

    async def answering(stream: Stream) -> None:
        await read_request(stream)
        if not isinstance(stream, trio.SocketStream):
            raise TypeError("TLS has no half-close")
        await stream.send_all(answer)
        await stream.send_eof()
        await read_request(stream)

    return answering


def answers_unread(answer: bytes) -> Answering:
    """Answer before the request has been read, and close: what comes in resets the connection."""

    async def answering(stream: Stream) -> None:
        await stream.send_all(answer)

    return answering


def trickles(answer: bytes, interval_s: float) -> Answering:
    """Answer one request a byte at a time."""

    async def answering(stream: Stream) -> None:
        await read_request(stream)
        for byte in answer:
            await stream.send_all(bytes([byte]))
            await trio.sleep(interval_s)

    return answering


def never_ends(start: bytes, block: bytes) -> Answering:
    """Answer one request with a start and then with the same block for as long as it is read."""

    async def answering(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(start)
        for _ in itertools.count():
            await stream.send_all(block)

    return answering


async def resets_at_once(stream: Stream) -> None:
    reset(stream)


async def closes_at_once(_: Stream) -> None:
    await trio.lowlevel.checkpoint()


async def half_closes_at_once(stream: Stream) -> None:
    assert isinstance(stream, trio.SocketStream)
    await stream.send_eof()
    await read_request(stream)


async def says_more_once_it_is_idle(stream: Stream) -> None:
    """Answer one request, and once that has been read answer again."""
    await read_request(stream)
    await stream.send_all(OK)
    await trio.sleep(0.005)
    await stream.send_all(OK)
    await read_request(stream)


async def answers_once(stream: Stream) -> None:
    """Answer one request, and never again."""
    await read_request(stream)
    await stream.send_all(OK)
    await never_answers(stream)


async def reads_nothing(_: Stream) -> None:
    await trio.sleep_forever()


async def resets_after_head(stream: Stream) -> None:
    """Reset when the first bytes of a request have come."""
    await stream.receive_some(16)
    reset(stream)


async def never_answers(stream: Stream) -> None:
    while await stream.receive_some():
        pass


def endless_headers() -> Answering:
    return never_ends(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 10_000 + b"\r\n")


def endless_body() -> Answering:
    return never_ends(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000)


async def breaks_tls(stream: Stream) -> None:
    """Answer one request with bytes that are no record."""
    await read_request(stream)
    assert isinstance(stream, trio.SSLStream)
    await stream.transport_stream.send_all(b"no record at all" * 10)


async def sends_a_record_more(stream: Stream) -> None:
    """Answer one request, and send the end of the answer at once with a record behind it."""
    await read_request(stream)
    assert isinstance(stream, trio.SSLStream)
    await stream.send_all(OK[:9])
    for record in (OK[9:], b"more"):
        stream._ssl_object.write(record)
    await stream.transport_stream.send_all(stream._outgoing.read())
    await stream.receive_some()


def knows_only_tls_1_0() -> Answering:
    """Refuse the handshake of a client that wants a newer version, and say so to it."""
    context, _ = tls_contexts(trustme.CA(), "127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is old is the point
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")

    async def answering(stream: Stream) -> None:
        # By hand: trio's stream would close without the alert that servers send.
        heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        heard.write(await stream.receive_some())
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            context.wrap_bio(heard, said, server_side=True).do_handshake()
        await stream.send_all(said.read())

    return answering


class ClosesAfterEach:
    """Answers each request as if the connection were kept, and closes it all the same."""

    def __init__(self) -> None:
        self.requests: list[Received] = []

    async def __call__(self, stream: Stream) -> None:
        if request := await read_request(stream):
            self.requests.append(request)
            await stream.send_all(OK)


class CutsSecond:
    """Answers the first request of each connection, and resets it within the second."""

    def __init__(self, cuts: int) -> None:
        self.requests: list[Received] = []
        self._cuts_left = cuts

    async def __call__(self, stream: Stream) -> None:
        while request := await read_request(stream):
            self.requests.append(request)
            await stream.send_all(OK)
            if self._cuts_left:
                self._cuts_left -= 1
                await stream.receive_some(16)
                reset(stream)
                return


def reset(stream: Stream) -> None:
    """Close with a TCP reset."""
    tcp = stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
    linger_0_s = struct.pack("ii", 1, 0)
    tcp.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger_0_s)
    tcp.socket.close()


@asynccontextmanager
async def resets_unaccepted() -> AsyncIterator[Receiver]:
    """Reset each connection before it is accepted."""
    with _listening(0) as held, trio.CancelScope() as serving:
        # It stays bound, so that nobody else gets the port.
        port = int(held.getsockname()[1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_reset_unaccepted, port)
            yield Receiver(port, "http")
            serving.cancel()


async def _reset_unaccepted(port: int) -> None:
    while True:
        with _listening(port) as listening:
            listening.listen()
            await trio.lowlevel.wait_readable(listening)


def _listening(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
    bound.bind(("127.0.0.1", port))
    return bound


@contextmanager
def silent_port() -> Iterator[int]:
    """Take connections on all addresses of this machine, and never say a word; yields the port."""
    with socket.create_server(("0.0.0.0", 0), backlog=4_096) as listening:  # noqa: S104 - 127/8
        yield int(listening.getsockname()[1])


@contextmanager
def deaf_port(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Listen and accept nothing, with a queue that is full already; yields the port."""
    with socket.socket() as deaf, socket.socket() as queued, socket.socket() as waiting:
        deaf.bind((host, port))
        deaf.listen(0)
        for fills_queue in (queued, waiting):
            fills_queue.setblocking(False)
            fills_queue.connect_ex(deaf.getsockname())
        yield int(deaf.getsockname()[1])
