from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tests.contract.timers import (
    EPOCH,
    LATER,
    NOW,
    SOON,
    created,
    due,
    from_the_start,
    new_timer,
    seconds,
)
from timer_trio.callback_url import read_url
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.timer import Destination, DueTimer, Lane, TimerId, shard_of
from timer_trio.storage import ShardCursor, Storage

BUSY = read_url("https://busy.example/x")


async def test_a_shard_is_read_in_the_order_of_due_times(storage: Storage) -> None:
    offsets = [5, 1, 3, 1, 4]
    timers = [new_timer(execute_at=NOW + seconds(offset)) for offset in offsets]
    await storage.create(timers, NOW)
    in_order = sorted(timers, key=lambda timer: (timer.spec.execute_at, timer.id))
    assert await due(storage) == [timer.id for timer in in_order]


async def test_a_due_timer_names_its_destination(storage: Storage) -> None:
    timer = new_timer(callback_url=read_url("http://EXAMPLE.com:8080/a?b"), execute_at=SOON)
    await storage.create([timer], NOW)
    found = await storage.load([from_the_start()], LATER, 10, {})
    assert list(found) == [DueTimer(SOON, timer.id, Lane(Destination("http://example.com:8080")))]


async def test_what_is_due_at_the_horizon_is_read(storage: Storage) -> None:
    timer_id = await created(storage, execute_at=SOON)
    assert await due(storage, SOON) == [timer_id]
    assert await due(storage, SOON - seconds(0.000001)) == []


async def test_pages_neither_overlap_nor_skip(storage: Storage) -> None:
    # Many share an instant: there the id alone says what was read.
    timers = [new_timer(execute_at=NOW + seconds(index // 7)) for index in range(40)]
    await storage.create(timers, NOW)
    cursor, read = from_the_start(), list[DueTimer]()
    while page := await storage.load([cursor], LATER, 6, {}):
        read += page
        cursor = ShardCursor(0, page[-1].due_at, page[-1].id)
    assert [timer.id for timer in read] == await due(storage)
    assert len(read) == 40


async def test_each_shard_has_a_page_and_a_cursor_of_its_own(storage: Storage) -> None:
    timers = [
        new_timer(shard=shard, execute_at=NOW + seconds(index))
        for shard in (0, 1, 255)
        for index in range(4)
    ]
    await storage.create(timers, NOW)
    behind = ShardCursor(255, NOW + seconds(1), TimerId(UUID(int=2**128 - 1)))
    found = await storage.load([from_the_start(0), behind], LATER, 3, {})
    read = [(shard_of(timer.id), (timer.due_at - NOW).seconds) for timer in found]
    assert read == [(0, 0), (0, 1), (0, 2), (255, 2), (255, 3)]


async def test_a_full_destination_does_not_hide_the_others(storage: Storage) -> None:
    crowd = [new_timer(callback_url=BUSY) for _ in range(10)]
    other = new_timer(execute_at=SOON)
    await storage.create([*crowd, other], NOW)
    cut_off: dict[BacklogKey, datetime] = {Lane(Destination("https://busy.example:443")): EPOCH}
    found = await storage.load([from_the_start()], LATER, 5, cut_off)
    assert [timer.id for timer in found] == [other.id]
    assert len(await storage.load([from_the_start()], LATER, 5, {})) == 5


async def test_what_is_due_before_the_cut_off_of_a_destination_is_read(storage: Storage) -> None:
    crowd = [new_timer(callback_url=BUSY, execute_at=SOON + seconds(offset)) for offset in range(4)]
    other = new_timer(execute_at=SOON + seconds(3))
    await storage.create([*crowd, other], NOW)
    cut_off: dict[BacklogKey, datetime] = {
        Lane(Destination("https://idle.example:443")): EPOCH,
        Lane(Destination("https://busy.example:443")): SOON + seconds(2),
    }
    found = await storage.load([from_the_start()], LATER, 5, cut_off)
    assert [timer.id for timer in found] == [crowd[0].id, crowd[1].id, other.id]


async def test_no_cursors_read_nothing(storage: Storage) -> None:
    await created(storage)
    assert list(await storage.load([], LATER, 10, {})) == []
    assert (
        list(await storage.load([ShardCursor(1, EPOCH, TimerId(UUID(int=0)))], LATER, 5, {})) == []
    )
