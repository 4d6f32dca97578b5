"""Rows that a stranger's session locks: they wait alone, and the log says for whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo

from tests.acceptance.receiver import ReceiverProcess, percentile
from tests.acceptance.service import Service

pytestmark = pytest.mark.timed

HEALTHY: Final = 200
LEAD_S: Final = 1.5
LATE_MS: Final = 50.0
UNLOCKED_WITHIN_S: Final = 1.5
"""A pause of a second, a look and a claim."""

Connection = psycopg.Connection[Any]


@pytest.fixture
def stranger(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(make_conninfo(database_url, application_name="psql")) as connection:
        yield connection


async def test_two_locked_rows_delay_nobody_else_and_their_session_is_named(
    served: Service, receiver: ReceiverProcess, stranger: Connection
) -> None:
    due_at = trio.current_time() + LEAD_S
    locked = await served.consumer.create_batch(
        [due_at, due_at + 0.5], callback_url=receiver.url("/locked")
    )
    healthy = await served.consumer.create_batch(
        [due_at + i / 50 for i in range(HEALTHY)], callback_url=receiver.url("/healthy")
    )
    stranger.execute("SELECT FROM timers WHERE id = ANY(%s) FOR UPDATE", [[*locked]])
    await receiver.wait_fired(healthy)
    late_ms = [arrival.late_ms for arrival in receiver.arrivals]
    machine = percentile(receiver.wakes_late_ms, 0.99)
    p50, p99 = percentile(late_ms, 0.5), percentile(late_ms, 0.99)
    print(f"late p50 {p50:.1f}, p99 {p99:.1f} ms; the machine {machine:.1f} ms")  # noqa: T201 - for pytest -s
    assert receiver.times_fired == dict.fromkeys(healthy, 1)
    assert min(late_ms) >= 0
    assert p99 <= LATE_MS + machine
    (line,) = served.logged("rows_locked")
    assert line["holders"][0]["pid"] == stranger.info.backend_pid
    assert line["holders"][0]["application_name"] == "psql"
    assert line["timer_id"] in locked
    unlocked_at = trio.current_time()
    stranger.commit()
    await receiver.wait_fired(locked)
    assert trio.current_time() - unlocked_at <= UNLOCKED_WITHIN_S
    await served.consumer.wait_ended()
    assert receiver.times_fired == dict.fromkeys(healthy | locked, 1)


async def test_a_locked_row_of_what_was_sent_holds_up_no_other_outcome(
    served: Service, receiver: ReceiverProcess, stranger: Connection
) -> None:
    slow = await served.consumer.create(delay=0.1, callback_url=receiver.url("/slow/0.5"))
    await receiver.wait_fired([slow])
    stranger.execute("SELECT FROM timers WHERE id = %s FOR UPDATE", [slow])
    others = await served.consumer.create_batch(
        [trio.current_time() + 0.3 + i / 50 for i in range(50)], callback_url=receiver.url()
    )
    await receiver.wait_fired(others)
    await trio.sleep(0.5)
    assert (await served.consumer.get(slow))["status"] == "executing"
    for timer_id in others:
        assert (await served.consumer.get(timer_id))["status"] == "completed"
    stranger.commit()
    await served.consumer.wait_ended()
    assert (await served.consumer.get(slow))["status"] == "completed"
