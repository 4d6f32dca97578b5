"""Many timers are written at once, and the names that some of them have with them: all or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import psycopg
import pytest
import trio

from tests.contract.timers import LATER, NOW, SOON, due, new_timer, took_name
from timer_trio.domain.errors import ContentionError, RowRefusedError
from timer_trio.domain.keys import HeldName
from timer_trio.domain.timer import NewTimer, Status, TimerId
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage

NOTHING: Mapping[str, TimerId] = {}


def named(*keys: str | None) -> list[NewTimer]:
    return [replace(new_timer(), key=key) for key in keys]


async def live(storage: Storage, key: str, before: TimerId | None = None) -> TimerId:
    (timer,) = named(key)
    assert await took_name(storage, timer, before, NOW)
    return timer.id


async def ended(storage: Storage, key: str) -> TimerId:
    timer_id = await live(storage, key)
    await storage.cancel(timer_id, NOW)
    return timer_id


async def held(storage: Storage, *keys: str) -> dict[str, TimerId]:
    return {key: name.timer_id for key, name in (await storage.held_names(keys)).items()}


def ids(timers: Sequence[NewTimer]) -> list[TimerId]:
    return sorted(timer.id for timer in timers)


async def test_it_is_read_what_names_stand_for(storage: Storage) -> None:
    pending, canceled = await live(storage, "a"), await ended(storage, "b")
    found = await storage.held_names(["a", "b", "c", "A"])
    assert found == {
        "a": HeldName(pending, Status.PENDING),
        "b": HeldName(canceled, Status.CANCELED),
    }
    assert [found[key].is_live for key in "ab"] == [True, False]
    assert not HeldName(pending, None).is_live
    assert await storage.held_names([]) == {}


async def test_many_take_their_names_and_plain_ones_are_written_with_them(storage: Storage) -> None:
    timers = named("b", None, "a", None)
    assert await storage.create_named(timers, NOTHING, SOON)
    assert await due(storage) == ids(timers)
    assert [(await storage.get(timer.id)).key for timer in timers] == ["b", None, "a", None]
    assert [(await storage.get(timer.id)).spec for timer in timers] == [t.spec for t in timers]
    assert await held(storage, "a", "b") == {"b": timers[0].id, "a": timers[2].id}


async def test_names_of_those_that_ended_are_taken_over_with_free_ones(storage: Storage) -> None:
    before = {key: await ended(storage, key) for key in "bd"}
    timers = named("a", "b", "c", "d")
    assert await storage.create_named(timers, before, SOON)
    assert await held(storage, *"abcd") == {str(timer.key): timer.id for timer in timers}
    assert await due(storage) == ids(timers)


@pytest.mark.parametrize("keys", ["abc", "bca", "cab"])
@pytest.mark.parametrize("is_known", [True, False])
async def test_one_name_that_a_live_timer_has_keeps_all_out(
    storage: Storage, keys: str, *, is_known: bool
) -> None:
    before = {"c": await ended(storage, "c")}
    holder = await live(storage, "b")
    known = {**before, "b": holder} if is_known else before
    assert not await storage.create_named(named(*keys, None), known, SOON)
    assert await due(storage) == [holder]
    assert await held(storage, *"abc") == {"b": holder, **before}
    assert await storage.create_named(named("a", "c"), before, SOON)


async def test_one_name_that_stands_for_another_by_now_keeps_all_out(storage: Storage) -> None:
    first = await ended(storage, "a")
    second = await live(storage, "a", first)
    await storage.cancel(second, SOON)
    for known in ({"a": first}, NOTHING):
        assert not await storage.create_named(named("b", "a"), known, SOON)
    assert await due(storage) == []
    assert await held(storage, "a", "b") == {"a": second}
    assert await storage.create_named(named("b", "a"), {"a": second}, SOON)


async def test_the_same_call_again_has_the_same_answer(storage: Storage) -> None:
    first = named("a", None, "b")
    for now in (NOW, SOON):
        assert await storage.create_named(first, NOTHING, now)
    for timer in first:
        await storage.cancel(timer.id, SOON)
    assert await storage.create_named(first, NOTHING, LATER)
    assert await due(storage) == []
    second = named("a", "b")
    assert await storage.create_named(second, {"a": first[0].id, "b": first[2].id}, SOON)
    assert await storage.create_named(first, NOTHING, LATER)
    assert await due(storage) == ids(second)


async def test_one_that_is_refused_keeps_all_out(storage: Storage) -> None:
    bad = replace(new_timer(metadata={"a": "\0"}), key="b")
    with pytest.raises(RowRefusedError):
        await storage.create_named([*named("a"), bad], NOTHING, NOW)
    assert await storage.held_names(["a", "b"]) == {}
    assert await due(storage) == []


RINGS = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "a"))
"""Each has one name with the next, so that they meet in every order."""


async def test_of_many_that_share_names_some_get_all_and_the_others_none(
    storage: Storage, request: pytest.FixtureRequest
) -> None:
    won: list[list[NewTimer]] = []
    async with AsyncExitStack() as stack:
        storages = [storage]
        if isinstance(storage, PostgresStorage):
            url = request.getfixturevalue("storage_url")
            storages += [
                await stack.enter_async_context(PostgresStorage(url, pool_size=4)) for _ in range(3)
            ]

        async def take(number: int) -> None:
            keys = RINGS[number % len(RINGS)]
            timers = named(*(keys if number % 2 else reversed(keys)), None)
            while True:
                try:
                    got = await storages[number % len(storages)].create_named(timers, NOTHING, NOW)
                except ContentionError:
                    continue
                if got:
                    won.append(timers)
                return

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(take, number)
    assert 1 <= len(won) <= 2
    winners = [timer for timers in won for timer in timers]
    assert await due(storage) == ids(winners)
    stands = {timer.key: timer.id for timer in winners if timer.key}
    assert len(stands) == 2 * len(won)
    assert await held(storage, *"abcde") == stands


async def answer_once_committed(
    storage: Storage,
    timers: Sequence[NewTimer],
    before: Mapping[str, TimerId],
    other: psycopg.Connection,
    sql: psycopg.Connection,
) -> bool:
    """Answer a create that waits for another transaction, which then commits."""
    answers: list[bool] = []

    async def create() -> None:
        answers.append(await storage.create_named(timers, before, SOON))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while not answers and sql.execute(query).fetchall()[0][0] == 0:  # noqa: ASYNC110 - no event tells
            await trio.sleep(0.002)
        other.commit()
    return answers[0]


async def test_many_wait_for_their_own_earlier_statement(
    postgres: PostgresStorage, clean_database_url: str, sql: psycopg.Connection
) -> None:
    timers = named("a", None, "b")
    await postgres.create_named(timers, NOTHING, NOW)
    with psycopg.connect(clean_database_url) as other:
        # As if the statement of a lost connection were still under way.
        other.execute("CREATE TEMPORARY TABLE keys_before AS TABLE timer_keys")
        other.execute("CREATE TEMPORARY TABLE before AS TABLE timers")
        other.execute("DELETE FROM timer_keys")
        other.execute("DELETE FROM timers")
        other.commit()
        other.execute("INSERT INTO timer_keys TABLE keys_before")
        other.execute("INSERT INTO timers TABLE before")
        assert await answer_once_committed(postgres, timers, NOTHING, other, sql)
    assert await due(postgres) == ids(timers)
    assert await held(postgres, "a", "b") == {"a": timers[0].id, "b": timers[2].id}


async def test_a_timer_that_comes_to_life_meanwhile_keeps_its_name(
    postgres: PostgresStorage, clean_database_url: str, sql: psycopg.Connection
) -> None:
    """As by a redrive that has the row when its name is to be taken over."""
    before = {"a": await ended(postgres, "a")}
    with psycopg.connect(clean_database_url) as other:
        other.execute("UPDATE timers SET status = 'pending', due_at = execute_at")
        assert not await answer_once_committed(postgres, named("b", "a"), before, other, sql)
    assert await held(postgres, "a", "b") == before
    assert await due(postgres) == [before["a"]]
