from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from uuid import UUID

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.contract.timers import FIRST, LATER, created, due
from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.membership import LeaseTimes, ReplicaStats
from timer_trio.domain.timer import ReplicaId, TimerId
from timer_trio.storage import Beat, Swept
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.metrics import Metrics

START = datetime(2030, 1, 1, tzinfo=UTC)
OTHER = ReplicaId(UUID(int=2**64))


class Database(MemoryStorage):
    """Counts the beats of the replica under test, and fails or delays them when told to."""

    def __init__(self) -> None:
        super().__init__(self.tell)
        self.stepped = timedelta(0)
        self.error: type[Exception] | None = None
        self.sweep_error: type[Exception] | None = None
        self.reply_s = 0.0
        self.beats = 0
        self.sweeps = 0

    def tell(self) -> datetime:
        return START + timedelta(seconds=trio.current_time()) - self.stepped

    async def beat(
        self,
        replica: ReplicaId,
        stats: ReplicaStats = ReplicaStats(),  # noqa: B008 - frozen
    ) -> Beat:
        if self.error is not None:
            raise self.error("no")
        beat = await super().beat(replica, stats)
        await trio.sleep(self.reply_s)
        self.beats += 1
        return beat

    async def sweep(
        self, replica: ReplicaId | None, counter: int | None, now: datetime
    ) -> Swept | None:
        self.sweeps += 1
        if self.sweep_error is not None:
            raise self.sweep_error("no")
        return await super().sweep(replica, counter, now)

    def has(self, replica: ReplicaId) -> bool:
        return replica in self._counters


class Running:
    """A heartbeat that beats, and how often it has said something."""

    def __init__(self) -> None:
        self.database = Database()
        self.clock = Clock(elapsed=trio.current_time)
        self.held = 0
        self.freed = 0
        self.connected = 0
        self.members: Collection[ReplicaId] = ()
        ids = count(1)
        self.heartbeat = Heartbeat(
            storage=self.database,
            clock=self.clock,
            metrics=Metrics(),
            times=LeaseTimes(),
            membership=self,
            new_id=lambda: UUID(int=next(ids)),
        )

    def resume(self) -> None:
        self.held += 1

    def note_connected(self) -> None:
        self.connected += 1

    def note_freed(self) -> None:
        self.freed += 1

    def divide(self, replica: ReplicaId, members: Collection[ReplicaId]) -> None:
        assert replica == self.heartbeat.replica
        self.members = members


def beating(
    script: Callable[[Running], Awaitable[None]], *, alone: bool = False, with_other: bool = False
) -> None:
    """Run a script beside a beating replica, on virtual time; the other one's row never beats."""

    async def main() -> None:
        running = Running()
        if with_other:
            await running.database.join(OTHER, START)
        await running.heartbeat.join(alone=alone)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.heartbeat.run)
            await script(running)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_it_beats_once_a_second() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(10.5)
        assert 11 <= running.database.beats <= 12

    beating(script)


def test_it_counts_who_lives_itself_included() -> None:
    async def script(running: Running) -> None:
        assert running.heartbeat.living == 2
        running.database.error = StorageUnavailableError
        await trio.sleep(30)
        assert running.heartbeat.living == 2
        running.database.error = None
        await trio.sleep(30)
        assert not running.database.has(OTHER)
        assert running.heartbeat.living == 1

    beating(script, with_other=True)


def test_fence_closes_three_seconds_after_the_last_confirmed_beat() -> None:
    async def script(running: Running) -> None:
        heartbeat = running.heartbeat
        await trio.sleep(0.5)
        running.database.error = StorageUnavailableError
        await trio.sleep(2.4)
        assert heartbeat.holds(heartbeat.replica)
        await trio.sleep(0.2)
        assert not heartbeat.holds(heartbeat.replica)

    beating(script)


def test_fence_counts_from_when_a_beat_was_sent() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(0.5)
        running.database.reply_s = 3.5
        await trio.sleep(4.0)
        assert not running.heartbeat.is_held

    beating(script)


def test_lease_is_held_again_once_the_database_is_back() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(0.5)
        running.database.error = StorageUnavailableError
        await trio.sleep(60)
        assert not running.heartbeat.is_connected
        told = running.held
        running.database.error = None
        await trio.sleep(0.5)
        assert running.heartbeat.is_held
        assert running.heartbeat.is_connected
        assert running.held == told + 1

    beating(script)


def test_lease_that_is_held_for_long_enough_is_not_waited_for() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(0.5)
        began_s = trio.current_time()
        await running.heartbeat.wait_held(2.4)
        assert trio.current_time() == began_s
        await running.heartbeat.wait_held(2.6)
        assert trio.current_time() == pytest.approx(1.0)

    beating(script)


