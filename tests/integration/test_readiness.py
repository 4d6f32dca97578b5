"""The alarm that rings in the same wait in which answers come in."""

from __future__ import annotations

import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from timer_trio.transport.readiness import EpollReadiness

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the system has no epoll")


@asynccontextmanager
async def running(patience_s: float = 0.0) -> AsyncIterator[EpollReadiness]:
    readiness = EpollReadiness(patience_s)
    async with trio.open_nursery() as nursery:
        await nursery.start(readiness.run)
        yield readiness
        nursery.cancel_scope.cancel()
    readiness.close()


class Bell:
    """Notes when it is rung."""

    def __init__(self) -> None:
        self.rung_s: list[float] = []
        self._rung = trio.Event()

    def ring(self) -> None:
        self.rung_s.append(trio.current_time())
        self._rung.set()

    async def wait_rung(self) -> float:
        await self._rung.wait()
        self._rung = trio.Event()
        return self.rung_s[-1]


async def test_alarm_rings_never_early_and_each_time_it_is_set() -> None:
    async with running() as readiness, trio.open_nursery() as nursery:
        bell = Bell()
        nursery.start_soon(readiness.alarm.run, bell.ring)
        for in_s in (0.02, 0.0, -5.0, 0.0005):
            at_s = trio.current_time() + in_s
            readiness.alarm.set(at_s)
            assert await bell.wait_rung() >= at_s
        nursery.cancel_scope.cancel()


async def test_alarm_may_be_brought_forward() -> None:
    async with running() as readiness, trio.open_nursery() as nursery:
        bell = Bell()
        nursery.start_soon(readiness.alarm.run, bell.ring)
        readiness.alarm.set(trio.current_time() + 3600)
        readiness.alarm.set(trio.current_time() + 0.01)
        with trio.fail_after(10):
            await bell.wait_rung()
        nursery.cancel_scope.cancel()


async def test_answers_that_wait_for_the_alarm_are_read_when_it_rings_or_sooner() -> None:
    here, there = socket.socketpair()
    with here, there:
        async with running(patience_s=60.0) as readiness, trio.open_nursery() as nursery:
            bell, read = Bell(), trio.Event()
            nursery.start_soon(readiness.alarm.run, bell.ring)
            readiness.register(here, lambda _: read.set())
            readiness.alarm.set(trio.current_time() + 0.05)
            there.send(b"answer")
            with trio.fail_after(10):
                await bell.wait_rung()
                await read.wait()
            # With no alarm ahead nothing is waited for.
            read = trio.Event()
            there.send(b"another")
            with trio.fail_after(10):
                await read.wait()
            readiness.unregister(here)
            nursery.cancel_scope.cancel()
