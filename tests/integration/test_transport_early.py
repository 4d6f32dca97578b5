"""What comes from a receiver before it has got the whole request."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from tests.receivers import (
    HERE,
    OK,
    Answering,
    GivenPermit,
    Recorder,
    Stream,
    answers,
    open_files,
    read_request,
    receiver,
    request_to,
    reset,
    send,
    tls_contexts,
)
from timer_trio.transport import Answer, CallbackTransport
from timer_trio.transport.errors import SendError
from timer_trio.transport.pool import Pool
from timer_trio.transport.readiness import Readiness

pytestmark = pytest.mark.usefixtures("readinesses")

LARGE: Final = b"x" * 20_000_000
"""No buffer takes it all in."""
REFUSAL: Final = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
CLOSES: Final = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
PATIENCE_S: Final = 10
"""Nothing here waits for it."""


async def stays(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def half_closes(stream: trio.SocketStream) -> None:
    await stream.send_eof()
    await trio.sleep_forever()


async def says_more(stream: trio.SocketStream) -> None:
    await stream.send_all(b"x")
    await trio.sleep_forever()


async def resets(stream: trio.SocketStream) -> None:
    reset(stream)


async def closes(_: trio.SocketStream) -> None:
    await trio.lowlevel.checkpoint()


Then = Callable[[trio.SocketStream], Awaitable[None]]


def says_unread(answer: bytes, then: Then) -> Answering:
    """Answer when a request begins to come, read no more of it, and then do something else."""

    async def answering(stream: Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        await stream.receive_some(1)
        await stream.send_all(answer)
        await wait_all_tasks_blocked()
        await then(stream)

    return answering


async def send_large(transport: CallbackTransport, url: str, *, is_once: bool = False) -> Answer:
    with trio.fail_after(PATIENCE_S):
        return await send(transport, request_to(url, is_once=is_once, content=LARGE))


@pytest.mark.parametrize("then", [stays, half_closes, says_more, resets, closes])
@pytest.mark.parametrize("refusal", [REFUSAL, CLOSES])
async def test_refusal_is_an_answer_whatever_comes_behind(
    refusal: bytes, then: Then, readinesses: list[Readiness]
) -> None:
    before = open_files()
    pool = Pool()
    async with receiver(says_unread(refusal, then)) as served:
        async with CallbackTransport(guard=HERE, pool=pool) as transport:
            for _ in range(2):
                assert (await send_large(transport, served.url())).status == 413
            assert (len(pool), served.connections) == (0, 2)
        assert [each.expected for each in readinesses] == [0]
    assert open_files() == before


@pytest.mark.parametrize("then", [half_closes, says_more, resets, closes])
async def test_success_is_an_answer_as_soon_as_nobody_reads_on(then: Then) -> None:
    pool = Pool()
    async with (
        receiver(says_unread(OK, then)) as served,
        CallbackTransport(guard=HERE, pool=pool) as transport,
    ):
        assert (await send_large(transport, served.url())).status == 200
        assert len(pool) == 0


async def test_success_is_an_answer_if_its_end_comes_with_it() -> None:
    async def answers_and_half_closes_in_one_breath(stream: Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        await stream.receive_some(1)
        os.write(stream.socket.fileno(), OK)
        stream.socket.shutdown(trio.socket.SHUT_WR)
        await trio.sleep_forever()

    async with (
        receiver(answers_and_half_closes_in_one_breath) as served,
        CallbackTransport(guard=HERE) as transport,
    ):
        assert (await send_large(transport, served.url())).status == 200


async def test_request_goes_out_whole_to_who_has_answered_and_reads_on() -> None:
    sent = request_to("http://127.0.0.1/", content=LARGE)
    total = len(sent.head) + len(sent.body)
    left: list[int] = []

    async def answers_first(stream: Stream) -> None:
        while some := await stream.receive_some(1):
            await stream.send_all(OK)
            await wait_all_tasks_blocked()
            unread = total - len(some)
            while unread > 0 and (some := await stream.receive_some(min(unread, 65_536))):
                unread -= len(some)
            left.append(unread)

    async with receiver(answers_first) as served, CallbackTransport(guard=HERE) as transport:
        for _ in range(2):
            this = sent._replace(endpoint=request_to(served.url()).endpoint)
            with trio.fail_after(PATIENCE_S):
                assert (await send(transport, this)).status == 200
        await wait_all_tasks_blocked(0.02)
        assert (left, served.connections) == ([0, 0], 1)


@pytest.mark.parametrize(("then", "words"), [(half_closes, "closed by"), (resets, "reset by")])
@pytest.mark.parametrize("is_once", [False, True])
@pytest.mark.parametrize("waits_late", [False, True])
async def test_kept_connection_that_ends_within_a_request_costs_another_try_if_it_may(
    then: Then, words: str, *, is_once: bool, waits_late: bool, readinesses: list[Readiness]
) -> None:
    before = open_files()
    recorder = Recorder()

    async def ends_within_the_second(stream: Stream) -> None:
        if served.connections > 1:
            await recorder(stream)
            return
        await read_request(stream)
        await stream.send_all(OK)
        await stream.receive_some(1)
        assert isinstance(stream, trio.SocketStream)
        await then(stream)

    async with receiver(ends_within_the_second) as served:
        async with CallbackTransport(guard=HERE) as transport:
            await send(transport, request_to(served.url()))
            permit = GivenPermit()
            request = request_to(served.url(), is_once=is_once, content=LARGE)
            waits = transport.begin(request, permit)
            assert waits is not None
            if waits_late:
                await wait_all_tasks_blocked(0.02)
            with trio.fail_after(PATIENCE_S):
                if is_once:
                    with pytest.raises(SendError, match=words):
                        await waits(permit)
                else:
                    assert (await waits(permit)).status == 200
        assert [len(request.body) for request in recorder.requests] == [len(LARGE)] * (not is_once)
        assert [each.expected for each in readinesses] == [0]
    assert open_files() == before


async def test_end_within_a_request_after_its_answer_has_begun_is_no_other_try() -> None:
    async def begins_to_answer(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(OK)
        await stream.receive_some(1)
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        await half_closes(stream)

    async with receiver(begins_to_answer) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        with pytest.raises(SendError, match="in the middle of its answer"):
            await send_large(transport, served.url())
        assert served.connections == 1


async def test_answer_that_comes_with_the_end_of_the_handshake_is_read() -> None:
    server, client = tls_contexts(trustme.CA(), "127.0.0.1")
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # there the server's word is the last

    async def answers_unasked(stream: Stream) -> None:
        tls, said = await shaken_hands(stream, server)
        tls.write(OK)
        await stream.send_all(said.read())
        await trio.sleep_forever()

    async with (
        receiver(answers_unasked) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        with trio.fail_after(PATIENCE_S):
            answer = await send(transport, request_to(f"https://127.0.0.1:{served.port}/"))
        assert answer.status == 200


async def shaken_hands(
    stream: Stream, context: ssl.SSLContext
) -> tuple[ssl.SSLObject, ssl.MemoryBIO]:
    """Shake hands, but keep the last words for what is said next."""
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(heard, said, server_side=True)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await stream.send_all(said.read())
            heard.write(await stream.receive_some())
        else:
            return tls, said


READ: Final = 16 * 1024


@pytest.mark.parametrize("length", [READ - 1, READ, READ + 1, 2 * READ, 3 * READ + 7])
@pytest.mark.parametrize("tls", [False, True])
async def test_answer_of_one_read_or_several_is_whole(length: int, *, tls: bool) -> None:
    body_length = length
    while len(answer := answer_of(body_length)) > length:
        body_length -= 1
    assert len(answer) == length
    server, client = tls_contexts(trustme.CA(), "127.0.0.1") if tls else (None, None)
    async with (
        receiver(answers(answer), ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        for _ in range(3):
            with trio.fail_after(PATIENCE_S):
                answered = await send(transport, request_to(served.url()))
            assert len(answered.body) == body_length


def answer_of(body_length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body_length + b"x" * body_length
