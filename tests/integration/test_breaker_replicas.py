"""A breaker of three replicas over one storage, on a virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from ipaddress import ip_network
from math import inf
from typing import Any, Final, TypeVar

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.replicas import api_client, replica_on
from tests.simulation.forwarding import ForwardingStorage
from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.run.replica import Replica
from timer_trio.storage.memory import MemoryStorage
from timer_trio.testing import START, Callback
from timer_trio.testing.receiver import Receiver

T = TypeVar("T")

URL: Final = "https://example.com/hook"
SETTINGS: Final = Settings(callback_allow=(ip_network("0.0.0.0/0"),))
OPEN_S: Final = 20.0
BREAKER: Final = {"failures": 1, "open_seconds": OPEN_S}
GRACE: Final = {"misfire_grace_seconds": 3600, "timeout_seconds": 300}
REPLICAS: Final = 3
EACH: Final = 6
"""Timers that wait at each of them."""
LEARNS_S: Final = 1.5
"""After a probe has ended, until all others know how."""
SWEPT_S: Final = 6.0
"""After a death, until what was the dead one's is anybody's."""


class Far:
    """A receiver that fails until it is well again, and notes what it has at once."""

    def __init__(self) -> None:
        self.duration_s = 0.1
        self.well_s = inf
        self.now = self.most = 0
        self.begun_s: list[float] = []
        self.by: list[Replica] = []

    def answer_to(self, replica: Callable[[], Replica]) -> Callable[[Callback], Awaitable[int]]:
        async def answer(_: Callback) -> int:
            self.begun_s.append(trio.current_time())
            self.by.append(replica())
            self.now += 1
            self.most = max(self.most, self.now)
            status = 200 if trio.current_time() >= self.well_s else 503
            try:
                await trio.sleep(self.duration_s)
            finally:
                self.now -= 1
            return status

        return answer

    def forget(self) -> None:
        self.begun_s.clear()
        self.by.clear()
        self.most = 0


class Storage(ForwardingStorage):
    """A storage that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage(now))
        self.calls: Counter[str] = Counter()
        self.listen = self._database.listen

    async def _ask(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls[verb] += 1
        return await call()


def now() -> datetime:
    return START + timedelta(seconds=trio.current_time())


class Fleet:
    """Replicas over one storage, each of which owns what it has created."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.storage = Storage()
        self.far = Far()
        self.replicas: list[Replica] = []
        self.clients: list[httpx.AsyncClient] = []
        self._deaths: list[trio.CancelScope] = []

    async def start(self) -> None:
        receiver = Receiver(now, lambda _: None, self.far.answer_to(lambda: replica))
        clock = Clock(elapsed=trio.current_time)
        replica = replica_on(self.storage, receiver, SETTINGS, clock=clock, alone=False)
        self._deaths.append(await self._nursery.start(_run, replica))
        self.replicas.append(replica)
        self.clients.append(api_client(replica))

    async def put_breaker(self) -> None:
        answer = await self.clients[0].put("/projects/default", json={"breaker": BREAKER})
        assert answer.status_code == 200
        await trio.sleep(2)

    async def create(self, each: int = EACH) -> list[str]:
        """Create timers by each of them, due in a second."""
        wanted = {"callback_url": URL, "delay": 1, **GRACE}
        answers = [
            await client.post("/timers", json=wanted)
            for client in self.clients
            for _ in range(each)
        ]
        return [str(answer.json()["data"]["id"]) for answer in answers]

    async def open(self) -> float:
        """Let each fail once, and have more wait; returns when all breakers were open."""
        await self.put_breaker()
        await self.create(1)
        await trio.sleep(2)
        assert len(self.far.begun_s) == len(self.replicas)
        opened_s = max(self.far.begun_s) + self.far.duration_s
        self.far.forget()
        return opened_s

    async def statuses(self, timers: Sequence[str]) -> Counter[str]:
        found = [await self.clients[-1].get(f"/timers/{each}") for each in timers]
        return Counter(str(answer.json()["data"]["status"]) for answer in found)

    async def breaker(self) -> dict[str, Any]:
        answer = await self.clients[-1].get("/destinations")
        (told,) = answer.json()["data"]["destinations"]
        found: dict[str, Any] = told["breaker"]
        return found

    def end(self, replica: Replica, *, by_death: bool) -> None:
        place = self.replicas.index(replica)
        if by_death:
            self._deaths[place].cancel()
        else:
            replica.stop()


async def _run(replica: Replica, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(replica.run)
            task_status.started(scope)


@asynccontextmanager
async def running_fleet() -> AsyncIterator[Fleet]:
    async with trio.open_nursery() as nursery:
        fleet = Fleet(nursery)
        for _ in range(REPLICAS):
            await fleet.start()
        yield fleet
        nursery.cancel_scope.cancel()


async def test_one_probe_goes_at_a_time_over_all_replicas(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running_fleet() as fleet:
        opened_s = await fleet.open()
        fleet.far.duration_s = 3.0
        timers = await fleet.create()
        await trio.sleep_until(opened_s + 4 * (OPEN_S + 3.0 + LEARNS_S))
        assert fleet.far.most == 1
        assert len(fleet.far.begun_s) == 4  # and not as many of each
        waited_s = [
            later - sooner
            for sooner, later in zip(fleet.far.begun_s, fleet.far.begun_s[1:], strict=False)
        ]
        assert all(OPEN_S + 3.0 <= each <= OPEN_S + 3.0 + LEARNS_S for each in waited_s)
        statuses = await fleet.statuses(timers)
        assert statuses == {"pending": len(timers) - 4, "failed": 4}


async def test_one_answer_closes_all(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running_fleet() as fleet:
        opened_s = await fleet.open()
        timers = await fleet.create()
        fleet.far.duration_s, fleet.far.well_s = 5.0, 0.0
        await trio.sleep_until(opened_s + OPEN_S + 4.0)
        assert (fleet.far.most, len(fleet.far.begun_s)) == (1, 1)
        await trio.sleep_until(fleet.far.begun_s[0] + 5.0 + LEARNS_S)
        assert len(fleet.far.begun_s) > REPLICAS
        assert {*fleet.far.by} == {*fleet.replicas}
        await trio.sleep(20)
        assert await fleet.statuses(timers) == {"completed": len(timers)}


@pytest.mark.parametrize("by_death", [False, True])
async def test_replica_that_ends_as_it_probes_leaves_it_to_another(
    *, by_death: bool, autojump_clock: MockClock
) -> None:
    del autojump_clock
    async with running_fleet() as fleet:
        opened_s = await fleet.open()
        await fleet.create()
        fleet.far.duration_s = 100.0
        await trio.sleep_until(opened_s + OPEN_S + LEARNS_S)
        (prober,) = fleet.far.by
        fleet.end(prober, by_death=by_death)
        await trio.sleep_until(opened_s + OPEN_S + SETTINGS.shutdown_grace_s + SWEPT_S + LEARNS_S)
        assert len(fleet.far.by) == 2
        assert fleet.far.by[1] is not prober
        assert fleet.far.most == 1


async def test_replica_that_stops_has_nobody_wait_for_a_probe_that_it_does_not_begin(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    async with running_fleet() as fleet:
        opened_s = await fleet.open()
        await fleet.create()
        fleet.far.duration_s = 3.0
        for replica in fleet.replicas[:-1]:
            await trio.sleep_until(opened_s + OPEN_S - 3.5)
            fleet.end(replica, by_death=False)
        await trio.sleep_until(opened_s + OPEN_S + 2 * LEARNS_S)
        assert len(fleet.far.begun_s) == 1


async def test_breaker_is_told_of_as_it_is(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running_fleet() as fleet:
        opened_s = await fleet.open()
        await fleet.create()
        await trio.sleep(6)
        assert (await fleet.breaker())["state"] == "open"
        fleet.far.duration_s = 10.0
        await trio.sleep_until(opened_s + OPEN_S + 8.0)
        assert (await fleet.breaker())["state"] == "half_open"
        await trio.sleep_until(opened_s + OPEN_S + 18.0)
        told = await fleet.breaker()
        assert told["state"] == "open"
        again_s = (datetime.fromisoformat(told["open_until"]) - START).total_seconds()
        assert again_s == pytest.approx(fleet.far.begun_s[0] + 10.0 + OPEN_S, abs=0.01)
        fleet.far.duration_s, fleet.far.well_s = 0.1, 0.0
        await trio.sleep_until(again_s + 8.0)
        assert (await fleet.breaker())["state"] == "closed"


async def test_where_no_breaker_is_open_nothing_is_asked_for(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running_fleet() as fleet:
        await fleet.put_breaker()
        fleet.far.well_s = 0.0
        timers = await fleet.create()
        await trio.sleep(60)
        assert await fleet.statuses(timers) == {"completed": len(timers)}
        assert not fleet.storage.calls.keys() & {"ask_probes", "end_probes"}


async def test_little_is_asked_while_another_one_probes(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running_fleet() as fleet:
        opened_s = await fleet.open()
        await fleet.create()
        fleet.far.duration_s, fleet.far.well_s = 30.0, 0.0
        await trio.sleep_until(opened_s + OPEN_S + 25.0)
        assert fleet.storage.calls["end_probes"] == 0
        assert 25 <= fleet.storage.calls["ask_probes"] / (REPLICAS - 1) <= 27
        await trio.sleep(60)
        assert fleet.storage.calls["end_probes"] == 1
        assert fleet.storage.calls["ask_probes"] <= 35 * (REPLICAS - 1)
