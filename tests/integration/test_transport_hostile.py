"""Whatever a receiver does costs its own request, with words, and nothing else."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock

from tests.receivers import (
    HERE,
    OK,
    Answering,
    answers,
    answers_and_closes,
    answers_and_half_closes,
    answers_and_resets,
    answers_unread,
    closes_at_once,
    deaf_port,
    endless_body,
    endless_headers,
    open_files,
    receiver,
    request_to,
    resets_after_head,
    resets_at_once,
    send,
    trickles,
)
from timer_trio.transport import CallbackTransport
from timer_trio.transport.connect import _Race
from timer_trio.transport.errors import ConnectError, SendError, TransportError
from timer_trio.transport.name_memory import Host
from timer_trio.transport.pool import Pool
from timer_trio.transport.resolver import Address, Resolver

pytestmark = pytest.mark.usefixtures("readinesses")

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"


@pytest.mark.parametrize(
    ("answering", "words"),
    [
        (resets_at_once, "connection reset by {peer}"),
        (closes_at_once, None),
        (resets_after_head, "connection reset by {peer}"),
        (answers_and_closes(), "connection closed by {peer} before an answer"),
        (answers_and_resets(), "connection reset by {peer}"),
        (answers_and_half_closes(), "connection closed by {peer} before an answer"),
        (answers_and_resets(b"HTTP/1.1 200 OK\r\nCont"), "connection reset by {peer}"),
        (answers_and_resets(CUT), "connection reset by {peer}"),
        (answers_and_closes(b"HTTP"), "connection closed by {peer} in the middle of its answer"),
        (answers_and_closes(CUT), "connection closed by {peer} in the middle of its answer"),
        (answers_and_half_closes(CUT), "connection closed by {peer} in the middle of its answer"),
        (endless_headers(), "answer headers exceed 64 KiB"),
        (answers(b"SSH-2.0-x\r\n"), "answer is not HTTP: Expected HTTP/, RTSP/ or ICE/"),
        (answers(b"\x00" * 100), "answer is not HTTP: Expected HTTP/, RTSP/ or ICE/"),
        (
            answers(b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n"),
            "answer is not HTTP: Invalid header value char",
        ),
    ],
)
async def test_receiver_without_an_answer_costs_its_own_request(
    answering: Answering, words: str | None
) -> None:
    before = open_files()
    pool = Pool()
    async with (
        receiver(answering) as served,
        receiver(answers(OK)) as healthy,
        CallbackTransport(guard=HERE, pool=pool) as transport,
    ):
        await send(transport, request_to(healthy.url()))
        with pytest.raises(TransportError) as raised:
            await send(transport, request_to(served.url()))
        response = await send(transport, request_to(healthy.url()))
        assert (response.status, len(pool)) == (200, 1)
    if words is not None:
        assert str(raised.value) == words.format(peer=f"127.0.0.1:{served.port}")
    assert str(raised.value).isprintable()
    assert (served.connections, healthy.connections) == (1, 1)
    assert open_files() == before


@pytest.mark.parametrize(
    ("answering", "body", "kept"),
    [
        (answers(OK), b"ok", 1),
        (answers(b"HTTP/1.1 100 Continue\r\n\r\n" + OK), b"ok", 1),
        (answers(b"HTTP/1.1 200 \xff\xfe\x00\r\nX: \xff\r\nContent-Length: 1\r\n\r\n."), b".", 1),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Encoding: br, gzip\r\n" + OK[17:]), b"ok", 1),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Type: a;charset=x\r\n" + OK[17:]), b"ok", 1),
        (trickles(OK, 0), b"ok", 1),
        (answers(OK + OK), b"ok", 0),
        (answers(OK + b"more than was said"), b"ok", 0),
        (answers(b"HTTP/1.0 200 OK\r\n" + OK[17:]), b"ok", 0),
        (answers_and_closes(b"HTTP/1.0 200 OK\r\n\r\nok"), b"ok", 0),
        (answers_and_half_closes(b"HTTP/1.1 200 OK\r\n\r\nok"), b"ok", 0),
        (endless_body(), b"x" * 64 * 1024, 0),
    ],
)
async def test_odd_answers_are_answers(answering: Answering, body: bytes, kept: int) -> None:
    before = open_files()
    pool = Pool()
    async with receiver(answering) as served, CallbackTransport(guard=HERE, pool=pool) as transport:
        response = await send(transport, request_to(served.url()))
        assert (response.status, response.body) == (200, body)
        assert all(isinstance(value, bytes) for _, value in response.headers)
        assert len(pool) == kept
    assert open_files() == before


async def test_refusal_before_the_request_was_read_is_an_answer() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    pool = Pool()
    async with (
        receiver(answers_unread(refusal)) as served,
        CallbackTransport(guard=HERE, pool=pool) as transport,
    ):
        sent = request_to(served.url(), content=b"x" * 50_000_000)
        assert (await send(transport, sent)).status == 413
        assert len(pool) == 0


async def test_request_that_breaks_on_its_way_is_told_in_words() -> None:
    async with receiver(resets_after_head) as served, CallbackTransport(guard=HERE) as transport:
        sent = request_to(served.url(), content=b"x" * 50_000_000)
        with pytest.raises(SendError) as raised:
            await send(transport, sent)
    assert str(raised.value) == f"connection reset by 127.0.0.1:{served.port}"


async def test_slow_answer_ends_with_the_callers_timeout(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    before = open_files()
    async with (
        receiver(trickles(OK, interval_s=9)) as served,
        CallbackTransport(guard=HERE) as transport,
    ):
        with trio.move_on_after(30) as timeout:
            await send(transport, request_to(served.url()))
        assert timeout.cancelled_caught
    assert open_files() == before


async def test_refused_connection_is_told_in_words() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        async with CallbackTransport(guard=HERE) as transport:
            with pytest.raises(ConnectError) as raised:
                await send(transport, request_to(f"http://127.0.0.1:{port}/"))
    assert str(raised.value) == f"connection refused by 127.0.0.1:{port}"


async def test_all_addresses_of_a_name_are_tried() -> None:
    async with receiver(answers(OK)) as served:
        async with transport_to("127.0.0.3", "::1", "127.0.0.1") as transport:
            response = await send(transport, request_to(served.url(host="many")))
        assert response.status == 200
        async with transport_to("127.0.0.3", "127.0.0.4") as transport:
            with pytest.raises(ConnectError) as raised:
                await send(transport, request_to(served.url(host="many")))
    assert str(raised.value) == (
        f"connection refused by 127.0.0.3:{served.port};"
        f" connection refused by 127.0.0.4:{served.port}"
    )


async def test_address_that_does_not_answer_costs_a_head_start(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    before = open_files()
    async with receiver(answers(OK)) as served:
        with deaf_port("127.0.0.2", served.port):
            async with transport_to("127.0.0.2", "127.0.0.1") as transport:
                started = trio.current_time()
                response = await send(transport, request_to(served.url(host="many")))
    assert response.status == 200
    assert trio.current_time() - started == pytest.approx(0.25)
    assert open_files() == before


@pytest.mark.parametrize("url", ["http://.127.0.0.1/", "https://./"])
async def test_host_that_is_none_is_a_transport_error(url: str) -> None:
    async with CallbackTransport(guard=HERE) as transport:
        with pytest.raises(ConnectError):
            await send(transport, request_to(url))


def transport_to(*ips: str) -> CallbackTransport:
    """Make a transport that finds these addresses for every name."""
    hosts: tuple[Host, ...] = tuple((ip, 0) for ip in ips)
    return CallbackTransport(guard=HERE, resolver=Resolver(lambda _: hosts))


async def test_attempt_that_comes_second_closes_its_connection() -> None:
    before = open_files()
    async with receiver(answers(OK)) as served:
        race = _Race()
        for ip in ("127.0.0.1", "127.1"):
            await race._attempt(Address(ip, served.port))
        assert race.winner is not None
        assert race.winner[1].ip == "127.0.0.1"
        race.close()
    assert open_files() == before
