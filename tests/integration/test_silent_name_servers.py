"""Names whose name server is silent cost their own timers, and none of the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.contract.timers import FIRST, NOW, new_timer
from tests.receivers import HERE, OK, answers, call_back, receiver
from timer_trio.callback_url import read_url
from timer_trio.domain.outcome import CallbackOutcome, Delivered, Phase, Step, TimedOut
from timer_trio.domain.timer import ClaimedTimer
from timer_trio.transport import CallbackTransport
from timer_trio.transport.name_memory import Host
from timer_trio.transport.resolver import Resolver

SILENT: Final = 400
HEALTHY: Final = 200
TIMEOUT_S: Final = 30.0
LONG_S: Final = 61.0
"""After which no answer and no connection is kept any more."""


class NameServers:
    """Those of `silent` names answer nobody until the end, the others at once."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def look_up(self, host: str) -> tuple[Host, ...]:
        if "silent" in host:
            self._ended.wait(30)
        return (("127.0.0.1", 0),)

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._ended.set()


async def outcome_of(transport: CallbackTransport, url: str) -> CallbackOutcome:
    new = new_timer(callback_url=read_url(url), timeout_s=TIMEOUT_S)
    timer = ClaimedTimer(id=new.id, claim=FIRST, attempt=1, requested_at=NOW, spec=new.spec)
    return await call_back(transport, timer)


@pytest.fixture
def clock() -> MockClock:
    """Time that passes as it does, and faster where nothing else is to be waited for."""
    return MockClock(rate=1.0)


@pytest.mark.parametrize(
    ("silent", "healthy", "known"),
    [
        pytest.param("h{}.silent.test", "h{}.healthy.test", 0, id="one silent domain"),
        pytest.param("h.silent{}.test", "h{}.healthy.test", HEALTHY, id="many silent domains"),
        pytest.param("silent{}", "healthy{}", HEALTHY, id="names of one label"),
    ],
)
async def test_silent_names_delay_no_healthy_one(
    clock: MockClock, silent: str, healthy: str, known: int
) -> None:
    servers = NameServers()
    outcomes: dict[str, CallbackOutcome] = {}
    async with (
        receiver(answers(OK)) as served,
        CallbackTransport(guard=HERE, resolver=Resolver(servers.look_up)) as transport,
        trio.open_nursery() as nursery,
    ):

        async def fire(host: str) -> None:
            outcomes[host] = await outcome_of(transport, served.url(host=host))

        async def fire_all(name: str, count: int) -> None:
            async with trio.open_nursery() as firing:
                for number in range(count):
                    firing.start_soon(fire, name.format(number))

        with servers.running():
            await fire_all(healthy, known)
            outcomes.clear()
            clock.jump(LONG_S)
            nursery.start_soon(fire_all, silent, SILENT)
            await wait_all_tasks_blocked()
            with trio.fail_after(TIMEOUT_S / 2):
                await fire_all(healthy, HEALTHY)
            assert outcomes == {healthy.format(n): Delivered(200) for n in range(HEALTHY)}
            outcomes.clear()
            clock.jump(TIMEOUT_S)
            await wait_all_tasks_blocked()
        looking_up = TimedOut(Phase(Step.LOOK_UP))
        assert outcomes == {silent.format(n): looking_up for n in range(SILENT)}
