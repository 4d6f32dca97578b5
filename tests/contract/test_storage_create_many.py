from __future__ import annotations

import psycopg
import pytest
import trio

from tests.contract.test_storage_create import ODD, REFUSED
from tests.contract.timers import NOW, SOON, due, new_timer
from timer_trio.callback_url import read_url
from timer_trio.domain.errors import ContentionError, RowRefusedError
from timer_trio.domain.timer import JsonText, SpecChange
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.rows import ROW_CHARACTERS, SLICE_CHARACTERS

ODDER: list[SpecChange] = [
    {"callback_payload": JsonText('{\n\t"a": "\\\\N\\t",\r\n"b": "\\\\."}')},
    {"callback_payload": JsonText("")},
    {"callback_url": read_url("https://example.com/\\N?a=\\.&b=\\t")},
    {"metadata": {"\\N\t": "\n\\"}},
    {"callback_headers": {"X-A": "\\N\t\\\\"}},
]


@pytest.mark.parametrize("changes", ODD + ODDER, ids=str)
async def test_many_are_written_as_each_alone(storage: Storage, changes: SpecChange) -> None:
    alone, one_of_many = new_timer(**changes), new_timer(**changes)
    await storage.create([alone], SOON)
    await storage.create_many([new_timer(), one_of_many, new_timer()], SOON)
    written, expected = await storage.get(one_of_many.id), await storage.get(alone.id)
    assert written.spec == expected.spec == one_of_many.spec
    assert (written.created_at, written.updated_at) == (NOW, SOON)
    assert (written.status, written.attempt) == (expected.status, expected.attempt)
    assert one_of_many.id in await due(storage, until=max(written.spec.execute_at, NOW))


async def test_more_than_a_slice_is_written_whole(storage: Storage) -> None:
    timers = [new_timer() for _ in range(2 * SLICE_CHARACTERS // ROW_CHARACTERS)]
    await storage.create_many(timers, NOW)
    assert await due(storage) == sorted(timer.id for timer in timers)


async def test_writing_none_does_nothing(storage: Storage) -> None:
    await storage.create_many([], NOW)
    assert await due(storage) == []


async def test_the_same_many_again_change_nothing(storage: Storage) -> None:
    timers = [new_timer() for _ in range(3)]
    await storage.create_many(timers, NOW)
    await storage.cancel(timers[1].id, SOON)
    before = [await storage.get(timer.id) for timer in timers]
    await storage.create_many(timers, SOON)
    assert [await storage.get(timer.id) for timer in timers] == before


@pytest.mark.parametrize("changes", REFUSED, ids=",".join)
async def test_one_bad_row_keeps_all_of_many_out(storage: Storage, changes: SpecChange) -> None:
    good = [new_timer(), new_timer()]
    with pytest.raises(RowRefusedError) as refusal:
        await storage.create_many([good[0], new_timer(**changes), good[1]], NOW)
    assert "COPY" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert await due(storage) == []
    await storage.create_many(good, NOW)
    assert len(await due(storage)) == 2


async def test_many_that_meet_a_strange_id_are_refused(storage: Storage) -> None:
    strange = new_timer()
    await storage.create([strange], NOW)
    with pytest.raises(RowRefusedError):
        await storage.create_many([new_timer(), strange], NOW)
    assert await due(storage) == [strange.id]


async def test_many_wait_for_their_own_earlier_statement(
    postgres: PostgresStorage, clean_database_url: str, sql: psycopg.Connection
) -> None:
    timers = [new_timer(), new_timer()]
    await postgres.create_many(timers, NOW)
    with psycopg.connect(clean_database_url) as other:
        # As if the statement of a lost connection were still under way.
        other.execute("CREATE TEMPORARY TABLE before AS TABLE timers")
        other.execute("DELETE FROM timers")
        other.commit()
        other.execute("INSERT INTO timers TABLE before")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(postgres.create_many, timers, SOON)
            await _waiting(sql)
            other.commit()
        assert await due(postgres) == sorted(timer.id for timer in timers)
        other.execute("DELETE FROM timers")
        with pytest.raises(ContentionError):
            await postgres.create_many(timers, SOON)


async def _waiting(sql: psycopg.Connection) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with trio.fail_after(5):
        while sql.execute(query).fetchall()[0][0] == 0:  # noqa: ASYNC110 - no event tells
            await trio.sleep(0.002)
