from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from tests.contract.timers import (
    LATER,
    NOW,
    SOON,
    claimed,
    completed,
    created,
    failed,
    given_back,
    new_timer,
    seconds,
)
from timer_trio.callback_url import read_url
from timer_trio.domain.query import (
    MAX_LISTED_METADATA,
    JsonScalar,
    ListedTimer,
    Order,
    Sort,
    TimerQuery,
)
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import Destination, JsonText, Status, TimerId
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


async def settled(
    storage: Storage, ending: Callable[[TimerId], Settlement], at: datetime, **changes: str
) -> TimerId:
    timer_id = await created(storage, **changes)  # type: ignore[arg-type]  # a URL is text
    await claimed(storage, timer_id)
    assert await storage.settle([ending(timer_id)], at) == [True]
    return timer_id


async def test_an_empty_list_has_no_timers_and_a_total(storage: Storage) -> None:
    page = await storage.list(TimerQuery())
    assert (list(page.timers), page.total, page.next) == ([], 0, None)


async def test_a_list_holds_summaries(storage: Storage) -> None:
    timer = new_timer(execute_at=SOON, metadata={"n": "é"})
    await storage.create([timer], NOW)
    page = await storage.list(TimerQuery())
    assert list(page.timers) == [
        ListedTimer(
            id=timer.id,
            created_at=NOW,
            execute_at=SOON,
            callback_url=timer.spec.callback.url.text,
            status=Status.PENDING,
            executed_at=None,
            destination=Destination("https://example.com:443"),
            attempt=0,
            last_error=None,
            http_status=None,
            key=None,
            schedule_id=None,
            flow_key=None,
            metadata=JsonText('{"n": "é"}'),
        )
    ]


async def test_a_list_tells_why_a_timer_failed(storage: Storage) -> None:
    await settled(storage, failed, NOW)
    (timer,) = (await storage.list(TimerQuery())).timers
    assert (timer.attempt, timer.last_error) == (1, "HTTP 503 from https://example.com")


async def test_metadata_that_is_too_long_for_a_list_is_left_out(storage: Storage) -> None:
    fits = "é" * ((MAX_LISTED_METADATA - len('{"n": ""}')) // 2)
    for text in (fits, fits + "aa"):
        await created(storage, metadata={"n": text})
    timers = (await storage.list(replace(ALL, sort=Sort.CREATED_AT))).timers
    assert {timer.metadata for timer in timers} == {f'{{"n": "{fits}"}}', None}


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


async def test_bounds_of_created_at_are_exclusive(storage: Storage) -> None:
    timers = [new_timer(created_at=NOW + seconds(index)) for index in range(4)]
    await storage.create(timers, NOW)
    ids = [timer.id for timer in timers]
    oldest_first = replace(ALL, sort=Sort.CREATED_AT)
    after, before = NOW, NOW + seconds(3)
    assert await listed(storage, replace(oldest_first, created_after=after)) == ids[1:]
    assert await listed(storage, replace(oldest_first, created_before=before)) == ids[:3]
    both = replace(oldest_first, created_after=after, created_before=before)
    assert await listed(storage, both) == ids[1:3]


@pytest.mark.parametrize("sort", Sort)
async def test_bounds_of_an_end_are_exclusive_and_leave_out_what_has_not_ended(
    storage: Storage, sort: Sort
) -> None:
    done = await settled(storage, completed, NOW + seconds(1))
    bad = await settled(storage, failed, NOW + seconds(2))
    gone = await created(storage)
    await storage.cancel(gone, NOW + seconds(3))
    await settled(storage, given_back, NOW + seconds(2))
    await created(storage)
    query = TimerQuery(sort=sort, order=Order.ASC)
    after, before = NOW + seconds(1), NOW + seconds(3)
    assert set(await listed(storage, replace(query, ended_after=NOW))) == {done, bad, gone}
    assert set(await listed(storage, replace(query, ended_after=after))) == {bad, gone}
    assert set(await listed(storage, replace(query, ended_before=before))) == {done, bad}
    both = replace(query, ended_after=after, ended_before=before, limit=1)
    page = await storage.list(both)
    assert ([timer.id for timer in page.timers], page.total, page.next) == ([bad], 1, None)
    canceled = replace(query, status=Status.CANCELED, ended_after=NOW)
    assert await listed(storage, canceled) == [gone]
    assert await listed(storage, replace(query, status=Status.PENDING, ended_after=NOW)) == []


async def test_pages_of_what_ended_hold_each_timer_once(storage: Storage) -> None:
    ids = {await settled(storage, failed, SOON) for _ in range(5)}
    query = TimerQuery(status=Status.FAILED, ended_after=NOW, limit=2)
    page = await storage.list(query)
    seen = list(page.timers)
    while page.next:
        page = await storage.list(replace(query, after=page.next))
        seen += page.timers
    assert len(seen) == 5
    assert {timer.id for timer in seen} == ids


async def test_destination_is_found_exactly(storage: Storage) -> None:
    here = await created(storage, callback_url=read_url("https://EXAMPLE.com/a?b"))
    await created(storage, callback_url=read_url("https://example.com:444/"))
    await created(storage, callback_url=read_url("http://example.com/"))
    await created(storage, callback_url=read_url("https://example.com.au/"))
    wanted = replace(ALL, destination=Destination("https://example.com:443"))
    page = await storage.list(wanted)
    assert ([timer.id for timer in page.timers], page.total) == ([here], 1)


@pytest.mark.parametrize(
    ("part", "is_found"),
    [
        ("100%_of", True),
        (r"C:\tmp", True),
        ("é", True),
        ("'", True),
        ("100% of it, it's", False),
        ("100_", False),
        ("HTTP", False),
        (r"C:\\tmp", False),
        ("{}", False),
    ],
)
async def test_last_error_is_found_by_any_part_of_it_as_it_is(
    storage: Storage, part: str, *, is_found: bool
) -> None:
    error = r"100%_of it, it's http é C:\tmp"
    bad = await settled(storage, lambda i: replace(failed(i), last_error=error), SOON)
    await settled(storage, completed, SOON)
    await created(storage)
    assert await listed(storage, replace(ALL, last_error=part)) == [bad] * is_found


async def test_all_that_is_asked_for_must_hold(storage: Storage) -> None:
    wanted = await settled(storage, failed, SOON)
    await settled(storage, failed, LATER)
    await settled(storage, completed, SOON)
    query = replace(
        ALL,
        status=Status.FAILED,
        destination=Destination("https://example.com:443"),
        last_error="503",
        created_after=NOW - seconds(1),
        ended_after=NOW,
        ended_before=LATER,
    )
    assert await listed(storage, query) == [wanted]
    assert await listed(storage, replace(query, created_after=NOW)) == []


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
