"""Live timers of a project that limits them: never more, and room again once some have ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from typing import Final

import psycopg
import pytest
import trio

from tests.contract.conftest import Stranger
from tests.contract.timers import (
    ALICE,
    LATER,
    NOW,
    SOON,
    claimed,
    completed,
    due,
    keyed,
    new_timer,
    retrying,
    seconds,
    spec,
)
from tests.schedules import CALENDAR, EVERY_MINUTE, FIRST_ID, schedule_of, schedule_spec
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage
from timer_trio.domain.errors import ContentionError, QuotaUsedUpError, RowRefusedError
from timer_trio.domain.keys import KeyedCreate
from timer_trio.domain.occurrence import extra_occurrence_id
from timer_trio.domain.planning import plan
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import TimerFilter
from timer_trio.domain.schedule import NewOccurrence, Overlap
from timer_trio.domain.settlement import Completed
from timer_trio.domain.timer import NewTimer, Status, TimerId
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage

MOST: Final = 3
OTHER: Final = ProjectId(7)


def counted(
    count: int = 1, most: int = MOST, project: ProjectId = DEFAULT_PROJECT
) -> list[NewTimer]:
    return [replace(new_timer(), max_live=most, project=project) for _ in range(count)]


def counted_keyed(key: str, count: int = 1, most: int = MOST) -> KeyedCreate:
    return keyed(key, *counted(count, most))


async def refuses(storage: Storage, now: datetime, most: int = MOST) -> bool:
    try:
        await storage.create(counted(most=most), now)
    except QuotaUsedUpError:
        return True
    return False


async def full(storage: Storage, most: int = MOST) -> list[NewTimer]:
    timers = counted(most, most)
    await storage.create(timers, NOW)
    return timers


async def test_one_more_than_there_may_be_is_refused(storage: Storage) -> None:
    for _ in range(MOST):
        await storage.create(counted(), NOW)
    with pytest.raises(QuotaUsedUpError, match="the project has 3 live timers, as many as"):
        await storage.create(counted(), NOW)
    await storage.create([new_timer()], NOW)
    await storage.create(counted(project=OTHER), NOW)
    assert (await storage.live_in(DEFAULT_PROJECT)).timers == MOST + 1


async def test_the_same_creates_again_are_counted_once(storage: Storage) -> None:
    timers, many = counted(2, 5), counted(3, 5)
    named = [replace(timer, key="a") for timer in counted(1, 6)]
    for _ in range(2):
        await storage.create(timers, NOW)
        await storage.create_many(many, NOW)
    for _ in range(2):
        assert await storage.create_named(named, {}, NOW)
    assert await refuses(storage, NOW, most=6)
    await storage.create(timers, NOW)
    await storage.create_many(many, NOW)
    assert await storage.create_named(named, {}, NOW)
    assert (await storage.live_in(DEFAULT_PROJECT)).timers == 6


@pytest.mark.parametrize("end", ["cancel", "settle", "delete"])
async def test_there_is_room_within_a_second_of_an_end(storage: Storage, end: str) -> None:
    first, *_ = await full(storage)
    assert await refuses(storage, NOW)
    if end == "settle":
        timer = await claimed(storage, first.id)
        assert await refuses(storage, NOW + seconds(0.9))
        await storage.settle([completed(first.id, timer.claim)], SOON)
    else:
        await storage.cancel(first.id, NOW)
    if end == "delete":
        await storage.prune(LATER, None, 100)
    assert await refuses(storage, NOW + seconds(0.9))
    assert not await refuses(storage, NOW + seconds(1))
    assert await refuses(storage, NOW + seconds(1.5))


async def test_executing_and_retrying_timers_are_live(storage: Storage) -> None:
    first, second, _ = await full(storage)
    await claimed(storage, first.id)
    timer = await claimed(storage, second.id)
    await storage.settle([retrying(second.id, timer.claim, LATER)], SOON)
    assert await refuses(storage, NOW + seconds(5))


async def test_many_are_written_all_or_none(storage: Storage) -> None:
    await storage.create(counted(2), NOW)
    named = [replace(timer, key=key) for timer, key in zip(counted(2), "ab", strict=True)]
    for refused in (
        storage.create_many(counted(2), NOW),
        storage.create_keyed([counted_keyed("k", 2)], NOW),
        storage.create_named(named, {}, NOW),
        storage.create(counted(2), NOW),
    ):
        with pytest.raises(QuotaUsedUpError, match=r"2 live timers, .* too few for 2 more"):
            await refused
    assert (await storage.live_in(DEFAULT_PROJECT)).timers == 2
    assert await storage.held_names(["a", "b"]) == {}
    assert await storage.first_answer("k", NOW) is None
    await storage.create_many(counted(1), NOW)
    assert await refuses(storage, NOW)


async def test_what_the_database_refuses_is_not_counted(storage: Storage) -> None:
    bad = replace(counted()[0], spec=spec(metadata={"a": "\0"}))
    for write in (storage.create, storage.create_many):
        with pytest.raises(RowRefusedError):
            await write([*counted(2), bad], NOW)
    await full(storage)
    assert await refuses(storage, NOW)


async def test_a_key_that_stands_for_timers_is_answered_without_room(storage: Storage) -> None:
    first, other = counted_keyed("a", MOST), counted_keyed("b")
    (answer,) = await storage.create_keyed([first], NOW)
    with pytest.raises(QuotaUsedUpError):
        await storage.create_keyed([other], NOW)
    assert await storage.create_keyed([counted_keyed("a")], NOW) == [answer]
    assert await storage.first_answer("b", NOW) is None
    await storage.cancel(first.timers[0].id, NOW)
    assert await storage.create_keyed([other], NOW + seconds(1)) == [other.answer]


async def test_a_live_name_needs_no_room(storage: Storage) -> None:
    (named,) = [replace(timer, key="a") for timer in counted()]
    assert await storage.create_named([named], {}, NOW)
    await storage.create(counted(2), NOW)
    assert not await storage.create_named([replace(counted()[0], key="a")], {}, NOW)
    await storage.cancel(named.id, NOW)
    again = [replace(counted()[0], key="a")]
    with pytest.raises(QuotaUsedUpError):
        await storage.create_named(again, {"a": named.id}, NOW)
    assert await storage.create_named(again, {"a": named.id}, NOW + seconds(1))


async def test_a_redrive_needs_room(storage: Storage) -> None:
    plain = new_timer()
    await storage.create([plain], NOW)
    await storage.cancel(plain.id, NOW)
    await full(storage)
    with pytest.raises(QuotaUsedUpError):
        await storage.redrive(plain.id, LATER, NOW, max_live=MOST)
    assert (await storage.get(plain.id)).status is Status.CANCELED
    assert await storage.redrive(plain.id, LATER, NOW, max_live=MOST + 1) is not None
    # It counts from now on.
    assert await refuses(storage, NOW + seconds(5), most=MOST + 1)


async def redrive_all(storage: Storage, most: int, *, is_dry_run: bool = False) -> int:
    bulk = Bulk(
        action=BulkAction.REDRIVE,
        wanted=TimerFilter(status=Status.CANCELED),
        as_of=SOON,
        max_live=most,
        is_dry_run=is_dry_run,
    )
    return (await storage.bulk(BulkPage(bulk=bulk, after=None, size=9, due_at=NOW), SOON)).done


async def test_a_page_is_redriven_if_there_is_room_for_all_of_it(storage: Storage) -> None:
    for timer in await full(storage):
        await storage.cancel(timer.id, NOW)
    assert await redrive_all(storage, 2, is_dry_run=True) == MOST
    with pytest.raises(QuotaUsedUpError):
        await redrive_all(storage, 2)
    assert (await storage.live_in(DEFAULT_PROJECT)).timers == 0
    assert await redrive_all(storage, MOST) == MOST
    assert await refuses(storage, SOON)


def beside_the_rule(instant: datetime, most: int | None) -> NewOccurrence:
    timer_id = extra_occurrence_id(FIRST_ID, instant, Overlap.ALLOW, lambda _: 7)
    timer = NewTimer(id=timer_id, created_at=NOW, spec=spec(execute_at=instant), max_live=most)
    return NewOccurrence(timer=timer, schedule_id=FIRST_ID, version=None, instant=instant)


async def test_occurrences_of_a_rule_need_no_room_and_those_beside_it_do(storage: Storage) -> None:
    made = plan(schedule_of(schedule_spec(EVERY_MINUTE)), CALENDAR, NOW)
    await storage.create_schedule(made.schedule, made.occurrences, NOW)
    extra = [beside_the_rule(NOW + seconds(count), MOST) for count in range(MOST + 1)]
    await storage.add_occurrences(FIRST_ID, extra[:MOST], NOW)
    with pytest.raises(QuotaUsedUpError):
        await storage.add_occurrences(FIRST_ID, extra, NOW)
    assert await storage.add_occurrences(FIRST_ID, extra[:MOST], NOW) == []
    assert await refuses(storage, NOW + seconds(5))


async def test_a_lower_limit_refuses_and_a_higher_one_admits(storage: Storage) -> None:
    await full(storage, 5)
    with pytest.raises(QuotaUsedUpError, match="the project has 5 live timers, as many as"):
        await storage.create(counted(most=4), NOW)
    with pytest.raises(QuotaUsedUpError, match="the project has 4 or more live timers"):
        await storage.create(counted(most=4), SOON)
    # What was counted up to 5 says nothing of how many there are: they are counted again.
    assert await refuses(storage, SOON, most=100)
    assert not await refuses(storage, SOON + seconds(1), most=6)
    assert await refuses(storage, SOON + seconds(1), most=6)


async def test_interleaved_creates_of_many_replicas_never_exceed(
    storage: Storage, request: pytest.FixtureRequest
) -> None:
    most, written, refused = 40, list[TimerId](), 0
    async with AsyncExitStack() as stack:
        storages = [storage]
        if isinstance(storage, PostgresStorage):
            url = request.getfixturevalue("storage_url")
            storages.append(await stack.enter_async_context(PostgresStorage(url, pool_size=4)))

        async def write(number: int) -> None:
            nonlocal refused
            own = storages[number % len(storages)]
            timers = counted(1 + number % 3, most)
            now = NOW + seconds(number / 10)
            while True:
                try:
                    await (own.create_many if number % 2 else own.create)(timers, now)
                except ContentionError:
                    continue
                except QuotaUsedUpError:
                    refused += 1
                else:
                    written.extend(timer.id for timer in timers)
                    if number % 5 == 0:
                        await own.cancel(timers[0].id, now)
                return

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(write, number)
    assert refused
    live = (await storage.live_in(DEFAULT_PROJECT)).timers
    assert live <= most
    # What was refused was refused for a reason: not much room was left.
    assert live > most - 15
    assert set(await due(storage)) <= set(written)


async def give_limit(storage: Storage, most: int | None) -> None:
    await storage.change_project(DEFAULT_PROJECT, {"max_live_timers": most})


async def mark_all(storage: Storage, size: int = 2) -> int:
    count, after = 0, None
    while True:
        marked = await storage.mark_counted(DEFAULT_PROJECT, after, size)
        count += marked.count
        if marked.next is None:
            return count
        after = marked.next


async def with_a_result(storage: Storage) -> TimerId:
    """End a timer, and have its result written."""
    timer, result = new_timer(), new_timer()
    await storage.create([timer], NOW)
    claim = (await claimed(storage, timer.id)).claim
    done: Completed = replace(completed(timer.id, claim), result=result)
    await storage.settle([done], SOON)
    return result.id


async def test_timers_that_were_there_come_to_count(storage: Storage) -> None:
    plain = [new_timer(created_at=NOW - seconds(9 - place)) for place in range(5)]
    await storage.create(plain, NOW)
    await storage.create([replace(new_timer(), project=OTHER)], NOW)
    await storage.cancel(plain[0].id, NOW)
    await with_a_result(storage)
    made = plan(schedule_of(schedule_spec(EVERY_MINUTE)), CALENDAR, NOW)
    await storage.create_schedule(made.schedule, made.occurrences, NOW)
    assert await storage.unmarked_projects() == []
    await give_limit(storage, 5)
    assert await storage.unmarked_projects() == [DEFAULT_PROJECT]
    assert not await refuses(storage, NOW, most=5)
    assert await mark_all(storage) == 4
    assert await storage.unmarked_projects() == []
    assert await refuses(storage, NOW, most=5)
    assert await mark_all(storage) == 0


async def test_a_project_is_looked_through_again_once_it_has_another_limit(
    storage: Storage,
) -> None:
    await give_limit(storage, 5)
    await mark_all(storage)
    await storage.change_project(DEFAULT_PROJECT, {"allowed_hosts": ("example.com",)})
    assert await storage.unmarked_projects() == []
    await give_limit(storage, None)
    assert await storage.unmarked_projects() == []
    await give_limit(storage, 5)
    assert await storage.unmarked_projects() == [DEFAULT_PROJECT]


async def test_what_a_page_marks_counts_at_once(storage: Storage) -> None:
    timers = [new_timer(created_at=NOW - seconds(9 - place)) for place in range(3)]
    await storage.create(timers, NOW)
    await storage.create(counted(most=4), NOW)
    assert (await storage.mark_counted(DEFAULT_PROJECT, None, 3)).count == 3
    assert await refuses(storage, NOW, most=4)


async def test_a_locked_timer_is_left_out(storage: Storage, stranger: Stranger) -> None:
    timers = [new_timer() for _ in range(3)]
    await storage.create(timers, NOW)
    stranger.lock([timers[1].id])
    assert await mark_all(storage) == 2
    stranger.unlock()
    assert await mark_all(storage) == 1


async def test_heartbeat_reads_the_limit_of_the_default_project(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    await give_limit(storage, 5)
    settings = (await storage.beat(ALICE)).default_settings
    assert settings is not None
    assert settings.max_live_timers == 5


async def test_forgotten_project_leaves_no_count(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    shop = (await postgres.create_project("shop", NOW)).id
    await postgres.create(counted(project=shop), NOW)
    await postgres.close_project(shop, NOW)
    await postgres.delete_project(shop)
    await postgres.forget_project(shop)
    assert sql.execute("SELECT * FROM project_quotas").fetchall() == []


async def test_plain_timers_have_no_mark_and_count_nothing(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.create([new_timer()], NOW)
    await postgres.create_many([new_timer()], NOW)
    await postgres.create_keyed([keyed("k")], NOW)
    await postgres.create_named([replace(new_timer(), key="a")], {}, NOW)
    marks: Sequence[object] = sql.execute("SELECT DISTINCT is_counted FROM timers").fetchall()
    assert marks == [(None,)]
    assert sql.execute("SELECT * FROM project_quotas").fetchall() == []
