"""Requests that go out at once on a kept connection, before anybody waits for their answers."""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from tests.receivers import (
    HERE,
    OK,
    Answering,
    ClosesAfterEach,
    CutsSecond,
    GivenPermit,
    Recorder,
    Stream,
    answers,
    answers_once,
    never_answers,
    open_files,
    receiver,
    request_to,
    says_more_once_it_is_idle,
    send,
    tls_contexts,
)
from timer_trio.transport import Answer, CallbackTransport, Request, WithheldError
from timer_trio.transport.errors import ReceiveError
from timer_trio.transport.pool import Pool
from timer_trio.transport.readiness import Readiness

SETTLED_S: Final = 0.02
"""So long nothing happens any more on the loopback."""

pytestmark = pytest.mark.usefixtures("readinesses")


def begun(transport: CallbackTransport, request: Request) -> Callable[[], Awaitable[Answer]]:
    permit = GivenPermit()
    waits = transport.begin(request, permit)
    assert waits is not None
    return partial(waits, permit)


async def test_answer_may_come_before_anybody_waits_for_it(readinesses: list[Readiness]) -> None:
    recorder = Recorder()
    async with receiver(recorder) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url("/first")))
        waits = begun(transport, request_to(served.url("/second")))
        await wait_all_tasks_blocked(SETTLED_S)
        assert len(recorder.requests) == 2
        assert (await waits()).body == b"ok"
        assert (await begun(transport, request_to(served.url("/third")))()).status == 200
    assert served.connections == 1
    assert [each.expected for each in readinesses] == [0]


async def test_nothing_is_sent_where_no_connection_is_kept() -> None:
    recorder = Recorder()
    async with receiver(recorder) as served, CallbackTransport(guard=HERE) as transport:
        assert transport.begin(request_to(served.url()), GivenPermit()) is None
        await wait_all_tasks_blocked(SETTLED_S)
    assert (served.connections, recorder.requests) == (0, [])


async def test_without_a_permit_nothing_is_sent_and_the_connection_is_kept() -> None:
    recorder, pool = Recorder(), Pool()
    async with (
        receiver(recorder) as served,
        CallbackTransport(guard=HERE, pool=pool) as transport,
    ):
        await send(transport, request_to(served.url()))
        with pytest.raises(WithheldError):
            transport.begin(request_to(served.url()), GivenPermit(lambda: False))
        assert len(pool) == 1
        await wait_all_tasks_blocked(SETTLED_S)
    assert len(recorder.requests) == 1


@pytest.mark.parametrize("is_once", [True, False])
async def test_connection_that_dies_before_anybody_waits_costs_its_request_alone(
    *, is_once: bool, readinesses: list[Readiness]
) -> None:
    cutting = CutsSecond(1)
    before = open_files()
    async with receiver(cutting) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        waits = begun(transport, request_to(served.url(), is_once=is_once))
        await wait_all_tasks_blocked(SETTLED_S)
        with pytest.raises(ReceiveError):  # it has gone out whole, so it is not sent again
            await waits()
        assert (await send(transport, request_to(served.url()))).status == 200
    assert [each.expected for each in readinesses] == [0]
    assert open_files() == before


@pytest.mark.parametrize("leaving", [ClosesAfterEach(), says_more_once_it_is_idle])
async def test_connection_that_closed_or_spoke_while_idle_is_passed_over(
    leaving: Answering,
) -> None:
    async with receiver(leaving) as served, CallbackTransport(guard=HERE) as transport:
        await send(transport, request_to(served.url()))
        await wait_all_tasks_blocked(SETTLED_S)
        assert transport.begin(request_to(served.url()), GivenPermit()) is None


async def test_canceled_wait_closes_the_connection(readinesses: list[Readiness]) -> None:
    before = open_files()
    async with receiver(answers_once) as served:
        async with CallbackTransport(guard=HERE) as transport:
            await send(transport, request_to(served.url()))
            waits = begun(transport, request_to(served.url()))
            with trio.move_on_after(SETTLED_S) as scope:
                await waits()
            assert scope.cancelled_caught
        assert [each.expected for each in readinesses] == [0]
    assert open_files() == before


@pytest.mark.parametrize("tls", [False, True])
async def test_request_is_with_the_receiver_before_any_other_task_runs(*, tls: bool) -> None:
    accepted: list[trio.SocketStream] = []

    async def tells_of_itself(stream: Stream) -> None:
        accepted.append(
            stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
        )
        await answers_once(stream)

    server, client = tls_contexts(trustme.CA(), "127.0.0.1") if tls else (None, None)
    async with (
        receiver(tells_of_itself, ssl_context=server) as served,
        CallbackTransport(guard=HERE, ssl_context=client) as transport,
    ):
        await send(transport, request_to(served.url()))
        (arriving,) = accepted
        asked: list[bool] = []

        def may_send() -> bool:
            asked.append(has_arrived(arriving, within_s=0))
            return True

        permit = GivenPermit(may_send)
        waits = transport.begin(request_to(served.url()), permit)
        assert waits is not None
        assert asked == [False]
        assert has_arrived(arriving, within_s=5)  # this task has not let go since
        with trio.move_on_after(0):
            await waits(permit)


def has_arrived(stream: trio.SocketStream, *, within_s: float) -> bool:
    readable, _, _ = select.select([stream.socket.fileno()], [], [], within_s)
    return bool(readable)


async def test_permit_that_breaks_leaves_nothing_over(readinesses: list[Readiness]) -> None:
    def breaks() -> bool:
        raise ZeroDivisionError

    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE) as transport,
    ):
        before = open_files()
        with pytest.raises(ZeroDivisionError):
            await send(transport, request_to(served.url()), breaks)
        await send(transport, request_to(served.url()))
        with pytest.raises(ZeroDivisionError):
            transport.begin(request_to(served.url()), GivenPermit(breaks))
        await wait_all_tasks_blocked(SETTLED_S)
        assert served.connections == 2
        assert open_files() == before
        assert [each.expected for each in readinesses] == [0]


async def test_answer_that_came_in_time_counts_although_it_waits_for_the_alarm() -> None:
    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE, patience_s=3600) as transport,
    ):
        transport.alarm.set(trio.current_time() + 1800)
        await send(transport, request_to(served.url()))
        for _ in range(2):
            waits = begun(transport, request_to(served.url()))
            with trio.move_on_after(SETTLED_S):
                assert (await waits()).status == 200
                continue
            pytest.fail("it was taken for none")


async def test_request_may_be_given_up_after_its_transport_has_closed(
    readinesses: list[Readiness],
) -> None:
    before = open_files()
    async with receiver(never_answers) as served, trio.open_nursery() as nursery:
        async with CallbackTransport(guard=HERE) as transport:
            calls_back = partial(send, transport, request_to(served.url()))
            nursery.start_soon(calls_back)
            await wait_all_tasks_blocked(SETTLED_S)
        nursery.cancel_scope.cancel()
    assert [each.expected for each in readinesses] == [0]
    assert open_files() == before
