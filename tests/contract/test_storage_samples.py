"""A sample tells of the latest timers of each span, and of no other project's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from tests.contract.timers import ALICE, FIRST, NOW, claimed, completed, created, failed, seconds
from timer_trio.domain.project import ProjectId
from timer_trio.domain.sample import NOTHING, Sample, Span
from timer_trio.domain.timer import Claim, Status
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.queries import QUERIES

MINUTE = Span(NOW, NOW + seconds(60), 100)


async def sample(storage: Storage, span: Span = MINUTE) -> Sample:
    (found,) = await storage.samples([span])
    return found


async def ended(storage: Storage, number: int, *, late_s: float, attempts: int = 1) -> None:
    """Have a timer end that was sent so late, once or after it was redriven."""
    timer_id = await created(storage, execute_at=NOW)
    for attempt in range(attempts):
        claim = Claim(FIRST + 2 * number + attempt)
        await claimed(storage, timer_id, ALICE, claim)
        await storage.settle([completed(timer_id, claim, NOW + seconds(late_s))], NOW)
        if attempt + 1 < attempts:
            await storage.redrive(timer_id, NOW, NOW)


async def test_nothing_is_seen_where_nothing_is(storage: Storage) -> None:
    assert await storage.samples([]) == []
    assert await storage.samples([MINUTE, MINUTE]) == [NOTHING, NOTHING]


async def test_spans_hold_their_beginning_and_not_their_end(storage: Storage) -> None:
    await created(storage, execute_at=NOW)
    await created(storage, execute_at=NOW + seconds(60))
    whole = Span(NOW, NOW + seconds(61), 100)
    before = Span(NOW - seconds(60), NOW, 100)
    found = await storage.samples([whole, before, MINUTE])
    assert [each.seen for each in found] == [2, 0, 1]


async def test_statuses_are_counted(storage: Storage) -> None:
    await created(storage, execute_at=NOW)
    lost = await created(storage, execute_at=NOW)
    await claimed(storage, lost)
    await storage.settle([failed(lost)], NOW)
    gone = await created(storage, execute_at=NOW)
    await storage.cancel(gone, NOW)
    await claimed(storage, await created(storage, execute_at=NOW), ALICE, Claim(FIRST + 1))
    assert (await sample(storage)).counts == {
        Status.PENDING: 1,
        Status.FAILED: 1,
        Status.CANCELED: 1,
        Status.EXECUTING: 1,
    }


async def test_no_more_than_the_latest_are_looked_at(storage: Storage) -> None:
    for late in range(5):
        await created(storage, execute_at=NOW + seconds(late))
    gone = await created(storage, execute_at=NOW + seconds(9))
    await storage.cancel(gone, NOW)
    span = Span(NOW, NOW + seconds(60), 2)
    found = await sample(storage, span)
    assert found.counts == {Status.CANCELED: 1, Status.PENDING: 1}
    assert not found.is_whole(span)
    assert (await sample(storage)).is_whole(MINUTE)


async def test_lateness_is_told_by_its_shares(storage: Storage) -> None:
    assert (await sample(storage)).late_s is None
    for number, late_s in enumerate((0.004, 0.001, 0.003, 2.5, 0.002)):
        await ended(storage, number, late_s=late_s)
    assert (await sample(storage)).late_s == (0.003, 2.5)


async def test_what_was_sent_again_is_not_late(storage: Storage) -> None:
    await ended(storage, 0, late_s=0.25)
    await ended(storage, 1, late_s=900, attempts=2)
    assert (await sample(storage)).late_s == (0.25, 0.25)


async def test_what_was_created_late_is_late_from_then_on(storage: Storage) -> None:
    span = Span(NOW - seconds(60), NOW, 100)
    timer_id = await created(storage, execute_at=NOW - seconds(30))
    await claimed(storage, timer_id)
    await storage.settle([completed(timer_id, FIRST, NOW + seconds(0.125))], NOW)
    assert (await sample(storage, span)).late_s == (0.125, 0.125)


async def test_nobody_sees_the_timers_of_another_project(
    storage: Storage, set_project: Callable[[ProjectId], None]
) -> None:
    await created(storage, execute_at=NOW)
    set_project(ProjectId(7))
    assert await sample(storage) == NOTHING
    (theirs,) = await storage.samples([MINUTE], ProjectId(7))
    assert theirs.seen == 1


async def test_no_row_is_read_that_no_span_allows(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    for late in range(200):
        await created(postgres, execute_at=NOW + seconds(late / 10))
    sql.execute("ANALYZE timers")
    parameters = {
        "since": [NOW, NOW],
        "until": [NOW + seconds(60)] * 2,
        "most": [5, 7],
        "shares": [0.5],
        "project": 0,
    }
    with sql.transaction():
        sql.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        query = b"EXPLAIN (ANALYZE, FORMAT JSON) " + QUERIES["samples"]
        row = sql.execute(query, parameters).fetchone()
    assert row is not None
    scans = [*_scans(row[0][0]["Plan"])]
    assert [scan["Index Name"] for scan in scans] == ["timers_project_execute"]
    assert scans[0]["Actual Rows"] * scans[0]["Actual Loops"] == 12


def _scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Index Name" in plan:
        yield plan
    for part in plan.get("Plans", []):
        yield from _scans(part)
