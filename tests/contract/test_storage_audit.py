"""What was done is told to its project, the newest first, page by page, until it is old."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from tests.audit import KEY, entry
from tests.contract.timers import NOW, seconds
from timer_trio.domain.audit import OF_SERVICE, Action, AuditEntry, AuditQuery
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.timer import JsonText
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.audit import _page_statement

SHOP = ProjectId(7)


async def told(storage: Storage, **asked: Any) -> list[AuditEntry]:
    return [*(await storage.audit(AuditQuery(**asked))).entries]


async def test_entry_is_read_as_it_was_written(storage: Storage) -> None:
    whole = entry(1, count=2**40, details=JsonText('{"a": ["ä", "\\u0000", "\\ud800"]}'))
    bare = entry(2, at=NOW - seconds(1), key_id=None, address=None, target=None)
    await storage.write_audit([bare, whole])
    assert await told(storage) == [whole, bare]


async def test_nothing_is_written_of_nothing(storage: Storage) -> None:
    await storage.write_audit([])
    assert await told(storage) == []


async def test_entry_that_is_written_again_counts_more_and_never_less(storage: Storage) -> None:
    first = entry(1, action=Action.TIMER_CREATED, count=1)
    more = replace(first, count=5, target=None, last_at=NOW + seconds(9))
    for written in (first, first, more, more, first):
        await storage.write_audit([written, entry(2, at=NOW + seconds(1))])
    assert await told(storage) == [entry(2, at=NOW + seconds(1)), more]


async def test_nobody_sees_the_audit_of_another_project(storage: Storage) -> None:
    await storage.write_audit([entry(1), entry(2, project=SHOP)])
    assert await told(storage) == [entry(1)]
    assert await told(storage, project=SHOP) == [entry(2, project=SHOP)]


async def test_what_is_done_to_projects_is_told_to_whoever_may_know(storage: Storage) -> None:
    made = entry(1, action=Action.PROJECT_CREATED, target="shop")
    gone = entry(2, action=Action.PROJECT_DELETED, target="shop")
    await storage.write_audit([made, gone, entry(3)])
    assert await told(storage) == [entry(3)]
    assert await told(storage, action=Action.PROJECT_DELETED) == []
    assert await told(storage, tells_of_projects=True) == [entry(3), gone, made]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [4, 3, 2, 1]),
        ({"action": Action.KEY_REVOKED}, [2]),
        ({"key_id": KEY}, [4, 2, 1]),
        ({"key_id": OF_SERVICE}, [3]),
        ({"key_id": "f" * 24}, []),
        ({"target": "it"}, [2, 1]),
        ({"target": "other", "action": Action.TIMER_CANCELED}, [3]),
        ({"after": NOW + seconds(1)}, [4, 3]),
        ({"before": NOW + seconds(2)}, [2, 1]),
        ({"after": NOW, "before": NOW + seconds(3), "target": "it"}, [2]),
    ],
)
async def test_entries_are_found_of_which_all_holds_that_is_asked_for(
    storage: Storage, asked: dict[str, Any], found: list[int]
) -> None:
    await storage.write_audit(
        [
            entry(1),
            entry(2, at=NOW + seconds(1), action=Action.KEY_REVOKED),
            entry(3, at=NOW + seconds(2), key_id=None, target="other"),
            entry(4, at=NOW + seconds(3), target=None),
        ]
    )
    assert [each.id.int for each in await told(storage, **asked)] == found


async def test_pages_never_overlap(storage: Storage) -> None:
    entries = [entry(number, at=NOW + seconds(number // 3)) for number in range(10)]
    await storage.write_audit(entries)
    found: list[AuditEntry] = []
    behind: Position | None = None
    while True:
        page = await storage.audit(AuditQuery(limit=4, behind=behind))
        found += page.entries
        if (behind := page.next) is None:
            break
    assert found == entries[::-1]


async def test_action_that_this_release_does_not_know_is_told(storage: Storage) -> None:
    newer = entry(1, action="moon.landed")
    await storage.write_audit([newer])
    assert await told(storage) == [newer]


async def test_old_entries_are_deleted_page_by_page_in_all_projects(storage: Storage) -> None:
    old = [entry(number, project=ProjectId(number % 2)) for number in range(5)]
    new = entry(9, at=NOW + seconds(1))
    await storage.write_audit([*old, new])
    assert await storage.prune_audit(NOW, 10) == 0
    assert await storage.prune_audit(NOW + seconds(1), 3) == 3
    assert await storage.prune_audit(NOW + seconds(1), 3) == 2
    assert await told(storage) == [new]
    assert await told(storage, project=ProjectId(1)) == []


async def test_entries_live_as_long_as_they_should_whatever_becomes_of_their_project(
    storage: Storage,
) -> None:
    project = (await storage.create_project("shop", NOW)).id
    await storage.write_audit([entry(1, project=project)])
    await storage.close_project(project, NOW)
    await storage.delete_project(project)
    await storage.forget_project(project)
    assert await storage.prune_audit(NOW + seconds(1), 10) == 1


@pytest.mark.parametrize(
    ("asked", "index"),
    [({}, "audit_pkey"), ({"target": "it"}, "audit_target"), ({"after": NOW}, "audit_pkey")],
)
async def test_page_is_read_by_an_index_and_not_sorted(
    postgres: PostgresStorage, sql: psycopg.Connection, asked: dict[str, Any], index: str
) -> None:
    entries = [
        entry(number, at=NOW + seconds(number), target=str(number), project=ProjectId(number % 3))
        for number in range(3000)
    ]
    await postgres.write_audit(entries)
    sql.execute("ANALYZE audit")
    statement = _page_statement(AuditQuery(limit=5, **asked))
    rows = sql.execute(SQL("EXPLAIN ") + statement).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert index in plan, plan
    assert "Sort" not in plan, plan
