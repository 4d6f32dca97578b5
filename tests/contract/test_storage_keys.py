"""An idempotency key stands for its first request, and for that alone."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import trio

from tests.contract.timers import NOW, due, keyed, new_timer, seconds
from timer_trio.domain.errors import ContentionError, RowRefusedError
from timer_trio.domain.keys import IDEMPOTENCY_PERIOD, FirstAnswer, KeyedCreate
from timer_trio.domain.query import TimerQuery
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.queries import QUERIES

EXPIRY = NOW + IDEMPOTENCY_PERIOD
INSTANT = seconds(0.000001)


async def total(storage: Storage) -> int | None:
    return (await storage.list(TimerQuery())).total


async def test_a_free_key_is_given_to_its_timers(storage: Storage) -> None:
    one, many = keyed("one"), keyed("many", *(new_timer() for _ in range(3)), data="[]")
    assert await storage.create_keyed([one, many], NOW) == [one.answer, many.answer]
    assert sorted(await due(storage)) == sorted(one.answer.timer_ids + many.answer.timer_ids)
    assert (await storage.get(many.timers[2].id)).spec == many.timers[2].spec
    assert await storage.first_answer("one", NOW) == one.answer
    assert await storage.first_answer("many", NOW) == many.answer
    assert await storage.first_answer("none", NOW) is None


async def test_nothing_is_written_under_a_key_that_stands_for_something_else(
    storage: Storage,
) -> None:
    first, other = keyed("k"), keyed("l")
    await storage.create_keyed([first], NOW)
    later = keyed("k", fingerprint=b"another", data="null")
    answers = await storage.create_keyed([other, later], NOW + seconds(1))
    assert answers == [other.answer, first.answer]
    assert sorted(await due(storage)) == sorted(first.answer.timer_ids + other.answer.timer_ids)


async def test_the_same_call_again_has_the_same_answer(storage: Storage) -> None:
    creates = [keyed("b"), keyed("a", new_timer(), new_timer())]
    answers = await storage.create_keyed(creates, NOW)
    await storage.cancel(creates[0].timers[0].id, NOW)
    assert await storage.create_keyed(creates, NOW + seconds(1)) == answers
    assert await total(storage) == 3
    assert len(await due(storage)) == 2


async def test_no_keys_make_nothing(storage: Storage) -> None:
    assert await storage.create_keyed([], NOW) == []


async def test_a_key_is_free_again_once_it_has_expired(storage: Storage) -> None:
    first, second = keyed("k"), keyed("k", fingerprint=b"another")
    await storage.create_keyed([first], NOW)
    before = EXPIRY - INSTANT
    assert await storage.create_keyed([second], before) == [first.answer]
    assert await storage.first_answer("k", before) == first.answer
    assert await storage.first_answer("k", EXPIRY) is None
    assert await storage.create_keyed([second], EXPIRY) == [second.answer]
    assert await storage.first_answer("k", EXPIRY + IDEMPOTENCY_PERIOD - INSTANT) == second.answer
    assert await total(storage) == 2


async def test_what_is_refused_takes_no_key(storage: Storage) -> None:
    good, bad = keyed("good"), keyed("bad", new_timer(), new_timer(metadata={"a": "\0"}))
    with pytest.raises(RowRefusedError):
        await storage.create_keyed([good, bad], NOW)
    assert await storage.first_answer("good", NOW) is None
    assert await storage.first_answer("bad", NOW) is None
    assert await total(storage) == 0


async def test_keys_are_told_apart_by_every_character(storage: Storage) -> None:
    creates = [keyed(key) for key in ("a", "A", "a%s", "a'", "~" * 255, "ä")]
    assert await storage.create_keyed(creates, NOW) == [each.answer for each in creates]
    assert await storage.first_answer("~" * 255, NOW) == creates[4].answer


async def test_expired_keys_are_deleted_page_by_page(storage: Storage) -> None:
    await storage.create_keyed([keyed(str(n)) for n in range(5)], NOW)
    await storage.create_keyed([keyed("new")], NOW + seconds(1))
    assert await storage.prune_keys(EXPIRY - INSTANT, 10) == 0
    assert await storage.prune_keys(EXPIRY, 3) == 3
    assert await storage.prune_keys(EXPIRY, 3) == 2
    assert await storage.first_answer("new", EXPIRY) is not None
    assert await total(storage) == 6


async def test_one_of_many_at_once_gets_a_key(storage: Storage) -> None:
    creates = [keyed("k") for _ in range(20)]
    answers: list[FirstAnswer] = []

    async def create(mine: KeyedCreate) -> None:
        while True:
            try:
                answers.extend(await storage.create_keyed([keyed(f"{len(answers)}"), mine], NOW))
            except ContentionError:
                await trio.sleep(0.01)
            else:
                return

    async with trio.open_nursery() as nursery:
        for mine in creates:
            nursery.start_soon(create, mine)
    first = await storage.first_answer("k", NOW)
    assert [answer for answer in answers if answer == first] == [first] * 20
    made = [each for each in await due(storage) if each in {c.timers[0].id for c in creates}]
    assert first is not None
    assert made == [*first.timer_ids]


@pytest.fixture
def other(clean_database_url: str) -> Iterator[psycopg.Connection]:
    """A stranger's session, whose transactions stay open until they are told."""
    with psycopg.connect(clean_database_url) as connection:
        yield connection


async def test_an_expired_key_that_somebody_holds_is_left_for_another_time(
    postgres: PostgresStorage, other: psycopg.Connection
) -> None:
    await postgres.create_keyed([keyed("held"), keyed("free")], NOW)
    with other.transaction():
        other.execute("SELECT FROM timer_keys WHERE key = 'held' FOR UPDATE")
        assert await postgres.prune_keys(EXPIRY, 10) == 1
    assert await postgres.prune_keys(EXPIRY, 10) == 1


async def test_a_key_that_is_pruned_between_write_and_read_is_asked_for_again(
    postgres: PostgresStorage, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await postgres.create_keyed([keyed("k")], NOW)
    again = keyed("k")
    with monkeypatch.context() as patch:
        gone = QUERIES["first_answers"].replace(b"k.project =", b"k.project = 1 +")
        patch.setitem(QUERIES, "first_answers", gone)
        with pytest.raises(ContentionError):
            await postgres.create_keyed([again], NOW)
    sql.execute("DELETE FROM timer_keys")
    assert await postgres.create_keyed([again], NOW) == [again.answer]


async def test_expired_keys_are_found_by_their_index_whatever_the_statistics_say(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.create_keyed([keyed(str(n)) for n in range(50)], NOW)
    explain = b"EXPLAIN " + QUERIES["prune_keys"]
    for statistics in ("", "ANALYZE timer_keys"):
        sql.execute(statistics)
        rows = await postgres._stages.run(
            lambda connection: connection.execute(
                explain, {"now": EXPIRY, "limit": 10}, prepare=False
            ).fetchall()
        )
        plan = "\n".join(row["QUERY PLAN"] for row in rows)
        assert "timer_keys_expires" in plan, plan
        assert "Tid Scan" in plan, plan
