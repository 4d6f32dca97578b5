"""A name stands for one live timer at most, and for the last that ended until another takes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from tests.contract.cells import CellsOfSuite
from tests.contract.timers import (
    LATER,
    NOW,
    SOON,
    claimed,
    completed,
    created,
    due,
    failed,
    given_back,
    new_timer,
    took_name,
)
from timer_trio.domain.errors import ContentionError, RowRefusedError
from timer_trio.domain.keys import NameHolder
from timer_trio.domain.timer import NewTimer, TimerId
from timer_trio.storage import Storage


def named(key: str = "cart") -> NewTimer:
    return replace(new_timer(), key=key)


async def taken(storage: Storage, key: str = "cart") -> TimerId:
    timer = named(key)
    assert await took_name(storage, timer, None, NOW)
    return timer.id


async def holder(storage: Storage, key: str = "cart") -> TimerId | None:
    found = await storage.name_holder(key)
    return found.timer_id if found else None


async def test_a_free_name_is_taken_and_read_back(storage: Storage) -> None:
    assert await storage.name_holder("cart") is None
    timer_id = await taken(storage)
    timer = await storage.get(timer_id)
    assert timer.key == "cart"
    assert await storage.name_holder("cart") == NameHolder(timer_id, timer)
    assert await storage.name_holder("Cart") is None
    assert (await storage.get(await created(storage))).key is None
    assert timer_id in await due(storage)


async def test_a_live_timer_keeps_its_name(storage: Storage) -> None:
    timer_id = await taken(storage)
    for before in (None, timer_id, new_timer().id):
        assert not await took_name(storage, named(), before, SOON)
    await claimed(storage, timer_id)
    assert not await took_name(storage, named(), timer_id, SOON)
    await storage.settle([given_back(timer_id)], SOON)
    assert not await took_name(storage, named(), timer_id, SOON)
    assert await due(storage) == [timer_id]


@pytest.mark.parametrize("end", ["canceled", "completed", "failed"])
async def test_the_name_of_one_that_ended_is_taken_over(storage: Storage, end: str) -> None:
    timer_id = await taken(storage)
    if end == "canceled":
        await storage.cancel(timer_id, SOON)
    else:
        await claimed(storage, timer_id)
        await storage.settle([(completed if end == "completed" else failed)(timer_id)], SOON)
    assert await holder(storage) == timer_id
    second, third = named(), named()
    assert not await took_name(storage, second, None, SOON)
    assert await took_name(storage, second, timer_id, SOON)
    assert not await took_name(storage, third, timer_id, SOON)
    assert await holder(storage) == second.id
    assert await due(storage) == [second.id]


async def test_the_same_call_again_has_the_same_answer(storage: Storage) -> None:
    first, second = named(), named()
    assert await took_name(storage, first, None, NOW)
    assert await took_name(storage, first, None, SOON)
    await storage.cancel(first.id, SOON)
    assert await took_name(storage, first, None, SOON)
    assert await took_name(storage, second, first.id, SOON)
    assert await took_name(storage, first, None, SOON)
    assert await due(storage) == [second.id]


async def test_what_is_refused_takes_no_name(storage: Storage) -> None:
    bad = replace(new_timer(metadata={"a": "\0"}), key="cart")
    with pytest.raises(RowRefusedError):
        await took_name(storage, bad, None, NOW)
    assert await storage.name_holder("cart") is None


async def test_a_name_goes_with_the_timer_that_is_pruned(storage: Storage) -> None:
    old, kept, again = await taken(storage, "a"), await taken(storage, "b"), await taken(storage)
    await storage.cancel(old, NOW)
    await storage.cancel(again, NOW)
    live = named()
    assert await took_name(storage, live, again, NOW)
    assert (await storage.prune(LATER, None, 10)).count == 2
    assert await holder(storage, "a") is None
    assert await holder(storage, "b") == kept
    assert await holder(storage) == live.id


async def test_a_name_whose_timer_is_gone_is_taken_over(storage: Storage) -> None:
    """As where a replica of an older release has pruned it."""
    timer_id = await taken(storage)
    await storage.cancel(timer_id, NOW)
    own = storage.storages[0] if isinstance(storage, CellsOfSuite) else storage
    if hasattr(own, "_rows"):
        del own._rows[timer_id]
    else:
        await own._api.run(  # type: ignore[attr-defined]
            lambda connection: connection.execute("DELETE FROM timers")
        )
    assert await storage.name_holder("cart") == NameHolder(timer_id, None)
    assert await took_name(storage, named(), timer_id, NOW)


async def test_of_many_at_once_one_gets_a_name(storage: Storage) -> None:
    first = await taken(storage)
    await storage.cancel(first, NOW)
    timers = [named() for _ in range(20)]
    won: list[TimerId] = []

    async def take(timer: NewTimer) -> None:
        while True:
            try:
                if await took_name(storage, timer, first, NOW):
                    won.append(timer.id)
            except ContentionError:
                continue
            return

    async with trio.open_nursery() as nursery:
        for timer in timers:
            nursery.start_soon(take, timer)
    assert won == [await holder(storage)] == await due(storage)
