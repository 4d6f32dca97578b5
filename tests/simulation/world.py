"""A world: its databases, processes that come, die and freeze, receivers, and its history.

Everything follows from one seed: the faults, the consumers, and the order in which trio runs its
tasks.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from json import loads
from random import Random
from typing import Any, Final, TypeVar
from uuid import UUID

import trio
import trio.testing

from tests.simulation.far_end import START, FarEnd
from tests.simulation.faults import (
    GIVEN_BACK_RECOVERY_S,
    HEARTBEAT_VERBS,
    ONE_CALL_RECOVERY_S,
    OUTAGE_RECOVERY_S,
    UNLOCKED_RECOVERY_S,
    Away,
    Fault,
    Faults,
    FaultyStorage,
    Thread,
)
from tests.simulation.history import (
    Change,
    DonePage,
    Failover,
    History,
    Life,
    Loss,
    Send,
    TimerLog,
    Trouble,
    Try,
    Unheard,
)
from tests.simulation.standby import copied, restore
from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.domain.attempt import all_attempts
from timer_trio.domain.bulk import BulkPage, BulkReply
from timer_trio.domain.cells import ONE_CELL, CellMap, CellNumber
from timer_trio.domain.membership import Identity, LeaseTimes
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.shards import owners
from timer_trio.domain.signing import SigningSecret
from timer_trio.domain.timer import (
    ENDED,
    SHARDS,
    DueTimer,
    ReplicaId,
    Status,
    Timer,
    TimerId,
    shard_of,
)
from timer_trio.run.replica import Replica
from timer_trio.run.stages import Chance, Database
from timer_trio.run.supervisor import OutcomesLostError
from timer_trio.storage import Hint, Swept
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.memory.database import Row

T = TypeVar("T")
W = TypeVar("W", bound="World")

TAKEOVER_S: Final = 6.0
"""What a dead process held or should have fired fires elsewhere within this time."""
ANSWERED_WITHIN_S: Final = 0.05
FORESIGHT_S: Final = 60.0
SETTLED_WITHIN_S: Final = 240.0
"""From the last trouble to the last outcome: the longest timeout, four times for who is tried so
often, and an idle loader's pass."""


class ConnectionLostError(Exception):
    """The process died with a consumer's request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What a world is made of; tests of the checkers put broken parts here.

    `cells`: each has a database of its own.
    """

    settings: Settings = field(default_factory=Settings)
    lease: LeaseTimes = field(default_factory=LeaseTimes)
    storage: type[MemoryStorage] = MemoryStorage
    cells: CellMap = ONE_CELL
    freezes: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """For how many seconds a process freezes at which of its points, by name and number."""


