"""Whoever joins, stops, dies or freezes: what was not his is fired on time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial

import pytest
import trio

from tests.sampling import is_sampled
from tests.simulation.changes import SETTINGS, Change, history_of_change
from tests.simulation.checkers import broken_promises, hardly_late
from tests.simulation.consumers import Consumer
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.seeds import seeds
from tests.simulation.world import Build, Process, World, run_world
from timer_trio.cluster.hints import Hints
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.timer import DueTimer, NewTimer
from timer_trio.storage import ShardCursor
from timer_trio.storage.memory import MemoryStorage

TRIES = 20


def again(seed: int, kind: str) -> str:
    return f"once more: make soak SEED={seed} HISTORIES=10 ARGS='-k {kind}'"


def is_found_out(history_of: Callable[[int], History]) -> bool:
    return any(list(hardly_late(history_of(seed))) for seed in range(TRIES))


@pytest.mark.sampled(of=8)
@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.parametrize("change", Change)
def test_nobody_is_late_but_what_the_victim_had_in_hand(seed: int, change: Change) -> None:
    assert not broken_promises(history_of_change(seed, change)), again(seed, change)


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize("seed", seeds(0.4))
@pytest.mark.parametrize("change", Change)
def test_nor_is_anybody_where_destinations_fill_their_shares_of_the_cache(
    seed: int, change: Change
) -> None:
    history = history_of_change(seed, change, crowded=True)
    assert not broken_promises(history), again(seed, change)


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize("seed", seeds(0.5))
@pytest.mark.parametrize("change", Change)
@pytest.mark.parametrize(
    "faults", [Faults(hints_lost=True), Faults(lost_hints=0.3)], ids=["all lost", "some lost"]
)
def test_nor_is_anybody_where_hints_do_not_arrive(
    seed: int, change: Change, faults: Faults
) -> None:
    assert not broken_promises(history_of_change(seed, change, faults=faults))


@pytest.mark.parametrize("change", [Change.JOIN, Change.FREEZE])
def test_loser_that_keeps_silent_is_found_out(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hints, "hand_over", lambda *_: None)
    assert is_found_out(lambda seed: history_of_change(seed, change))


class Hasty(MemoryStorage):
    """Reads nothing at all of a destination that is cut off."""

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[BacklogKey, datetime],
    ) -> Sequence[DueTimer]:
        never = dict.fromkeys(cut_off, datetime.min.replace(tzinfo=UTC))
        return await super().load(cursors, until, per_shard, never)


@pytest.mark.parametrize("change", [Change.STOP, Change.DEATH])
def test_gained_shard_that_is_read_without_full_destinations_is_found_out(change: Change) -> None:
    assert is_found_out(lambda seed: history_of_change(seed, change, crowded=True, storage=Hasty))


class Reluctant(MemoryStorage):
    """Takes every third hint, and loses the others."""

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked % 3:
            raise StorageUnavailableError("no connection")
        await super().hint(timers, shards)


@pytest.mark.parametrize("change", Change)
def test_hint_is_repeated_until_the_database_takes_it(change: Change) -> None:
    for seed in filter(partial(is_sampled, of=3), seeds(0.3)):
        assert not broken_promises(history_of_change(seed, change, storage=Reluctant))


class SlowCreate(MemoryStorage):
    """Takes so long that who wrote it is almost gone, and his successor has read what is due."""

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        await trio.sleep(2.0)
        await super().create(timers, now)


def test_successor_hears_of_the_last_create_of_one_that_was_alone() -> None:
    async def script(world: World) -> None:
        first = await world.start_process()
        await first.replica.wait_loaded()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(create, world)
            await trio.sleep(0.1)
            await replace(world, first)
        await world.settled()

    async def create(world: World) -> None:
        await Consumer(world).create(in_s=8.0)

    async def replace(world: World, first: Process) -> None:
        world.nursery.start_soon(first.stop)
        await trio.sleep(0.2)
        await world.start_process(alone=False)

    build = Build(settings=SETTINGS, storage=SlowCreate)
    history = run_world(1, Faults(), script, build)
    assert len(history.timer_logs) == 1
    assert not broken_promises(history)
