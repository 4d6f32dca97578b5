from __future__ import annotations

from tests.contract.timers import (
    ALICE,
    BOB,
    LATER,
    NOW,
    SECOND,
    SOON,
    ask,
    claimed,
    completed,
    created,
    due,
    seconds,
)
from timer_trio.domain.timer import Status
from timer_trio.storage import Storage, Swept

THEN = SOON + seconds(1)


async def test_a_beat_raises_the_own_counter_alone(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    await storage.join(BOB, NOW)
    first = await storage.beat(ALICE)
    second = await storage.beat(ALICE)
    assert second.counters[ALICE] == first.counters[ALICE] + 1
    assert second.counters[BOB] == first.counters[BOB]


async def test_a_beat_reads_the_clock_in_utc(storage: Storage) -> None:
    first = await storage.beat(ALICE)
    second = await storage.beat(ALICE)
    assert first.now <= second.now
    assert first.now.utcoffset() == seconds(0)


async def test_a_beat_shows_that_the_own_row_is_gone(storage: Storage) -> None:
    await storage.join(BOB, NOW)
    assert ALICE not in (await storage.beat(ALICE)).counters
    assert BOB in (await storage.beat(ALICE)).counters


async def test_joining_again_changes_nothing(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    before = await storage.beat(ALICE)
    await storage.join(ALICE, LATER)
    after = await storage.beat(ALICE)
    assert after.counters[ALICE] == before.counters[ALICE] + 1


async def test_a_sweep_frees_what_the_dead_one_held_as_unknown(storage: Storage) -> None:
    held = [await created(storage) for _ in range(3)]
    await storage.join(ALICE, NOW)
    await ask(storage, held)
    counter = (await storage.beat(ALICE)).counters[ALICE]
    assert await storage.sweep(ALICE, counter, THEN) == Swept(freed=3)
    assert ALICE not in (await storage.beat(BOB)).counters
    assert await due(storage, SOON) == []
    assert await due(storage, THEN) == sorted(held)
    for timer_id in held:
        timer = await storage.get(timer_id)
        assert (timer.status, timer.attempt) == (Status.EXECUTING, 1)


async def test_a_sweep_leaves_the_living_alone(storage: Storage) -> None:
    alices, bobs = await created(storage), await created(storage)
    await claimed(storage, alices, ALICE)
    await claimed(storage, bobs, BOB, SECOND)
    assert await storage.sweep(ALICE, None, THEN) == Swept(freed=1)
    assert await due(storage) == [alices]
    assert BOB in (await storage.beat(BOB)).counters


async def test_a_replica_that_has_beaten_since_is_not_swept(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    counter = (await storage.beat(ALICE)).counters[ALICE]
    await storage.beat(ALICE)
    assert await storage.sweep(ALICE, counter, THEN) is None
    assert await due(storage) == []
    assert ALICE in (await storage.beat(ALICE)).counters


async def test_a_repeated_sweep_finds_nothing_more(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    assert await storage.sweep(ALICE, None, THEN) == Swept(freed=1)
    assert await storage.sweep(ALICE, None, LATER) == Swept(freed=0)
    assert await storage.sweep(ALICE, 1, LATER) is None
    assert await due(storage, THEN) == [timer_id]


async def test_a_sweep_does_not_open_what_has_ended(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([completed(timer_id)], SOON)
    before = await storage.get(timer_id)
    assert await storage.sweep(ALICE, None, THEN) == Swept(freed=0)
    assert await storage.get(timer_id) == before


async def test_a_new_replica_takes_over_what_was_freed(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id, ALICE)
    await storage.sweep(ALICE, None, SOON)
    assert (await claimed(storage, timer_id, BOB, SECOND)).attempt == 2
