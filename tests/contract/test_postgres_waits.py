"""A row that somebody holds is waited for, and judged by what it is afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo

from tests.contract.timers import (
    ALICE,
    BOB,
    FIRST,
    LATER,
    NOW,
    SECOND,
    SOON,
    ask,
    claimed,
    completed,
    created,
    due,
    given_back,
)
from timer_trio.domain.errors import (
    ContentionError,
    NotPendingError,
    ReplicaGoneError,
    StorageUnavailableError,
)
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage import ClaimReply, Storage, Swept
from timer_trio.storage.postgres import PostgresStorage

Connection = psycopg.Connection[Any]


@pytest.fixture
def other(clean_database_url: str) -> Iterator[Connection]:
    """A stranger's session, whose transactions stay open until they are told."""
    with psycopg.connect(clean_database_url) as connection:
        yield connection


@pytest.fixture
def observer(clean_database_url: str) -> Iterator[Connection]:
    with psycopg.connect(clean_database_url, autocommit=True) as connection:
        yield connection


async def waiting(observer: Connection, event: str = "Lock") -> None:
    """Return when a statement waits for a lock, or for something else."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE %s IN (wait_event_type, wait_event)"
    with trio.fail_after(5):
        while observer.execute(query, [event]).fetchall()[0][0] == 0:  # noqa: ASYNC110 - no event tells
            await trio.sleep(0.002)


MOVE_LATER = "UPDATE timers SET execute_at = %(later)s, due_at = %(later)s WHERE id = %(id)s"
MOVE_EARLIER = "UPDATE timers SET execute_at = %(now)s, due_at = %(now)s WHERE id = %(id)s"
CANCEL = "UPDATE timers SET status = 'canceled', due_at = NULL WHERE id = %(id)s"
CLAIM = """
    UPDATE timers SET
        status = 'executing', due_at = NULL, claim = 7, claimed_by = %(bob)s, attempt = attempt + 1
    WHERE id = %(id)s
"""
CHANGE = "UPDATE timers SET callback_payload = '2' WHERE id = %(id)s"
LOCK = "SELECT FROM timers WHERE id = %(id)s FOR UPDATE"


def begin(other: Connection, statement: str, timer_id: TimerId) -> None:
    other.execute(statement, {"id": timer_id, "now": NOW, "later": LATER, "bob": BOB})


@pytest.mark.parametrize(
    ("statement", "claimed_count", "moved_count"),
    [(MOVE_LATER, 0, 1), (CANCEL, 0, 0), (CLAIM, 0, 0), (CHANGE, 1, 0), (LOCK, 1, 0)],
    ids=["moved later", "canceled", "claimed", "changed", "only locked"],
)
async def test_a_claim_judges_a_row_by_its_newest_version(
    postgres: PostgresStorage,
    other: Connection,
    observer: Connection,
    statement: str,
    claimed_count: int,
    moved_count: int,
) -> None:
    await postgres.join(ALICE, NOW)
    before, timer_id, after = [await created(postgres) for _ in range(3)]
    replies: list[ClaimReply] = []

    async def claim() -> None:
        replies.append(await ask(postgres, [before, timer_id, after]))

    begin(other, statement, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await waiting(observer)
        other.commit()
    (reply,) = replies
    mine = [timer for timer in reply.claimed if timer.id == timer_id]
    assert len(mine) == claimed_count
    assert len(reply.moved) == moved_count
    assert len(reply.claimed) == 2 + claimed_count
    if statement is CHANGE:
        assert mine[0].spec.callback.payload == "2"
    if statement is MOVE_LATER:
        assert reply.moved[0].due_at == LATER


async def test_a_timer_moved_earlier_while_a_claim_waits_is_claimed(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres, execute_at=LATER)
    begin(other, MOVE_EARLIER, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claimed, postgres, timer_id)
        await waiting(observer)
        other.commit()
    assert (await postgres.get(timer_id)).status is Status.EXECUTING


async def test_a_claim_goes_on_when_what_it_waits_for_is_rolled_back(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    begin(other, CANCEL, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claimed, postgres, timer_id)
        await waiting(observer)
        other.rollback()
    assert (await postgres.get(timer_id)).status is Status.EXECUTING


async def update(storage: Storage, timer_id: TimerId) -> None:
    await storage.update(timer_id, {"timeout_s": 1.0}, SOON)


async def cancel(storage: Storage, timer_id: TimerId) -> None:
    await storage.cancel(timer_id, SOON)


RETRIES = """
    UPDATE timers SET
        status = 'retrying', due_at = %(later)s, next_attempt_at = %(later)s, claim = -claim,
        claimed_by = NULL, settled_attempts = attempt
    WHERE id = %(id)s
"""
GIVES_BACK = """
    UPDATE timers SET
        status = 'pending', due_at = %(later)s, claim = -claim, claimed_by = NULL, attempt = 0
    WHERE id = %(id)s
