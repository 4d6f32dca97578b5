"""Requests that go out at once on a kept connection, before anybody waits for their answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import pytest
import trio
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
    answers_and_closes,
    answers_and_half_closes,
    answers_and_resets,
    answers_unread,
    closes_at_once,
    never_answers,
    open_files,
    read_request,
    receiver,
    request_to,
    resets_after_head,
    resets_at_once,
    send,
)
from timer_trio.transport import Begun, CallbackTransport, Request, TransportError, WithheldError
from timer_trio.transport import client as client_module
from timer_trio.transport.errors import ReceiveError
from timer_trio.transport.pool import Pool
from timer_trio.transport.readiness import EpollReadiness, Readiness, TaskReadiness

SETTLED_S: Final = 0.02
"""So long nothing happens any more on the loopback."""


@pytest.fixture(params=["epoll", "a task each"], autouse=True)
def readinesses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Readiness]:
    """Have transports wait in either way; names what they wait with."""
    made: list[Readiness] = []

    def make(patience_s: float) -> Readiness:
        made.append(EpollReadiness(patience_s) if request.param == "epoll" else TaskReadiness())
        return made[-1]

    monkeypatch.setattr(client_module, "system_readiness", make)
    return made


def begun(transport: CallbackTransport, request: Request) -> Begun:
    waits = transport.begin(request, GivenPermit())
    assert waits is not None
    return waits


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


async def says_more_once_it_is_idle(stream: Stream) -> None:
    await read_request(stream)
    await stream.send_all(OK)
    await trio.sleep(SETTLED_S / 4)
    await stream.send_all(OK)
    await read_request(stream)


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
    async with receiver(answers_once_then_never) as served:
        async with CallbackTransport(guard=HERE) as transport:
            await send(transport, request_to(served.url()))
            waits = begun(transport, request_to(served.url()))
            with trio.move_on_after(SETTLED_S) as scope:
                await waits()
            assert scope.cancelled_caught
        assert [each.expected for each in readinesses] == [0]
    assert open_files() == before


async def answers_once_then_never(stream: Stream) -> None:
    await read_request(stream)
    await stream.send_all(OK)
    await never_answers(stream)


STAGES: Final[list[Callable[[], Answering]]] = [
    lambda: answers(OK),
    lambda: resets_at_once,
    lambda: closes_at_once,
    lambda: resets_after_head,
    lambda: answers_unread(OK),
    answers_and_resets,
    lambda: answers_and_resets(b"HTTP/1.1 200 OK\r\nContent-Le"),
    lambda: answers_and_resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
    lambda: answers_and_resets(OK),
    lambda: answers_and_closes(OK),
    lambda: answers_and_half_closes(OK),
    lambda: CutsSecond(1_000_000),
    lambda: says_more_once_it_is_idle,
]
CALLBACKS: Final = 2_600
AT_ONCE: Final = 50


async def test_resets_at_every_stage_leave_no_descriptor(readinesses: list[Readiness]) -> None:
    """Many callbacks to many receivers, each of which breaks off at a stage of its own."""
    before = open_files()
    chance = random.Random(4)
    outcomes: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        urls = [
            (await stack.enter_async_context(receiver(stage()))).url()
            for stage in STAGES
            for _ in range(3)
        ]
        transport = await stack.enter_async_context(CallbackTransport(guard=HERE))
        limit = trio.CapacityLimiter(AT_ONCE)

        async def call_back(request: Request) -> None:
            async with limit:
                waits = transport.begin(request, GivenPermit())
                with trio.fail_after(30):
                    try:
                        await (waits() if waits else transport.send(request, GivenPermit()))
                        ended = "answered"
                    except TransportError as error:
                        ended = type(error).__name__
                outcomes[ended] = outcomes.get(ended, 0) + 1

        async with trio.open_nursery() as nursery:
            for _ in range(CALLBACKS):
                sent = request_to(chance.choice(urls), is_once=chance.random() < 0.5)
                nursery.start_soon(call_back, sent)
    assert sum(outcomes.values()) == CALLBACKS
    assert outcomes["answered"] > CALLBACKS // 4
    assert [each.expected for each in readinesses] == [0]
    assert open_files() == before
