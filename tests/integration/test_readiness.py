"""The alarm that rings in the same wait in which answers come in."""

from __future__ import annotations

import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from timer_trio.transport import readiness as readiness_module
from timer_trio.transport.readiness import FEW, EpollReadiness, TaskReadiness

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


def block(for_s: float) -> None:
    """Let nothing else run for so long."""
    select.select([], [], [], for_s)


async def test_one_that_is_set_later_rings_no_later() -> None:
    async with running() as readiness, trio.open_nursery() as nursery:
        bell = Bell()
        nursery.start_soon(readiness.alarm.run, bell.ring)
        readiness.alarm.set(trio.current_time() + 0.01)
        readiness.alarm.set(trio.current_time() + 3600)
        with trio.fail_after(10):
            await bell.wait_rung()
        nursery.cancel_scope.cancel()


async def test_alarm_rings_for_all_who_listen() -> None:
    async with running() as readiness, trio.open_nursery() as nursery:
        bells = [Bell(), Bell()]
        for bell in bells:
            nursery.start_soon(readiness.alarm.run, bell.ring)
        await wait_all_tasks_blocked()
        readiness.alarm.set(trio.current_time())
        with trio.fail_after(10):
            for bell in bells:
                await bell.wait_rung()
        late = Bell()
        nursery.start_soon(readiness.alarm.run, late.ring)
        with trio.fail_after(10):
            await late.wait_rung()
        nursery.cancel_scope.cancel()


async def test_alarm_that_rang_before_anybody_listened_rings_again() -> None:
    async with running() as readiness, trio.open_nursery() as nursery:
        bell = Bell()
        readiness.alarm.set(trio.current_time())
        await wait_all_tasks_blocked(0.02)
        nursery.start_soon(readiness.alarm.run, bell.ring)
        with trio.fail_after(10):
            await bell.wait_rung()
        await wait_all_tasks_blocked(0.02)
        assert len(bell.rung_s) == 1
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def waiting_for_the_alarm(
    in_s: float, expected: int = 0
) -> AsyncIterator[tuple[EpollReadiness, Bell, Letters]]:
    """Have the readiness wait for its alarm in so many seconds, and for letters."""
    here, there = socket.socketpair()
    with here, there:
        async with running(patience_s=60.0) as readiness, trio.open_nursery() as nursery:
            bell, letters = Bell(), Letters(there)
            readiness.expected = expected
            nursery.start_soon(readiness.alarm.run, bell.ring)
            readiness.register(here, letters.note)
            readiness.alarm.set(trio.current_time() + in_s)
            # What is waited for is chosen anew only when something has come.
            letters.send()
            await letters.wait_read()
            await wait_all_tasks_blocked()
            yield readiness, bell, letters
            readiness.unregister(here)
            nursery.cancel_scope.cancel()


class Letters:
    """What is sent to one connection, and whether that has been read."""

    def __init__(self, sending: socket.socket) -> None:
        self._sending = sending
        self._read = trio.Event()

    def send(self) -> None:
        self._sending.send(b"x")

    def note(self, _: bool) -> None:  # noqa: FBT001 - as it is told
        self._read.set()

    @property
    def are_read(self) -> bool:
        return self._read.is_set()

    async def wait_read(self) -> None:
        with trio.fail_after(10):
            await self._read.wait()
        self._read = trio.Event()


async def test_few_answers_wait_for_the_alarm() -> None:
    async with waiting_for_the_alarm(0.1, FEW) as (_, bell, letters):
        letters.send()
        await wait_all_tasks_blocked(0.02)
        assert letters.are_read is bool(bell.rung_s)
        await letters.wait_read()
        assert len(bell.rung_s) == 1


async def test_many_answers_wait_for_nothing() -> None:
    async with waiting_for_the_alarm(30, FEW + 1) as (_, bell, letters):
        letters.send()
        await letters.wait_read()
        assert bell.rung_s == []


async def test_whoever_looks_meanwhile_takes_the_alarm_from_nobody() -> None:
    async with waiting_for_the_alarm(0.02) as (readiness, bell, letters):
        block(0.05)
        for _ in range(3):
            readiness.look()
        with trio.fail_after(10):
            await bell.wait_rung()
        letters.send()  # and no alarm is set any more
        await letters.wait_read()
        assert len(bell.rung_s) == 1


async def test_whoever_looks_calls_those_who_are_ready_at_once() -> None:
    async with waiting_for_the_alarm(30) as (readiness, bell, letters):
        letters.send()
        readiness.look()
        assert letters.are_read
        assert bell.rung_s == []


@dataclass
class Notes:
    """Writes its number down when it is called."""

    number: int
    called: list[int]

    def __call__(self, _: bool) -> None:  # noqa: FBT001 - as it is told
        self.called.append(self.number)


async def test_all_who_are_ready_are_called_before_the_alarm_rings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness_module, "BATCH", 2)
    pairs = [socket.socketpair() for _ in range(5)]
    called: list[int] = []
    before_ring: list[int] = []
    async with running() as readiness, trio.open_nursery() as nursery:
        nursery.start_soon(readiness.alarm.run, lambda: before_ring.extend(called))
        await wait_all_tasks_blocked()
        readiness.alarm.set(trio.current_time())
        block(0.01)
        for number, (here, there) in enumerate(pairs):
            readiness.register(here, Notes(number, called))
            there.send(b"x")
        await wait_all_tasks_blocked(0.02)
        assert sorted(before_ring) == list(range(5))
        nursery.cancel_scope.cancel()
    for pair in pairs:
        for each in pair:
            each.close()


async def test_who_is_not_registered_any_more_is_not_called() -> None:
    here, there = socket.socketpair()
    called: list[int] = []
    with here, there:
        async with running() as readiness:
            readiness.register(here, Notes(1, called))
            readiness.unregister(here)
            there.send(b"x")
            await wait_all_tasks_blocked(0.02)
            readiness.look()
    assert called == []


async def test_closed_readiness_may_be_looked_at() -> None:
    async with running() as readiness:
        pass
    readiness.look()


async def test_connection_that_closes_before_its_task_has_begun_ends_it() -> None:
    here, there = socket.socketpair()
    readiness = TaskReadiness()
    async with trio.open_nursery() as nursery:
        await nursery.start(readiness.run)
        with here, there:
            readiness.register(here, lambda _: pytest.fail("it is closed"))
            readiness.unregister(here)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