"""
FAILS = """
    UPDATE timers SET status = 'failed', claimed_by = NULL, settled_attempts = attempt
    WHERE id = %(id)s
"""
REDRIVES = """
    UPDATE timers SET status = 'pending', due_at = %(later)s, claim = -claim WHERE id = %(id)s
"""


async def move(storage: Storage, timer_id: TimerId) -> None:
    await storage.update(timer_id, {"execute_at": LATER}, SOON)


async def redrive(storage: Storage, timer_id: TimerId) -> None:
    await storage.redrive(timer_id, LATER, SOON, None)


@pytest.mark.parametrize(
    ("settlements", "statement", "verb"),
    [
        *(
            ((), change, verb)
            for change in (RETRIES, GIVES_BACK)
            for verb in (update, move, cancel)
        ),
        *(((FAILS,), REDRIVES, verb) for verb in (update, move, cancel)),
        ((), FAILS, redrive),
    ],
)
async def test_what_the_row_was_before_the_wait_is_no_hindrance(
    postgres: PostgresStorage,
    other: Connection,
    observer: Connection,
    settlements: Sequence[str],
    statement: str,
    verb: Callable[[Storage, TimerId], Awaitable[None]],
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    await claimed(postgres, timer_id)
    for each in settlements:
        begin(other, each, timer_id)
        other.commit()
    begin(other, statement, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(verb, postgres, timer_id)
        await waiting(observer)
        other.commit()
    timer = await postgres.get(timer_id)
    retries = statement is RETRIES
    status = Status.RETRYING if retries else Status.PENDING
    assert timer.status is (Status.CANCELED if verb is cancel else status)
    assert timer.next_attempt_at == (LATER if retries and verb is not cancel else None)


@pytest.mark.parametrize("change", [update, cancel])
async def test_a_change_that_waited_for_a_claim_comes_too_late(
    postgres: PostgresStorage,
    other: Connection,
    observer: Connection,
    change: Callable[[Storage, TimerId], Awaitable[None]],
) -> None:
    timer_id = await created(postgres)

    async def come_late() -> None:
        with pytest.raises(NotPendingError) as refusal:
            await change(postgres, timer_id)
        assert refusal.value.status is Status.EXECUTING

    begin(other, CLAIM, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_late)
        await waiting(observer)
        other.commit()
    assert (await postgres.get(timer_id)).spec.callback.timeout_s == 30.0


async def test_an_update_keeps_what_another_changed_while_it_waited(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    timer_id = await created(postgres)
    begin(other, CHANGE, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(update, postgres, timer_id)
        await waiting(observer)
        other.commit()
    callback = (await postgres.get(timer_id)).spec.callback
    assert (callback.payload, callback.timeout_s) == ("2", 1.0)


async def test_a_settle_that_waited_judges_by_the_newest_claim(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    timer_id, unheld = await created(postgres), await created(postgres)
    await postgres.join(ALICE, NOW)
    await ask(postgres, [timer_id, unheld])
    await postgres.sweep(ALICE, None, SOON)

    async def settle() -> None:
        answers = await postgres.settle([completed(timer_id), given_back(unheld)], SOON)
        assert list(answers) == [False, True]

    begin(other, CLAIM, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(settle)
        await waiting(observer)
        other.commit()
    assert (await postgres.get(timer_id)).status is Status.EXECUTING


async def test_a_sweep_sees_what_was_claimed_while_it_waited(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    timer_id = await created(postgres)
    await postgres.join(BOB, NOW)
    other.execute("SELECT FROM replicas WHERE id = %s FOR KEY SHARE", [BOB])
    begin(other, CLAIM, timer_id)
    freed: list[Swept | None] = []

    async def sweep() -> None:
        freed.append(await postgres.sweep(BOB, None, SOON))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep)
        await waiting(observer)
        other.commit()
    assert freed == [Swept(freed=1)]
    assert await due(postgres) == [timer_id]


async def test_a_sweep_ends_without_another_word_of_who_began_it(
    postgres: PostgresStorage,
    other: Connection,
    observer: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So who is frozen in the middle of it holds no lock."""
    timer_id = await created(postgres)
    await claimed(postgres, timer_id)
    used: list[socket.socket] = []
    connect = postgres._heartbeat._connect

    def noted() -> Any:
        connection = connect()
        used.append(socket.socket(fileno=os.dup(connection.fileno())))
        return connection

    monkeypatch.setattr(postgres._heartbeat, "_connect", noted)
    postgres._heartbeat._drop_idle()
    other.execute("SELECT FROM replicas WHERE id = %s FOR KEY SHARE", [ALICE])

    async def sweep() -> None:
        with pytest.raises(StorageUnavailableError):
            await postgres.sweep(ALICE, None, SOON)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep)
        await waiting(observer)
        used[0].shutdown(socket.SHUT_RDWR)
        used[0].close()
        other.commit()
    with trio.fail_after(5):
        while observer.execute("SELECT FROM replicas").fetchall():  # noqa: ASYNC110 - as above
            await trio.sleep(0.002)
    assert await due(postgres) == [timer_id]