class Process:
    """A process that runs a replica, and the ways in which it can end."""

    def __init__(self, world: World, *, alone: bool) -> None:
        self.name = f"process {len(world.processes)}"
        self._world = world
        self._thread = Thread(self._pass_point)
        self.points: list[str] = []
        """What it has passed on its way to the database and to receivers, and back."""
        self._life = trio.CancelScope()
        self._requests: dict[trio.CancelScope, None] = {}
        self.is_closed = False
        self.is_leaving = False
        self.is_frozen = False
        self._left_s = float("inf")
        self.ended = trio.Event()
        self.storages = [
            FaultyStorage(
                database,
                process=self.name,
                cell=cell,
                thread=self._thread,
                faults=world.faults,
                random=world.random,
                statements=world.nursery,
                on_fault=partial(self._note_fault, cell),
                on_unheard=partial(self._note_unheard, cell),
            )
            for cell, database in world.cells
        ]
        transport = FarEnd(
            process=self.name,
            thread=self._thread,
            random=world.random,
            on_try=world.tried,
            on_send=world.sent,
            secrets=world.secrets_of,
        )
        self.replica = Replica(
            world.build.settings,
            [
                Database(
                    storage=storage,
                    clock=Clock(elapsed=trio.current_time),
                    # Whoever was there before it: it may join late, and find others who are alive.
                    alone=alone and bool(database._counters),
                    cell=cell,
                )
                for storage, database, cell in zip(
                    self.storages, world.databases, world.build.cells.cells, strict=True
                )
            ],
            transport=transport,
            lease=world.build.lease,
            chance=Chance(world.random.getrandbits, self._new_id),
        )

    @property
    def storage(self) -> FaultyStorage:
        """The way to its database, where there is one; else to the first of them."""
        return self.storages[0]

    @property
    def is_alive(self) -> bool:
        """Whether it takes requests."""
        return not self._thread.is_dead and not self.is_closed

    @property
    def is_fit(self) -> bool:
        """Whether nothing is known that could keep it from its work within the next minute."""
        world, now_s = self._world, trio.current_time()
        is_cut_off = any(
            away.began_s < now_s + FORESIGHT_S and away.ended_s > now_s - FORESIGHT_S
            for away in world.faults.outages
            if away.process in {None, self.name} and away.cell is None
        )
        return self.is_alive and not (self.is_leaving or self.is_frozen or is_cut_off)

    @property
    def held(self) -> dict[str, float]:
        """What the replica's gauges say of slots in use and outcomes not written."""
        sample = self.replica._metrics.registry.get_sample_value
        names = ("timer_trio_in_flight", "timer_trio_unsettled")
        return {name: sample(name) or 0.0 for name in names}

    async def run(self) -> None:
        with self._life:
            try:
                await self.replica.run(self._serve)
            except OutcomesLostError:
                # What `stop` notes as lost, where one cell of several may be away meanwhile.
                outages = self._world.faults.outages
                if all(away.cell is None or away.ended_s <= self._left_s for away in outages):
                    raise
        self.ended.set()

    async def request(self, call: Callable[[Replica], Awaitable[T]]) -> T:
        """Serve a consumer.

        Raises:
            ConnectionLostError: the process died.
        """
        with trio.CancelScope() as scope:
            self._requests[scope] = None
            try:
                return await call(self.replica)
            finally:
                del self._requests[scope]
        raise ConnectionLostError

    @property
    def shards(self) -> frozenset[int]:
        """Which shards it counts as its own."""
        return frozenset().union(*(stages.shards.own for stages in self.replica._stages))

    @property
    def shards_in_hand(self) -> frozenset[int]:
        """Which shards it owns, and those of the timers that it claims just now or has claimed."""
        agendas = [stages.agenda for stages in self.replica._stages]
        claiming = {key % SHARDS for agenda in agendas for key in agenda.cache._taken}
        in_hand = {key % SHARDS for agenda in agendas for key in agenda._in_hand}
        return self.shards | claiming | in_hand

    def kill(self) -> None:
        """End it as `kill -9` does: what is on its way to the database still arrives there."""
        self._thread.die()
        self._life.cancel()
        for scope in self._requests:
            scope.cancel()
        self._world.lose(self.name)
        self._world.end_life(self.name)

    def die(self) -> None:
        """End it as `kill -9` does, where others are there to take over."""
        self._world.trouble_of(self, "a death", float("inf"), recovery_s=0.0)
        self.kill()

    async def stop(self) -> None:
        """End it as SIGTERM does; callbacks that outlast the grace are lost."""
        self.is_leaving = True
        self._left_s = trio.current_time()
        shards = self.shards_in_hand
        self._world.end_life(self.name)
        self.replica.stop()
        await self.ended.wait()
        self._world.lose(self.name)
        self._world.note_left_rows(self, self._left_s, shards)

    async def freeze(self, seconds: float) -> None:
        """Let nothing pass to or from it for a while, as SIGSTOP does."""
        ended_s = trio.current_time() + seconds
        self._world.trouble_of(self, "a freeze", ended_s, recovery_s=OUTAGE_RECOVERY_S, blinds=True)
        self.is_frozen = True
        self._thread.freeze()
        await trio.sleep(seconds)
        self._thread.thaw()
        self.is_frozen = False

    def _note_fault(self, cell: CellNumber, verb: str, fault: Fault) -> None:
        cause = f"{verb}: {fault}"
        self._world.trouble_of(
            self,
            cause,
            trio.current_time(),
            recovery_s=GIVEN_BACK_RECOVERY_S if self.is_leaving else ONE_CALL_RECOVERY_S,
            blinds=verb in HEARTBEAT_VERBS,
            cell=cell,
        )

    def _note_unheard(self, cell: CellNumber, hint: Hint) -> None:
        own = self.replica._stages[cell].shards.own
        timers = frozenset(timer.id for timer in hint.timers if shard_of(timer.id) in own)
        shards = own & hint.shards
        self._world.history.unheard.append(
            Unheard(at_s=trio.current_time(), timers=timers, shards=shards)
        )

    def _pass_point(self, name: str) -> None:
        here = (self.name, len(self.points))
        self.points.append(name)
        if here in self._world.build.freezes:
            self._thread.freeze()
            self._world.nursery.start_soon(self.freeze, self._world.build.freezes[here])

    async def _serve(self, closing: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        """Answer the requests under way before the replica stops, as a server does."""
        task_status.started()
        await closing.wait()
        self.is_closed = True
        while self._requests:  # noqa: ASYNC110 - virtual time costs nothing
            await trio.sleep(ANSWERED_WITHIN_S)

    def _new_id(self) -> UUID:
        replica = UUID(int=self._world.random.getrandbits(128))
        self._world.names[ReplicaId(replica)] = self.name
        return replica


class World:
    """Where a history takes place. `random` is the only source of chance."""

    def __init__(self, random: Random, faults: Faults, build: Build, nursery: trio.Nursery) -> None:
        self.random = random
        self.faults = faults
        self.build = build
        self.nursery = nursery
        self.history = History(interval_s=build.settings.loader_interval_s)
        self.processes: list[Process] = []
        self.names: dict[ReplicaId, str] = {}
        self._came = trio.Event()
        self.databases = [_watched(build.storage, self, CellNumber(n)) for n in build.cells.numbers]
        for away in faults.outages:
            nursery.start_soon(self._note_outage, away)

    def now(self) -> datetime:
        return instant(trio.current_time())

    @property
    def database(self) -> MemoryStorage:
        """The one that there is; where there are several, the first."""
        return self.databases[0]

    @property
    def cells(self) -> Iterator[tuple[CellNumber, MemoryStorage]]:
        """The databases of all cells."""
        return ((CellNumber(number), each) for number, each in enumerate(self.databases))

    def database_of(self, timer_id: TimerId) -> MemoryStorage:
        """Return where a timer is, or would be."""
        wanted = self.databases[self.build.cells.of_timer(timer_id)]
        return next((each for each in self.databases if timer_id in each._rows), wanted)

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes if process.is_alive]

    async def start_process(self, *, alone: bool = True) -> Process:
        """Start one; it is there once this returns, and has loaded a little later."""
        process = Process(self, alone=alone)
        self.processes.append(process)
        self.nursery.start_soon(process.run)
        self._came.set()
        self._came = trio.Event()
        await trio.lowlevel.checkpoint()
        return process

    async def any_process(self) -> Process:
        """Choose one that lives, or wait for one."""
        while not self.alive:
            await self._came.wait()
        return self.random.choice(self.alive)

    def tried(self, number: int | None, one: Try) -> None:
        if number is None:
            return
        timer_id = TimerId(UUID(one.timer_id))
        row = self.database_of(timer_id)._rows.get(timer_id)
        holder = None if row is None else row.claimed_by
        one.is_held = holder is not None and self.names[holder] == one.process
        self.history.timer_logs[number].tries.append(one)

    def sent(self, number: int | None, send: Send) -> None:
        if number is None:
            self.history.sends.append(send)
            return
        self.history.timer_logs[number].sends.append(send)

    def secrets_of(self, timer_id: TimerId) -> Sequence[SigningSecret]:
        """List the secrets of a timer's project."""
        database = self.database_of(timer_id)
        row = database._rows.get(timer_id)
        return database._signing.get(row.project if row else DEFAULT_PROJECT, ())

    def lose(
        self,
        process: str,
        held: frozenset[TimerId] = frozenset(),
        cell: CellNumber | None = None,
    ) -> None:
        self.history.losses.append(Loss(process, trio.current_time(), held, cell))

    def end_life(self, process: str) -> None:
        for life in self.history.lives.values():
            if life.process == process:
                life.ended_s = min(life.ended_s, trio.current_time())

    def trouble_of(
        self,
        process: Process,
        cause: str,
        ended_s: float,
        *,
        recovery_s: float,
        blinds: bool = False,
        cell: CellNumber | None = None,
    ) -> None:
        """Note a trouble of one process that begins now."""
        self.history.troubles.append(
            Trouble(
                cause=f"{process.name}: {cause}",
                began_s=trio.current_time(),
                ended_s=ended_s,
                recovery_s=recovery_s,
                process=process.name,
                shards=set(process.shards_in_hand),
                blinds=blinds,
                cell=cell,
            )
        )
        self.note_heirs()

    def note_left_rows(self, process: Process, began_s: float, shards: frozenset[int]) -> None:
        """Note where a process has left its row behind, as one that dies does."""
        for cell, database in self.cells:
            if any(self.names[row] == process.name for row in database._counters):
                self.history.troubles.append(
                    Trouble(
                        cause=f"{process.name}: it left while the database was away",
                        began_s=began_s,
                        ended_s=float("inf"),
                        recovery_s=0.0,
                        process=process.name,
                        shards={*shards},
                        cell=cell,
                    )
                )
        self.note_heirs()

    def note_heirs(self) -> None:
        """Note what falls to those who are in trouble: they do not know of it, all others do."""
        now_s, troubles = trio.current_time(), self.history.troubles
        lasting = [each for each in troubles if each.process and each.ended_s > now_s]
        for (number, database), cell in zip(self.cells, self.build.cells.cells, strict=True):
            records = database._replicas.values()
            members = [record.id for record in records if not record.is_leaving]
            divided = owners(members) if lasting and members else []
            for trouble in lasting:
                if trouble.cell in {None, number}:
                    trouble.shards.update(
                        shard
                        for shard in cell.shards
                        if divided and self.names[divided[shard]] == trouble.process
                    )

    def trouble(self, cause: str, began_s: float, recovery_s: float) -> None:
        """Note a trouble of everybody that ends now."""
        ended_s = trio.current_time()
        self.history.troubles.append(
            Trouble(cause=cause, began_s=began_s, ended_s=ended_s, recovery_s=recovery_s)
        )

    async def lock(self, timer_ids: Collection[TimerId], seconds: float) -> None:
        """Lock rows as a stranger does who leaves his session open, and changes nothing."""
        began_s = trio.current_time()
        for database in self.databases:
            database.locked |= set(timer_ids)
        await trio.sleep(seconds)
        for database in self.databases:
            database.locked -= set(timer_ids)
        lock = Trouble(
            cause="a lock",
            began_s=began_s,
            ended_s=trio.current_time(),
            recovery_s=UNLOCKED_RECOVERY_S,
        )
        for timer_id in timer_ids:
            row = self.database_of(timer_id)._rows.get(timer_id)
            if row and (timer_log := self._log_of(row.timer)):
                timer_log.locks.append(lock)

    async def fail_over(self, at_s: float, lost_s: float) -> None:
        """Have a standby take over that has missed what was written in so many seconds before."""
        await trio.sleep_until(at_s - lost_s)
        standby, missed = copied(self.database), len(self.history.changes)
        await trio.sleep_until(at_s)
        before = {*self.database._counters}
        changed = [change.row for change in self.history.changes[missed:]]
        logs = [self._log_of(row.timer) for row in changed if row is not None]
        restore(self.database, standby)
        for replica in sorted(before - self.database._counters.keys()):
            rows = self.database._rows.values()
            held = frozenset(row.timer.id for row in rows if row.claimed_by == replica)
            self.lose(self.names[replica], held)
        touched = frozenset(log.number for log in logs if log is not None)
        self.history.failovers.append(Failover(trio.current_time(), touched))
        self.note_heirs()

    async def settled(self) -> None:
        """Wait until every timer has ended, or until that takes too long; close the history."""
        self.faults.healed = True
        patience_s = trio.current_time() + SETTLED_WITHIN_S
        while trio.current_time() < patience_s and not self._is_settled():  # noqa: ASYNC110 - as above
            await trio.sleep(1)
        await self._read_rows()
        for process in self.alive:
            held = {name: count for name, count in process.held.items() if count}
            self.history.leaks += [f"{process.name} has {held}"] if held else []
            await process.stop()
            counters = [row for database in self.databases for row in database._counters]
            left = [row for row in counters if self.names[row] == process.name]
            self.history.leaks += [f"{process.name} has left a row behind"] if left else []

    def _is_settled(self) -> bool:
        rows = [row for database in self.databases for row in database._rows.values()]
        return all(row.timer.status in ENDED for row in rows) and not any(
            any(process.held.values()) for process in self.alive
        )

    async def _read_rows(self) -> None:
        for database in self.databases:
            for row in database._rows.values():
                timer_log = self._log_of(row.timer)
                if timer_log is None:
                    continue
                timer_log.row = row.timer
                records = await database.attempts(row.timer.id, row.project)
                timer_log.attempts = all_attempts(row.timer, records)

    def _log_of(self, timer: Timer) -> TimerLog | None:
        number = loads(timer.spec.callback.payload or "").get("number")
        return None if number is None else self.history.timer_logs[number]

    async def _note_outage(self, away: Away) -> None:
        await trio.sleep_until(away.began_s)
        for process in self.alive:
            if process.name == away.process:
                self.trouble_of(
                    process,
                    "an outage",
                    away.ended_s,
                    recovery_s=OUTAGE_RECOVERY_S,
                    blinds=True,
                    cell=away.cell,
                )
        if away.process is None:
            self.history.troubles.append(
                Trouble(
                    cause="an outage of the database",
                    began_s=away.began_s,
                    ended_s=away.ended_s,
                    recovery_s=OUTAGE_RECOVERY_S,
                    blinds=True,
                    cell=away.cell,
                )
            )


