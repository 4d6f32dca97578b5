"""A list reads by an index what one serves, and stops at its bound, whatever it sorts by.

So does who looks at the newest timers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.conftest import database
from tests.contract.timers import NOW
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.query import Sort, TimerQuery
from timer_trio.domain.sealed import HEADERS, MARK
from timer_trio.domain.timer import Destination, Status
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.database import KEY_LACKING
from timer_trio.storage.postgres.listing import page_statement
from timer_trio.storage.postgres.queries import QUERIES

HOUR = timedelta(hours=1)
RECENT = NOW - HOUR
JUST_NOW = NOW - timedelta(seconds=1)


@pytest.fixture(scope="module")
def many(postgres_url: str, template: str) -> Iterator[psycopg.Connection]:
    """Ten thousand timers that nobody changes."""
    with database(postgres_url, template) as name:
        url = make_conninfo(postgres_url, dbname=name)
        with psycopg.connect(url, autocommit=True) as sql:
            yield _filled(sql)


@pytest.fixture
def own(sql: psycopg.Connection) -> psycopg.Connection:
    """As many for one test alone."""
    return _filled(sql)


def _filled(sql: psycopg.Connection) -> psycopg.Connection:
    """Write one a minute up to now: each tenth canceled, each hundredth failed."""
    sql.execute(
        """
        INSERT INTO timers (
            shard, id, status, due_at, execute_at, created_at, updated_at, requested_at,
            destination, callback_url, callback_method, callback_headers, metadata, timeout_s,
            delivery, last_error
        )
        SELECT
            get_byte(uuid_send(id), 15), id, status,
            CASE WHEN status = 'pending' THEN at END, at, at, at, at,
            'https://example.com:443', 'https://example.com/', 'POST', '{}',
            jsonb_build_object('n', n), 30, 'at_least_once', 'timed out'
        FROM (
            SELECT
                n, gen_random_uuid() AS id, %s - n * interval '1 minute' AS at,
                CASE
                    WHEN n %% 100 = 0 THEN 'failed'
                    WHEN n %% 10 = 0 THEN 'canceled'
                    ELSE 'pending'
                END AS status
            FROM generate_series(1, 10000) AS n
        ) AS made
        """,
        [NOW],
    )
    sql.execute("ANALYZE timers")
    return sql


def explained(sql: psycopg.Connection, query: TimerQuery) -> tuple[set[str], int]:
    """Answers how the table is read, and how many rows are read for nothing."""
    return _explained(sql, page_statement(query).as_bytes(sql))


def _explained(
    sql: psycopg.Connection, statement: bytes, parameters: Mapping[str, object] | None = None
) -> tuple[set[str], int]:
    explain = b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement
    (plan,) = sql.execute(explain, parameters).fetchone()  # type: ignore[misc]  # one row, of one value
    scans: set[str] = set()
    return scans, _read(plan[0]["Plan"], scans)


def _read(node: dict[str, Any], scans: set[str]) -> int:
    kind = node["Node Type"]
    if "Scan" in kind and kind not in {"Bitmap Heap Scan", "Subquery Scan"}:
        scans.add(node.get("Index Name", kind))
    for_nothing = node.get("Rows Removed by Filter", 0)
    return int(for_nothing) + sum(_read(child, scans) for child in node.get("Plans", ()))


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({"created_after": RECENT}, "timers_project_created"),
        ({"execute_after": RECENT}, "timers_project_execute"),
        ({"status": Status.FAILED}, "timers_project_failed"),
        ({"status": Status.FAILED, "ended_after": RECENT}, "timers_project_failed"),
        ({"status": Status.CANCELED, "ended_before": NOW - 160 * HOUR}, "timers_project_failed"),
        (
            {"status": Status.FAILED, "ended_after": RECENT, "last_error": "time"},
            "timers_project_failed",
        ),
        ({"created_after": RECENT, "last_error": "nothing"}, "timers_project_created"),
        ({"created_after": RECENT, "ended_after": NOW}, "timers_project_created"),
        (
            {"execute_after": RECENT, "destination": Destination("https://example.org:443")},
            "timers_project_execute",
        ),
        ({"metadata": {"n": [7]}}, "timers_metadata"),
    ],
)
def test_filter_is_served_by_its_index(
    many: psycopg.Connection, query: dict[str, Any], index: str, sort: Sort
) -> None:
    scans, for_nothing = explained(many, TimerQuery(**query, sort=sort))
    assert index in scans
    assert "Seq Scan" not in scans
    assert for_nothing < 200


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("status", [None, Status.FAILED, Status.PENDING])
def test_flow_is_found_by_its_index(
    own: psycopg.Connection, status: Status | None, sort: Sort
) -> None:
    own.execute("UPDATE timers SET flow_key = 'flow ' || (metadata ->> 'n')::integer % 500")
    own.execute("UPDATE timers SET flow_key = NULL WHERE (metadata ->> 'n')::integer % 2 = 0")
    own.execute("ANALYZE timers")
    query = TimerQuery(flow_key=FlowKey("flow 75"), status=status, sort=sort)
    scans, for_nothing = explained(own, query)
    assert scans == {"timers_flow_sent"}
    assert for_nothing == 0


def test_plain_timer_has_no_entry_in_the_indexes_of_flows(many: psycopg.Connection) -> None:
    rows = many.execute(
        "SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'timers_flow_%' ORDER BY 1"
    )
    assert rows.fetchall() == [("timers_flow_due", 0), ("timers_flow_sent", 0)]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            TimerQuery(sort=Sort.CREATED_AT, created_before=NOW - 160 * HOUR),
            "timers_project_created",
        ),
        (
            TimerQuery(sort=Sort.EXECUTE_AT, execute_before=NOW - 160 * HOUR),
            "timers_project_execute",
        ),
    ],
)
def test_upper_bound_is_where_the_index_of_its_sort_is_entered(
    many: psycopg.Connection, query: TimerQuery, index: str
) -> None:
    assert explained(many, query) == ({index}, 0)


@pytest.mark.parametrize("sort", Sort)
def test_what_the_planner_takes_for_frequent_is_found_within_the_bound(
    own: psycopg.Connection, sort: Sort
) -> None:
    """It expects 900 that failed and changed lately, and there are five."""
    own.execute("UPDATE timers SET status = 'failed' WHERE status = 'canceled'")
    own.execute("UPDATE timers SET updated_at = %s WHERE status = 'pending'", [NOW])
    own.execute(
        "UPDATE timers SET updated_at = %s WHERE created_at < %s AND status = 'failed'",
        [NOW, NOW - timedelta(minutes=9_945)],
    )
    own.execute("ANALYZE timers")
    query = TimerQuery(status=Status.FAILED, ended_after=JUST_NOW, limit=1, sort=sort)
    assert explained(own, query) == ({"timers_project_failed"}, 0)


def test_a_start_looks_at_the_newest_timers_of_each_project_alone(
    many: psycopg.Connection,
) -> None:
    parameters = {"mark": MARK, "member": HEADERS}
    scans, for_nothing = _explained(many, QUERIES["newest_sealed"], parameters)
    assert "timers_project_created" in scans
    assert for_nothing == 100


async def test_a_start_finds_what_is_encrypted_in_any_project(
    own: psycopg.Connection, postgres: PostgresStorage
) -> None:
    own.execute("INSERT INTO projects (id, name, created_at) VALUES (7, 'other', %s)", [NOW])
    await postgres.look_for_sealed()
    assert KEY_LACKING not in postgres.warnings()
    own.execute(
        "UPDATE timers SET project = 7, callback_payload = %s WHERE created_at < %s",
        [f"{MARK}of-a-key-that-is-missing", NOW - timedelta(minutes=9_990)],
    )
    await postgres.look_for_sealed()
    assert KEY_LACKING in postgres.warnings()