@pytest.fixture
def half_read(clean_database_url: str) -> Iterator[Connection]:
    """A session of the service that will not read on, as if it were frozen."""
    conninfo = make_conninfo(clean_database_url, application_name="timer-trio")
    with closing(psycopg.connect(conninfo, autocommit=True)) as connection:
        yield connection


async def begin_half_read(half_read: Connection, observer: Connection, timer_id: TimerId) -> None:
    """Claim a timer, with an answer that is more than any buffer takes."""
    fat_claim = f"""
        WITH
            me AS (SELECT id FROM replicas WHERE id = %(bob)s FOR KEY SHARE),
            taken AS ({CLAIM} RETURNING id)
        SELECT repeat('x', 1000) FROM me, taken, generate_series(1, 20000)
    """  # noqa: S608 - a statement of this page
    quoted = {"bob": f"'{BOB}'", "id": f"'{timer_id}'"}
    half_read.pgconn.send_query((fat_claim % quoted).encode())
    await waiting(observer, "ClientWrite")


async def test_a_sweep_ends_a_claim_whose_answer_is_not_read(
    postgres: PostgresStorage,
    half_read: Connection,
    observer: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("timer_trio.storage.postgres.replicas.UNREAD_S", 0.0)
    timer_id = await created(postgres)
    await postgres.join(BOB, NOW)
    await begin_half_read(half_read, observer, timer_id)
    assert await postgres.sweep(BOB, 0, SOON) == Swept(freed=0)
    assert await due(postgres) == [timer_id]
    await claimed(postgres, timer_id)


async def test_a_sweep_leaves_an_answer_alone_that_has_just_begun(
    postgres: PostgresStorage, half_read: Connection, observer: Connection
) -> None:
    timer_id = await created(postgres)
    await postgres.join(BOB, NOW)
    await postgres.join(ALICE, NOW)
    await begin_half_read(half_read, observer, timer_id)
    assert await postgres.sweep(ALICE, 0, SOON) == Swept(freed=0)
    while half_read.pgconn.get_result():
        pass
    assert (await postgres.get(timer_id)).status is Status.EXECUTING


async def test_a_claim_that_waited_for_a_sweep_takes_nothing(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    timer_id = await created(postgres)
    await postgres.join(ALICE, NOW)
    other.execute("SELECT FROM replicas WHERE id = %s FOR UPDATE", [ALICE])
    other.execute("DELETE FROM replicas WHERE id = %s", [ALICE])

    async def claim() -> None:
        with pytest.raises(ReplicaGoneError):
            await ask(postgres, [timer_id])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await waiting(observer)
        other.commit()
    assert await due(postgres) == [timer_id]


async def test_a_sweep_that_waited_for_a_beat_sweeps_nobody(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    other.execute("UPDATE replicas SET counter = counter + 1 WHERE id = %s", [ALICE])

    async def sweep() -> None:
        assert await postgres.sweep(ALICE, 0, SOON) is None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep)
        await waiting(observer)
        other.commit()
    assert ALICE in (await postgres.beat(ALICE)).counters


async def test_a_claim_in_flight_does_not_hold_up_a_beat(
    postgres: PostgresStorage, other: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    other.execute("SELECT FROM replicas WHERE id = %s FOR KEY SHARE", [ALICE])
    assert (await postgres.beat(ALICE)).counters[ALICE] == 1


async def test_a_row_held_too_long_is_contention_and_nothing_is_done(
    postgres: PostgresStorage, other: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id, free = await created(postgres), await created(postgres)
    begin(other, LOCK, timer_id)
    with pytest.raises(ContentionError):
        await ask(postgres, [free, timer_id])
    assert await due(postgres) == sorted([timer_id, free])
    other.rollback()
    assert len((await ask(postgres, [free, timer_id])).claimed) == 2


async def test_a_connection_cut_while_it_waits_is_an_unknown_outcome(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)

    async def claim() -> None:
        with pytest.raises(StorageUnavailableError):
            await ask(postgres, [timer_id], claim=FIRST)

    begin(other, LOCK, timer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await waiting(observer)
        observer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )
    other.rollback()
    assert len((await ask(postgres, [timer_id], claim=SECOND)).claimed) == 1


OWN_CLAIM = """
    UPDATE timers SET
        status = 'executing', due_at = NULL, claim = %(claim)s, claimed_by = %(alice)s, attempt = 1
    WHERE id = %(id)s
"""


async def test_a_claim_that_waits_for_its_own_first_copy_finds_what_that_took(
    postgres: PostgresStorage, other: Connection, observer: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    replies: list[ClaimReply] = []

    async def claim() -> None:
        replies.append(await ask(postgres, [timer_id]))

    other.execute(OWN_CLAIM, {"id": timer_id, "alice": ALICE, "claim": FIRST})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await waiting(observer)
        other.commit()
    (timer,) = replies[0].claimed
    assert timer.attempt == 1
