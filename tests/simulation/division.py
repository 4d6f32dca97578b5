"""Random histories in which one database becomes two cells, whatever else goes wrong meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import trio

from tests.simulation.cells import CONSUMERS, HALVES
from tests.simulation.checkers import broken_promises
from tests.simulation.history import History, Trouble
from tests.simulation.scenarios import Consume, Scenario, history_of
from tests.simulation.world import Build, World
from timer_trio.domain.cells import CellNumber, KeptMap
from timer_trio.domain.errors import RowRefusedError
from timer_trio.domain.keys import FirstAnswer, KeyedCreate
from timer_trio.domain.timer import NewTimer, TimerId, shard_of
from timer_trio.storage.memory import MemoryStorage

STAYS, GOES = HALVES.cells
BEFORE: Final = KeptMap("0-255", "0-255")
COMING: Final = KeptMap(str(HALVES), str(GOES), str(GOES))
DRAIN_S: Final = 3.0
AGAIN_S: Final = 2.0
LOOK_S: Final = 0.05
RECOVERY_S: Final = 2.0
"""By then processes have noticed, and read what is due."""
REST_S: Final = 1.0
"""At most between the switch and the opening."""


class Fenced(MemoryStorage):
    """A database that takes no row of shards that it has not, as one in partitions does."""

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        self._refuse_foreign(timers)
        await super().create(timers, now)

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        self._refuse_foreign(timers)
        await super().create_many(timers, now)

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        self._refuse_foreign([timer for create in creates for timer in create.timers])
        return await super().create_keyed(creates, now)

    def _refuse_foreign(self, timers: Sequence[NewTimer]) -> None:
        assert self._cell is not None
        if any(shard_of(timer.id) not in self._cell.held.shards for timer in timers):
            raise RowRefusedError("no partition of this table is for that shard")


BUILD: Final = Build(cells=HALVES, storage=Fenced)


def history_of_division(
    seed: int, scenario: Scenario, consumers: Sequence[Consume] = CONSUMERS
) -> History:
    """Run the history of a seed: begun over one database, ended over two cells."""
    return history_of([*consumers, _divide_once], seed, scenario, BUILD, prepare=begin_with_one)


def begin_with_one(world: World) -> None:
    """Have the first database hold all, and the second be filled."""
    for database, kept in zip(world.databases, (BEFORE, COMING), strict=True):
        database._cell = kept


async def _divide_once(world: World, climax_s: float, span_s: float) -> None:
    del span_s
    await trio.sleep(max(0.0, climax_s + world.random.uniform(-4.0, 4.0)))
    await divide(world)


async def divide(world: World) -> None:
    """Do what `timer-trio cells split` does once the second database is as good as filled."""
    source, target = world.databases
    closed_s = trio.current_time()
    while not await _drained(source):
        source._cell = BEFORE
        _note(world, closed_s)
        await trio.sleep(AGAIN_S)
        closed_s = trio.current_time()
    rows = [source._rows[timer_id] for timer_id in [*source._rows] if _goes(timer_id)]
    for row in rows:
        source._delete(row.timer.id)
    source._cell = KeptMap(str(HALVES), str(STAYS))
    await trio.sleep(world.random.uniform(0.0, REST_S))
    target._attempts = {**source._attempts}
    target._keys, target._names = {**source._keys}, {**source._names}
    target._flows, target._signing = {**source._flows}, {**source._signing}
    for row in rows:
        MemoryStorage._put(target, row)
    target._cell = KeptMap(str(HALVES), str(GOES))
    _note(world, closed_s)


def broken_when_divided(history: History) -> list[str]:
    """Name what is wrong; what stays is held to all promises as if nothing were divided.

    What befell either database excuses what was moved: it was in both.
    """
    staying = history.within(CellNumber(0), HALVES)
    moved = [each for each in history.timer_logs if each.row is None or _goes(each.row.id)]
    parts = {"stays": staying, "was moved": replace(history, timer_logs=moved)}
    return [f"what {name}: {each}" for name in parts for each in broken_promises(parts[name])]


def _note(world: World, closed_s: float) -> None:
    """Note that what is to be moved has rested until now, and nothing else."""
    rest = Trouble(
        cause="a division",
        began_s=closed_s,
        ended_s=trio.current_time(),
        recovery_s=RECOVERY_S,
        cell=CellNumber(1),
    )
    world.history.troubles.append(rest)


async def _drained(source: MemoryStorage) -> bool:
    """Close what is to be moved; answers whether nobody has anything of it any more."""
    source._cell = BEFORE._replace(moving=str(GOES))
    with trio.move_on_after(DRAIN_S):
        while any(map(_goes, _held(source))):  # noqa: ASYNC110 - as the command looks
            await trio.sleep(LOOK_S)
        return True
    return False


def _held(source: MemoryStorage) -> Iterator[TimerId]:
    """Name what is claimed, and what a stranger has locked: that keeps the table as it is."""
    yield from (row.timer.id for row in source._rows.values() if row.claimed_by)
    yield from source.locked


def _goes(timer_id: TimerId) -> bool:
    return shard_of(timer_id) in GOES.shards