def test_all_who_wait_for_the_lease_go_on_with_the_same_beat() -> None:
    went_on_s: list[float] = []

    async def wait(running: Running) -> None:
        await running.heartbeat.wait_held(0.5)
        went_on_s.append(trio.current_time())

    async def script(running: Running) -> None:
        await trio.sleep(0.5)
        running.database.error = StorageUnavailableError
        await trio.sleep(60)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait, running)
            await trio.sleep(60)
            assert not went_on_s
            running.database.error = None
        assert running.heartbeat.is_held
        assert len(set(went_on_s)) == 1

    beating(script)


def test_database_counts_as_away_two_seconds_after_its_last_answer() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(0.5)
        assert running.heartbeat.is_connected
        running.database.reply_s = 100.0
        await trio.sleep(2.0)
        assert not running.heartbeat.is_connected

    beating(script)


def test_silent_replica_is_swept_after_four_seconds() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(3.9)
        assert running.database.has(OTHER)
        assert not running.freed
        await trio.sleep(1.2)
        assert not running.database.has(OTHER)
        assert running.freed

    beating(script, with_other=True)


def test_beating_replica_is_not_swept() -> None:
    async def script(running: Running) -> None:
        for _ in range(20):
            await trio.sleep(0.9)
            await MemoryStorage.beat(running.database, OTHER)
        assert running.database.has(OTHER)

    beating(script, with_other=True)


@pytest.mark.parametrize("error", [StorageUnavailableError, ContentionError])
def test_outage_kills_nobody(error: type[Exception]) -> None:
    async def script(running: Running) -> None:
        await trio.sleep(2.5)
        running.database.error = error
        await trio.sleep(60)
        running.database.error = None
        await trio.sleep(3.5)
        assert running.database.has(OTHER)
        await trio.sleep(2.0)
        assert not running.database.has(OTHER)

    beating(script, with_other=True)


def test_lone_replica_sweeps_all_others_at_once() -> None:
    async def script(running: Running) -> None:
        await trio.lowlevel.checkpoint()
        assert not running.database.has(OTHER)
        assert running.database.has(running.heartbeat.replica)

    beating(script, with_other=True, alone=True)


def test_lone_replica_sweeps_the_dead_though_a_last_beat_of_theirs_arrives_late() -> None:
    async def main() -> None:
        running = Running()
        await running.database.join(OTHER, START)
        running.database.reply_s = 0.1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(running.heartbeat.join, alone=True))
            await trio.sleep(0.05)
            await MemoryStorage.beat(running.database, OTHER)
        assert not running.database.has(OTHER)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_replica_that_leaves_is_noticed() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(1.5)
        freed = running.freed
        await running.database.sweep(OTHER, None, START)
        await trio.sleep(1.0)
        assert running.freed == freed + 1

    beating(script, with_other=True)


def test_swept_replica_comes_back_under_a_new_id() -> None:
    async def script(running: Running) -> None:
        heartbeat = running.heartbeat
        await trio.sleep(0.5)
        old = heartbeat.replica
        await running.database.sweep(old, None, START)
        await trio.sleep(1.0)
        assert heartbeat.replica != old
        assert running.database.has(heartbeat.replica)
        assert heartbeat.holds(heartbeat.replica)
        assert not heartbeat.holds(old)
        assert running.freed == 1

    beating(script)


def test_distrusted_lease_is_held_again_after_the_next_beat() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(0.5)
        running.heartbeat.lose(running.heartbeat.replica)
        assert not running.heartbeat.is_held
        await trio.sleep(1.0)
        assert running.heartbeat.is_held

    beating(script)


def test_news_of_an_id_given_up_harms_nobody() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(0.5)
        running.heartbeat.lose(OTHER)
        assert running.heartbeat.is_held

    beating(script)


@pytest.mark.parametrize("seconds", [3600, 0.8, -0.8, -3600])
def test_step_of_the_databases_clock_is_taken_and_told_at_the_next_beat(seconds: float) -> None:
    async def script(running: Running) -> None:
        await trio.sleep(5.5)
        held = running.held
        running.database.stepped = timedelta(seconds=seconds)
        await trio.sleep(1.0)
        assert abs(running.database.tell() - running.clock.now()) < timedelta(milliseconds=1)
        assert running.held == held + 1
        await trio.sleep(5.0)
        assert running.held == held + 1

    with capture_logs() as logs:
        beating(script)
    (told,) = [line for line in logs if line["event"] == "database_clock_stepped"]
    assert told["seconds"] == pytest.approx(-seconds, abs=0.001)


def test_members_are_all_that_do_not_leave() -> None:
    async def script(running: Running) -> None:
        replica = running.heartbeat.replica
        assert set(running.members) == {replica, OTHER}
        await running.database.leave(OTHER)
        await trio.sleep(1.0)
        assert set(running.members) == {replica}

    beating(script, with_other=True)