def instant(world_s: float) -> datetime:
    """Tell the time that the database's clock shows at a second of the world."""
    return START + timedelta(seconds=world_s)


def second(moment: datetime) -> float:
    return (moment - START).total_seconds()


@asynccontextmanager
async def new_world(
    kind: type[W], random: Random, faults: Faults, build: Build
) -> AsyncIterator[W]:
    async with trio.open_nursery() as nursery:
        world = kind(random, faults, build, nursery)
        try:
            yield world
        finally:
            # What waits for the database is shielded: it would outlast a script that fails.
            for process in world.processes:
                process.kill()
            nursery.cancel_scope.cancel()


def run_world(
    seed: int,
    faults: Faults,
    script: Callable[[World], Awaitable[None]],
    build: Build | None = None,
) -> History:
    """Run a script in a new world, on virtual time, to its end; the same seed gives the same."""

    async def run(world: World) -> History:
        await script(world)
        return world.history

    return run_in(World, seed, faults, run, build)


def run_in(
    kind: type[W],
    seed: int,
    faults: Faults,
    script: Callable[[W], Awaitable[T]],
    build: Build | None = None,
) -> T:
    """Run a script in a new world of this kind, as `run_world` does; answers what it answers."""

    async def main() -> T:
        async with new_world(kind, Random(seed), faults, build or Build()) as world:
            return await script(world)
        raise AssertionError("the block above returns")

    with _scheduled_by(seed):
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@contextmanager
def _scheduled_by(seed: int) -> Iterator[None]:
    """Let trio shuffle its tasks by the seed; its own plugin for Hypothesis sets the same two."""
    scheduler: Any = trio._core._run
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    state = scheduler._r.getstate()
    scheduler._r.seed(seed)
    try:
        yield
    finally:
        scheduler._r.setstate(state)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before


