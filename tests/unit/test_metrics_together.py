"""What several workers show is told by each of them as if they were one process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families

from timer_trio.run.metrics_line import Kind, Message, MetricsLine
from timer_trio.run.metrics_of_all import MetricsOfAll
from timer_trio.run.worker_metrics import WorkerMetrics
from timer_trio.telemetry.exposition import SLICE, OthersSilentError, exposed, read_snapshot
from timer_trio.telemetry.exposition import snapshot as snapshot_of
from timer_trio.telemetry.together import rising, together


class Shown:
    """What one process shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.fired = Counter("timer_trio_fired", "How", ["outcome"], registry=self.registry)
        self.seconds = Histogram("seconds", "Long", buckets=(1, 2), registry=self.registry)
        self.in_flight = Gauge("timer_trio_in_flight", "Many", registry=self.registry)
        self.up = Gauge("timer_trio_database_up", "Well", registry=self.registry)
        self.overdue = Gauge("timer_trio_oldest_overdue_seconds", "Old", registry=self.registry)


class Fleet:
    """Workers in this very process, on lines to one parent."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.parent = MetricsOfAll(2)
        self._scopes: list[trio.CancelScope] = []

    def add(self) -> tuple[Shown, WorkerMetrics]:
        shown, (ours, theirs) = Shown(), socket.socketpair()
        worker = WorkerMetrics(MetricsLine(theirs), shown.registry)
        self._nursery.start_soon(worker.run)
        self.attach(ours)
        return shown, worker

    def attach(self, ours: socket.socket) -> None:
        scope = trio.CancelScope()
        self._scopes.append(scope)
        self._nursery.start_soon(self._serve, scope, ours)

    def end(self, number: int) -> None:
        self._scopes[number].cancel()

    async def _serve(self, scope: trio.CancelScope, ours: socket.socket) -> None:
        line = MetricsLine(ours)
        try:
            with scope:
                await self.parent.serve(line)
        finally:
            line.close()


@asynccontextmanager
async def a_fleet() -> AsyncIterator[Fleet]:
    async with trio.open_nursery() as nursery:
        yield Fleet(nursery)
        nursery.cancel_scope.cancel()


def value(text: bytes, name: str, **labels: str) -> float | None:
    return next((each.value for each in samples(text) if each[:2] == (name, labels)), None)


def samples(text: bytes) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text.decode()):
        yield from family.samples


async def test_any_worker_tells_of_all() -> None:
    async with a_fleet() as fleet:
        (one, first), (two, second) = fleet.add(), fleet.add()
        await trio.testing.wait_all_tasks_blocked()
        one.fired.labels("delivered").inc(3)
        two.fired.labels("delivered").inc(4)
        two.fired.labels("rejected").inc()
        one.seconds.observe(0.5)
        two.seconds.observe(1.5)
        for worker in (first, second):
            text = await worker.text()
            assert value(text, "timer_trio_fired_total", outcome="delivered") == 7
            assert value(text, "timer_trio_fired_total", outcome="rejected") == 1
            assert value(text, "seconds_bucket", le="1.0") == 1
            assert value(text, "seconds_count") == 2
            assert value(text, "seconds_sum") == 2
            assert value(text, "timer_trio_workers_wanted") == 2


async def test_gauges_are_joined_as_what_they_tell() -> None:
    async with a_fleet() as fleet:
        (one, worker), (two, _) = fleet.add(), fleet.add()
        await trio.testing.wait_all_tasks_blocked()
        for shown, up, count in ((one, 1, 5), (two, 0, 6)):
            shown.up.set(up)
            shown.in_flight.set(count)
            shown.overdue.set(count)
        text = await worker.text()
        assert value(text, "timer_trio_database_up") == 0
        assert value(text, "timer_trio_in_flight") == 11
        assert value(text, "timer_trio_oldest_overdue_seconds") == 6


async def test_sum_does_not_fall_when_a_worker_ends_and_another_begins() -> None:
    async with a_fleet() as fleet:
        (one, first), (two, _) = fleet.add(), fleet.add()
        await trio.testing.wait_all_tasks_blocked()
        for shown, count in ((one, 3), (two, 4)):
            shown.fired.labels("delivered").inc(count)
            shown.in_flight.set(count)
        await first.text()
        fleet.end(1)
        fleet.parent.count_ended()
        three, third = fleet.add()
        await trio.testing.wait_all_tasks_blocked()
        three.fired.labels("delivered").inc(10)
        text = await third.text()
        assert value(text, "timer_trio_fired_total", outcome="delivered") == 17
        assert value(text, "timer_trio_in_flight") == 3
        assert value(text, "timer_trio_workers_ended_total") == 1


@pytest.mark.usefixtures("virtual_time")
async def test_worker_that_stands_still_counts_by_what_it_told_last() -> None:
    async with a_fleet() as fleet:
        one, first = fleet.add()
        ours, theirs = socket.socketpair()
        fleet.attach(ours)
        still, stuck = MetricsLine(theirs), Shown()
        await trio.testing.wait_all_tasks_blocked()
        one.fired.labels("delivered").inc(1)
        stuck.fired.labels("delivered").inc(2)
        stuck.in_flight.set(9)
        await still.send(Message(Kind.TOLD, await snapshot_of(stuck.registry)))
        for _ in range(3):
            text = await first.text()
            assert value(text, "timer_trio_fired_total", outcome="delivered") == 3
            assert value(text, "timer_trio_in_flight") == 0
        # It has been asked once, and is not to answer each of the three.
        assert await still.receive() == Message(Kind.ASK)
        with trio.move_on_after(1) as waited:
            await still.receive()
        assert waited.cancelled_caught
        still.close()


@pytest.mark.usefixtures("virtual_time")
async def test_worker_that_could_not_be_asked_is_asked_once_it_reads_again() -> None:
    async with a_fleet() as fleet:
        _, first = fleet.add()
        ours, theirs = socket.socketpair()
        unread = fill(ours)
        fleet.attach(ours)
        still, stuck = MetricsLine(theirs), Shown()
        await trio.testing.wait_all_tasks_blocked()
        assert value(await first.text(), "timer_trio_fired_total", outcome="delivered") is None
        for _ in range(unread):
            assert await still.receive() == Message(Kind.TEXT)
        stuck.fired.labels("delivered").inc(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_once, still, stuck)
            text = await first.text()
        assert value(text, "timer_trio_fired_total", outcome="delivered") == 2
        still.close()


def fill(sock: socket.socket) -> int:
    """Send messages until no more of them goes; tells how many did."""
    sock.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sock.sendall(bytes([Kind.TEXT, 0, 0, 0, 0]))
            sent += 1
    return sent


async def answer_once(line: MetricsLine, shown: Shown) -> None:
    assert await line.receive() == Message(Kind.ASK)
    await line.send(Message(Kind.TOLD, await snapshot_of(shown.registry)))


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("has_ended", [False, True])
async def test_worker_whose_parent_is_silent_tells_nothing_of_its_own(*, has_ended: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        worker = WorkerMetrics(MetricsLine(theirs), Shown().registry)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await trio.testing.wait_all_tasks_blocked()
            if has_ended:
                ours.close()
            for _ in range(2):
                with pytest.raises(OthersSilentError):
                    await worker.text()
            nursery.cancel_scope.cancel()


async def test_families_of_many_samples_are_spelled_and_sent_whole() -> None:
    shown = Shown()
    for number in range(3 * SLICE + 1):
        shown.fired.labels(f'é"\n{number}').inc(number)
    text = await exposed(shown.registry.collect())
    assert text.count(b"# TYPE timer_trio_fired_total counter") == 1
    assert [*samples(text)] == [*samples(await exposed(together([[*shown.registry.collect()]])))]
    sent = read_snapshot(await snapshot_of(shown.registry))
    assert await exposed(sent) == text


def test_what_has_ended_leaves_its_counts() -> None:
    kept = rising(Shown().registry.collect())
    assert {family.type for family in kept} == {"counter", "histogram"}
