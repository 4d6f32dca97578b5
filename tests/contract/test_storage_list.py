from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tests.contract.timers import LATER, NOW, SOON, claimed, completed, created, new_timer, seconds
from timer_trio.domain.query import JsonScalar, Order, Sort, TimerQuery
from timer_trio.domain.timer import Status, TimerId, TimerSummary
from timer_trio.storage import Storage

ALL = TimerQuery(sort=Sort.EXECUTE_AT, order=Order.ASC)


async def listed(storage: Storage, query: TimerQuery) -> list[TimerId]:
    return [timer.id for timer in (await storage.list(query)).timers]


async def filled(storage: Storage, count: int = 25) -> list[TimerId]:
    """Make timers whose two orders differ and in which many instants are shared."""
    timers = [
        new_timer(
            shard=index % 3,
            created_at=NOW + seconds(index // 4),
            execute_at=LATER - seconds(index // 3),
        )
        for index in range(count)
    ]
    await storage.create(timers, NOW)
    return [timer.id for timer in timers]


async def test_an_empty_list_has_no_timers_and_a_total(storage: Storage) -> None:
    page = await storage.list(TimerQuery())
    assert (list(page.timers), page.total, page.next) == ([], 0, None)


async def test_a_list_holds_summaries(storage: Storage) -> None:
    timer = new_timer(execute_at=SOON)
    await storage.create([timer], NOW)
    page = await storage.list(TimerQuery())
    assert list(page.timers) == [
        TimerSummary(
            id=timer.id,
            created_at=NOW,
            execute_at=SOON,
            callback_url=timer.spec.callback.url.text,
            status=Status.PENDING,
            executed_at=None,
        )
    ]


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("order", Order)
async def test_pages_by_cursor_hold_each_timer_once_and_in_order(
    storage: Storage, sort: Sort, order: Order
) -> None:
    ids = await filled(storage)
    query = TimerQuery(sort=sort, order=order, limit=7)
    page = await storage.list(query)
    assert page.total == len(ids)
    timers = list(page.timers)
    while page.next:
        page = await storage.list(replace(query, after=page.next))
        assert page.total is None
        timers += page.timers
    keys = [(getattr(timer, sort), timer.id) for timer in timers]
    assert keys == sorted(keys, reverse=order is Order.DESC)
    assert sorted(timer.id for timer in timers) == sorted(ids)


@pytest.mark.parametrize("order", Order)
async def test_pages_by_offset_are_the_same_as_by_cursor(storage: Storage, order: Order) -> None:
    await filled(storage)
    whole = await listed(storage, TimerQuery(order=order, limit=200))
    query = TimerQuery(order=order, limit=10)
    by_offset = [await listed(storage, replace(query, offset=at)) for at in (0, 10, 20, 30)]
    assert by_offset == [whole[:10], whole[10:20], whole[20:], []]


async def test_a_page_beyond_the_end_still_has_the_total(storage: Storage) -> None:
    await filled(storage, 5)
    page = await storage.list(TimerQuery(offset=9))
    assert (list(page.timers), page.total, page.next) == ([], 5, None)


async def test_the_last_page_has_no_next(storage: Storage) -> None:
    await filled(storage, 6)
    assert (await storage.list(TimerQuery(limit=6))).next is None
    assert (await storage.list(TimerQuery(limit=5))).next is not None
    assert (await storage.list(TimerQuery(limit=3, offset=3))).next is None


async def test_a_list_can_ask_for_one_status(storage: Storage) -> None:
    done, free = await created(storage), await created(storage)
    await claimed(storage, done)
    await storage.settle([completed(done)], SOON)
    page = await storage.list(replace(ALL, status=Status.COMPLETED))
    assert [(timer.id, timer.executed_at) for timer in page.timers] == [(done, SOON)]
    assert page.total == 1
    assert await listed(storage, replace(ALL, status=Status.PENDING)) == [free]


async def test_bounds_of_execute_at_are_exclusive(storage: Storage) -> None:
    ids = [await created(storage, execute_at=NOW + seconds(index)) for index in range(4)]
    after, before = NOW, NOW + seconds(3)
    assert await listed(storage, replace(ALL, execute_after=after)) == ids[1:]
    assert await listed(storage, replace(ALL, execute_before=before)) == ids[:3]
    both = replace(ALL, execute_after=after, execute_before=before)
    assert await listed(storage, both) == ids[1:3]
    assert (await storage.list(both)).total == 2


STORED: list[Mapping[str, object] | None] = [
    {"user": 7},
    {"user": "7"},
    {"user": 7.0, "plan": "free"},
    {"user": True},
    {"user": None},
    {"user": [7]},
    {"user": {"id": 7}},
    {"other": 7},
    {},
    None,
    {"user": 2**70},
]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"user": [7]}, [0, 2]),
        ({"user": [7.0]}, [0, 2]),
        ({"user": ["7"]}, [1]),
        ({"user": [7, "7"]}, [0, 1, 2]),
        ({"user": [True, "true"]}, [3]),
        ({"user": [1]}, []),
        ({"user": [None]}, [4]),
        ({"user": [2**70]}, [10]),
        ({"user": [7], "plan": ["free", None]}, [2]),
        ({"user": []}, []),
        ({"nobody": [7]}, []),
        ({"user' OR 1=1 --": ["%s {}"]}, []),
    ],
)
async def test_metadata_is_compared_as_json(
    storage: Storage, asked: Mapping[str, Sequence[JsonScalar]], found: list[int]
) -> None:
    ids = [
        await created(storage, metadata=metadata, execute_at=NOW + seconds(index))
        for index, metadata in enumerate(STORED)
    ]
    page = await storage.list(replace(ALL, metadata=asked))
    assert [ids.index(timer.id) for timer in page.timers] == found
    assert page.total == len(found)
