"""A timer that is made live again takes its name again, unless a live one has it."""

from __future__ import annotations

from datetime import datetime

from tests.contract.timers import LATER, NOW, SOON, new_timer, took_name
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage
from timer_trio.domain.query import TimerFilter
from timer_trio.domain.timer import NewTimer, Status, TimerId
from timer_trio.storage import Storage

KEY = "nightly"


def named(shard: int = 0) -> NewTimer:
    timer = new_timer(shard=shard)
    return NewTimer(id=timer.id, created_at=timer.created_at, spec=timer.spec, key=KEY)


async def ended(storage: Storage, before: TimerId | None = None) -> TimerId:
    """Write a timer under the name, and cancel it."""
    timer = named()
    assert await took_name(storage, timer, before, NOW)
    await storage.cancel(timer.id, SOON)
    return timer.id


async def holder(storage: Storage) -> TimerId | None:
    found = await storage.name_holder(KEY)
    return None if found is None else found.timer_id


async def redrive_all(storage: Storage, now: datetime = LATER) -> int:
    wanted = TimerFilter(status=Status.CANCELED)
    bulk = Bulk(action=BulkAction.REDRIVE, wanted=wanted, as_of=now)
    return (await storage.bulk(BulkPage(bulk=bulk, after=None, size=10, due_at=now), now)).done


async def test_a_name_that_stands_for_it_still_is_kept(storage: Storage) -> None:
    timer_id = await ended(storage)
    assert await storage.redrive(timer_id, LATER, LATER, timer_id) is not None
    assert await holder(storage) == timer_id


async def test_a_name_is_taken_back_from_one_that_has_ended(storage: Storage) -> None:
    first = await ended(storage)
    second = await ended(storage, first)
    assert await storage.redrive(first, LATER, LATER, first) is None
    assert await storage.redrive(first, LATER, LATER, second) is not None
    assert await holder(storage) == first
    assert await storage.redrive(second, LATER, LATER, first) is None
    assert (await storage.get(second)).status is Status.CANCELED


async def test_a_live_timer_keeps_its_name(storage: Storage) -> None:
    first = await ended(storage)
    live = named()
    assert await took_name(storage, live, first, NOW)
    assert await storage.redrive(first, LATER, LATER, live.id) is None
    assert (await storage.get(first)).status is Status.CANCELED
    assert await holder(storage) == live.id


async def test_many_are_redriven_but_those_whose_names_stand_for_others(storage: Storage) -> None:
    first = await ended(storage)
    second = await ended(storage, first)
    assert await redrive_all(storage) == 1
    assert (await storage.get(first)).status is Status.CANCELED
    assert (await storage.get(second)).status is Status.PENDING
    assert await holder(storage) == second


async def test_names_go_with_those_that_are_deleted(storage: Storage) -> None:
    await ended(storage)
    wanted = TimerFilter(status=Status.CANCELED)
    bulk = Bulk(action=BulkAction.DELETE, wanted=wanted, as_of=LATER)
    page = BulkPage(bulk=bulk, after=None, size=10, due_at=LATER)
    assert (await storage.bulk(page, LATER)).done == 1
    assert await holder(storage) is None
