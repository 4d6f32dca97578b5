"""What this machine itself lacks is no failure of a callback."""

from __future__ import annotations

import errno
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from math import inf
from typing import Final

import pytest
import trio
import trustme
from trio.testing import MockClock

from tests.receivers import (
    HERE,
    OK,
    answers,
    never_answers,
    open_files,
    receiver,
    request_to,
    send,
    tls_contexts,
)
from timer_trio.domain.timer import Delivery
from timer_trio.testing import Callback, start_timer_service
from timer_trio.transport import CallbackTransport, ShortageError
from timer_trio.transport.errors import ConnectError, SendError
from timer_trio.transport.pool import Pool
from timer_trio.transport.resolver import Resolver
from timer_trio.transport.streams import TcpStream, TlsStream

IP_LOCAL_PORT_RANGE: Final = 51
"""Linux 6.3; Python has no name for it."""


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open no more files than it has open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 8, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(socket.socket())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "two.test"])
async def test_missing_descriptor_is_a_shortage(host: str) -> None:
    here = Resolver(lambda _: (("127.0.0.1", 0), ("127.0.0.2", 0))) if host == "two.test" else None
    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE, resolver=here) as transport,
    ):
        with no_descriptor_left(), pytest.raises(ShortageError, match="no file descriptor left"):
            await send(transport, request_to(served.url(host=host)))
        assert served.connections == 0
        await trio.sleep(0.15)
        response = await send(transport, request_to(served.url(host=host)))
    assert response.status == 200


async def test_idle_connections_to_others_make_room() -> None:
    pool = Pool()
    async with (
        receiver(answers(OK)) as idle,
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE, pool=pool) as transport,
    ):
        for host in ("127.0.0.1", "127.1", "127.0.1"):
            await send(transport, request_to(idle.url(host=host)))
        assert len(pool) == 3
        with no_descriptor_left():
            # The receiver, in the same process, needs one of them as well.
            response = await send(transport, request_to(served.url()))
        assert (response.status, len(pool)) == (200, 1)


async def test_missing_port_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one_port = struct.pack("I", port << 16 | port)

    class OfOnePort(socket.socket):
        def __init__(
            self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
        ) -> None:
            super().__init__(family, kind, proto, fileno)
            if kind == socket.SOCK_STREAM and fileno is None:
                self.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, one_port)

    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, one_port)
        except OSError:
            pytest.skip("this system cannot give a socket few local ports")
    async with (
        receiver(never_answers) as served,
        CallbackTransport(guard=HERE) as transport,
        trio.open_nursery() as nursery,
    ):
        monkeypatch.setattr(socket, "socket", OfOnePort)
        nursery.start_soon(send, transport, request_to(served.url()))
        while not served.connections:
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ShortageError) as raised:
            await send(transport, request_to(served.url()))
        nursery.cancel_scope.cancel()
    assert str(raised.value) == f"no local port left to connect to 127.0.0.1:{served.port}"


async def test_unassignable_source_address_is_a_failure_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OfNoAddress(socket.socket):
        def connect(self, _: object) -> None:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket, "socket", OfNoAddress)
    async with CallbackTransport(guard=HERE) as transport:
        with pytest.raises(ConnectError) as raised:
            await send(transport, request_to("http://127.0.0.1:9/"))
    assert str(raised.value) == ("cannot connect to 127.0.0.1:9: Cannot assign requested address")


@pytest.mark.parametrize("method", ["do_handshake", "send"])
async def test_missing_memory_for_tls_is_a_shortage(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    before = open_files()
    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    monkeypatch.setattr(TlsStream, method, out_of_memory)
    async with (
        receiver(answers(OK), ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        with pytest.raises(ShortageError, match="no memory left"):
            await send(transport, request_to(served.url()))
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert open_files() == before


@pytest.mark.usefixtures("readinesses")
@pytest.mark.parametrize("is_kept", [False, True])
async def test_missing_buffer_to_send_from_is_a_shortage(
    monkeypatch: pytest.MonkeyPatch, *, is_kept: bool
) -> None:
    def out_of_buffers(*_: object) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    before = open_files()
    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        if is_kept:
            await send(transport, request_to(served.url()))
        with monkeypatch.context() as patch, trio.fail_after(10):
            patch.setattr(TcpStream, "send", out_of_buffers)
            with pytest.raises(ShortageError, match="no buffer left to write to"):
                await send(transport, request_to(served.url()))
        assert (await send(transport, request_to(served.url()))).status == 200
        assert served.connections == 2
    assert open_files() == before


@pytest.mark.usefixtures("readinesses")
async def test_send_that_fails_for_any_reason_waits_for_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    async with receiver(answers(OK)) as served, CallbackTransport(guard=HERE) as transport:
        monkeypatch.setattr(TcpStream, "send", fails)
        with trio.fail_after(10), pytest.raises(SendError, match="Operation not permitted"):
            await send(transport, request_to(served.url()))


class ShortOf:
    """A receiver that cannot be called the first so many times."""

    def __init__(self, times: float) -> None:
        self.left = times

    def __call__(self, _: Callback) -> int:
        if self.left > 0:
            self.left -= 1
            raise ShortageError("no file descriptor left to connect to 10.0.0.7:443")
        return 200


@pytest.mark.parametrize("delivery", Delivery)
async def test_timer_that_was_put_off_is_sent_when_it_can_be(
    nursery: trio.Nursery, autojump_clock: MockClock, delivery: Delivery
) -> None:
    service = await start_timer_service(nursery, answer=ShortOf(3))
    timer = {"delay": 60, "callback_url": "https://10.0.0.7/", "delivery": delivery}
    created = await service.client.post("/timers", json=timer)
    sent = await service.wait_callbacks(4)
    await trio.sleep(1)
    data = (await service.client.get(f"/timers/{created.json()['data']['id']}")).json()["data"]
    assert (data["status"], data["attempt"], data["last_error"]) == ("completed", 1, None)
    assert {callback.headers["X-Timer-Attempt"] for callback in sent} == {"1"}
    pauses_s = [
        (after.sent_at - before.sent_at).total_seconds() for before, after in pairwise(sent)
    ]
    assert all(0.3 < pause_s < 1 for pause_s in pauses_s), pauses_s
    assert autojump_clock.autojump_threshold == 0


async def test_timer_is_put_off_within_its_grace(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    service = await start_timer_service(nursery, answer=ShortOf(inf))
    timer = {"delay": 60, "callback_url": "https://10.0.0.7/", "misfire_grace_seconds": 5}
    created = await service.client.post("/timers", json=timer)
    await trio.sleep(70)
    data = (await service.client.get(f"/timers/{created.json()['data']['id']}")).json()["data"]
    assert data["status"] == "failed"
    assert data["last_error"].startswith("missed: 5")
    assert autojump_clock.autojump_threshold == 0