def _watched(storage: type[MemoryStorage], world: World, cell: CellNumber) -> MemoryStorage:
    """Make the database of a cell; note when it declares a living process dead, and who owns what.

    What is written of each row is noted as well, and what each page of a bulk action does.
    """

    class Watched(storage):  # type: ignore[valid-type,misc]
        _touched: Mapping[TimerId, tuple[Status, Status | None]]

        def _put(self, row: Row) -> None:
            super()._put(row)
            timer_id = row.timer.id
            change = Change(trio.current_time(), timer_id, self._rows[timer_id])
            world.history.changes.append(change)

        async def bulk(self, page: BulkPage, now: datetime) -> BulkReply:
            self._touched = {}
            reply: BulkReply = await super().bulk(page, now)
            done = DonePage(trio.current_time(), page.bulk, reply.done, self._touched)
            world.history.pages.append(done)
            return reply

        def _do_all(self, rows: Sequence[Row], page: BulkPage, at: datetime) -> Sequence[DueTimer]:
            before = {row.timer.id: self._rows[row.timer.id].timer.status for row in rows}
            due: Sequence[DueTimer] = super()._do_all(rows, page, at)
            gone = before.keys() - self._rows.keys()
            world.history.changes += [
                Change(trio.current_time(), timer_id, None) for timer_id in sorted(gone)
            ]
            self._touched = {
                timer_id: (was, None if timer_id in gone else self._rows[timer_id].timer.status)
                for timer_id, was in before.items()
            }
            return due

        async def join(self, replica: ReplicaId, now: datetime, identity: Identity) -> None:
            await super().join(replica, now, identity)
            name = world.names[replica]
            life = Life(name, trio.current_time(), cell=cell)
            world.history.lives.setdefault((name, cell), life)
            world.note_heirs()

        async def leave(self, replica: ReplicaId) -> None:
            await super().leave(replica)
            world.note_heirs()

        async def sweep(
            self, replica: ReplicaId | None, counter: int | None, now: datetime
        ) -> Swept | None:
            was_there = replica in self._counters
            rows = self._rows.values()
            held = frozenset(row.timer.id for row in rows if row.claimed_by == replica)
            swept: Swept | None = await super().sweep(replica, counter, now)
            if was_there and replica is not None and replica not in self._counters:
                world.lose(world.names[replica], held, cell)
                world.note_heirs()
            return swept

    watched: MemoryStorage = Watched(world.now)
    return watched