def test_what_was_claimed_under_an_id_that_a_failover_has_undone_is_freed() -> None:
    async def script(running: Running) -> None:
        database = running.database
        timer_id = await created(database)
        before = running.heartbeat.replica
        await database.claim(before, FIRST, [timer_id], LATER, LATER)
        await trio.sleep(1.5)
        del database._counters[before], database._replicas[before]
        await trio.sleep(2.1)
        assert running.heartbeat.replica != before
        assert await due(database) == [timer_id]

    beating(script)


def test_membership_hears_when_the_database_answers_again() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(5)
        assert running.connected == 0
        for expected in (1, 2):
            running.database.error = StorageUnavailableError
            await trio.sleep(1.5)  # shorter than the lease lasts
            running.database.error = None
            await trio.sleep(1.5)
            assert running.connected == expected
        assert running.held == 1

    beating(script)


def test_members_are_told_as_soon_as_one_is_swept() -> None:
    async def script(running: Running) -> None:
        await trio.sleep(4.1)
        assert not running.database.has(OTHER)
        assert set(running.members) == {running.heartbeat.replica}

    beating(script, with_other=True)


def test_who_leaves_is_no_member_any_more_and_goes_on_beating() -> None:
    async def script(running: Running) -> None:
        await running.heartbeat.leave()
        assert set(running.members) == {OTHER}
        beats = running.database.beats
        await trio.sleep(2.5)
        assert running.database.beats > beats + 1
        assert running.heartbeat.is_held
        assert set(running.members) == {OTHER}

    beating(script, with_other=True)


def test_who_leaves_and_is_swept_comes_back_leaving() -> None:
    async def script(running: Running) -> None:
        await running.heartbeat.leave()
        await running.database.sweep(running.heartbeat.replica, None, START)
        await trio.sleep(1.5)
        (record,) = await running.database.replicas()
        assert (record.id, record.is_leaving) == (running.heartbeat.replica, True)

    beating(script)


def test_who_sweeps_all_at_the_start_is_the_only_member() -> None:
    async def script(running: Running) -> None:
        await trio.lowlevel.checkpoint()
        assert set(running.members) == {running.heartbeat.replica}

    beating(script, with_other=True, alone=True)


def test_sweep_that_must_wait_is_no_missed_beat() -> None:
    async def script(running: Running) -> None:
        running.database.sweep_error = ContentionError
        await trio.sleep(6.5)
        assert running.heartbeat.is_connected
        assert running.database.has(OTHER)
        running.database.sweep_error = None
        await trio.sleep(1.0)
        assert not running.database.has(OTHER)

    beating(script, with_other=True)


def test_replica_that_ends_takes_its_row_along_and_sends_no_more() -> None:
    async def main() -> None:
        running = Running()
        await running.heartbeat.join(alone=False)
        assert running.heartbeat.is_held
        await running.heartbeat.end()
        assert not running.heartbeat.is_held
        assert not running.database.has(running.heartbeat.replica)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def _held_by_other(database: Database) -> tuple[TimerId, TimerId]:
    """Let the other one hold two timers, the first of them locked by a stranger."""
    locked, free = await created(database), await created(database)
    await database.claim(OTHER, FIRST, [locked, free], LATER, START)
    database.locked = {locked}
    return locked, free


def test_what_is_locked_at_a_sweep_is_freed_once_it_is_not() -> None:
    async def script(running: Running) -> None:
        locked, free = await _held_by_other(running.database)
        await trio.sleep(5.5)
        assert not running.database.has(OTHER)
        assert await due(running.database) == [free]
        freed = running.freed
        running.database.locked = set()
        await trio.sleep(1.1)
        assert sorted(await due(running.database)) == sorted([locked, free])
        assert running.freed == freed + 1
        sweeps = running.database.sweeps
        await trio.sleep(10)
        assert running.database.sweeps == sweeps

    beating(script, with_other=True)


def test_what_another_sweeper_left_behind_is_freed_by_who_remains() -> None:
    async def script(running: Running) -> None:
        locked, _ = await _held_by_other(running.database)
        await trio.sleep(1.5)
        await running.database.sweep(OTHER, None, START)
        await trio.sleep(2.0)
        running.database.locked = set()
        await trio.sleep(1.1)
        assert locked in await due(running.database)

    beating(script, with_other=True)


def test_what_was_left_behind_is_freed_by_who_comes_when_nobody_remains() -> None:
    async def main() -> None:
        running = Running()
        await running.database.join(OTHER, START)
        locked, _ = await _held_by_other(running.database)
        await running.database.sweep(OTHER, None, START)
        running.database.locked = set()
        await running.heartbeat.join(alone=False)
        with trio.move_on_after(0.5):
            await running.heartbeat.run()
        assert locked in await due(running.database)

    trio.run(main, clock=MockClock(autojump_threshold=0))
