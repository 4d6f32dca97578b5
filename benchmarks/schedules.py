"""Schedules: many of every minute, one of every second, and very many of every month.

Of those of every minute, a third of a thousand occurrences a second: what it costs to plan them, by
a planner that has nothing else to do; and how late they come, and what each costs in all, where the
service plans and fires them. Of the one: whether each second comes, and when. Of those that rest:
how many statements they cause.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Final
from uuid import uuid4

import psycopg
import trio
from psycopg.sql import SQL, Literal

from benchmarks import idle
from benchmarks.contender import service
from benchmarks.database import database_in
from benchmarks.figures import cost_lines, late_lines
from benchmarks.machine import family_cpu_s, sleep, time
from benchmarks.programs import BenchmarkError, temporary_folder
from benchmarks.receiving import Seen, receiver
from benchmarks.report import Line, Size
from timer_trio.calendar import instants, zone_data_version
from timer_trio.clock import Clock
from timer_trio.domain.planning import WINDOW, Calendar
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import DueTimer, ReplicaId
from timer_trio.embedded import embedded_postgres
from timer_trio.scheduler.planner import Planner
from timer_trio.scheduler.replanning import Replanner
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.telemetry.metrics import Metrics

NAME: Final = "schedules"
COUNT: Final = 20_000
QUICK_COUNT: Final = 3_000
PERIOD_S: Final = 60
PATIENCE_S: Final = 240.0
"""A look of the planner, and what it takes to plan them all."""
DESTINATIONS: Final = 8
PLANNED: Final = WINDOW.total_seconds() // PERIOD_S
"""Occurrences of each that are planned at first."""

# What a consumer would write with `cron`, `jitter_seconds`, a URL and a payload.
_MINUTELY: Final = {"cron": "* * * * *", "timezone": "Europe/Berlin"}
_MONTHLY: Final = {"cron": "0 9 1 * *", "timezone": "Europe/Berlin"}
_SECONDLY: Final = {"every": 1}
_INSERT: Final = SQL("""
INSERT INTO schedules (
    shard, id, status, version, created_at, updated_at, rule, catch_up, overlap, jitter_s,
    template, planned_to, plan_at
)
SELECT
    get_byte(uuid_send(id), 15), id, 'active', 1, now(), now(),
    {rule}, 'latest', 'allow', {jitter_s},
    json_build_object(
        'callback_url', ({urls}::text[])[1 + number % {places}], 'callback_method', 'POST',
        'callback_headers', '{{}}'::json, 'callback_payload', '{{"order": 4711}}', 'timeout_s', 30,
        'delivery', 'at_least_once', 'misfire_grace_s', 300
    ),
    now(), now()
FROM (SELECT uuidv7() AS id, number FROM generate_series(1, {count}) AS number)
""")


def measure(size: Size) -> Iterator[Line]:
    is_quick = size is Size.QUICK
    count, seconds = (QUICK_COUNT, 20.0) if is_quick else (COUNT, 180.0)
    with temporary_folder() as folder:
        yield from trio.run(_plan_all, folder / "data", count)
    yield from _fired(count, seconds)
    yield from _each_second(30 if is_quick else 600)
    yield from _resting(10_000 if is_quick else 100_000, 30.0 if is_quick else 120.0)


async def _plan_all(data_dir: Path, count: int) -> Sequence[Line]:
    """Plan the first window of so many schedules, in a process that does nothing else."""
    async with embedded_postgres(data_dir) as url:
        await migrate_database(url)
        _fill(url, count, ["http://127.0.0.1:1/"], _MINUTELY)
        postmaster_pid = database_in(data_dir).postmaster_pid
        async with PostgresStorage(url, pool_size=2) as storage:
            planner, planned = await _planner(storage)
            began_s, database_s = process_time(), family_cpu_s(postmaster_pid)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(planner.run)
                while planned() < count * PLANNED:  # noqa: ASYNC110 - it has nothing to tell
                    await trio.sleep(0.1)
                nursery.cancel_scope.cancel()
            worker_us = (process_time() - began_s) / planned() * 1e6
            database_us = (family_cpu_s(postmaster_pid) - database_s) / planned() * 1e6
    return [
        Line(NAME, "planner's CPU an occurrence", worker_us, "us", at_most=60),
        Line(NAME, "database CPU an occurrence planned", database_us, "us", at_most=100),
    ]


async def _planner(storage: PostgresStorage) -> tuple[Planner, Planned]:
    beat = await storage.beat(ReplicaId(uuid4()))
    clock, shards, metrics = Clock(), Shards(), Metrics()
    clock.take_reading(beat.now, trio.current_time())
    me = ReplicaId(uuid4())
    shards.divide(me, [me])
    calendar, planned = Calendar(instants, zone_data_version()), Planned(metrics)
    replanner = Replanner(storage=storage, clock=clock, calendar=calendar, offer=_drop)
    planner = Planner(
        storage=storage,
        clock=clock,
        calendar=calendar,
        replanner=replanner,
        shards=shards,
        offer=_drop,
        metrics=metrics,
    )
    return planner, planned


def _drop(_near: Iterable[DueTimer]) -> None:
    """Leave what is near to be loaded."""


class Planned:
    """How many occurrences have been planned."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = metrics.registry

    def __call__(self) -> float:
        return self._registry.get_sample_value("timer_trio_occurrences_planned_total") or 0.0


def _fired(count: int, seconds: float) -> Iterator[Line]:
    """Measure a while in which all of them fire, after the first windows have been planned."""
    with service() as contender, receiver(DESTINATIONS) as far_end:
        _fill(contender.database.url, count, far_end.urls, _MINUTELY)
        _wait_planned(contender.database.url)
        sleep(PERIOD_S)  # what was planned too late for its instant has fired by then
        far_end.expect(10**9, 0.1)
        far_end.report()
        before = contender.cost()
        far_end.expect(10**9, seconds)
        seen = far_end.report()
        cost = contender.cost() - before
    _check(seen, count * seconds / PERIOD_S)
    yield Line(NAME, "occurrences a second", seen.distinct / seconds, "/s")
    yield from cost_lines(NAME, cost, seen.distinct, of="an occurrence")
    yield from late_lines(NAME, seen, at_most={"p99": 20})


def _each_second(seconds: int) -> Iterator[Line]:
    """Measure a schedule of every second for so long."""
    with service() as contender, receiver(1) as far_end:
        _fill(contender.database.url, 1, far_end.urls, _SECONDLY, jitter_s=0)
        _wait_planned(contender.database.url)
        far_end.expect(10**9, 0.1)
        far_end.report()
        far_end.expect(10**9, seconds)
        seen = far_end.report()
    _check(seen, seconds)
    yield Line(NAME, f"occurrences of every second in {seconds} s", seen.distinct)
    yield from late_lines(NAME, seen, late="every second: late", at_most={"p99": 10})


def _resting(count: int, seconds: float) -> Iterator[Line]:
    """Count what a service asks of its database for schedules that are far away, and without."""
    rates = [_statements_a_minute(each, seconds) for each in (0, count)]
    yield Line(NAME, "statements a minute without schedules", rates[0])
    yield Line(NAME, f"statements a minute with {count:,} monthly ones", rates[1])
    yield Line(NAME, "statements a minute more", rates[1] - rates[0], at_most=5)


def _statements_a_minute(schedules: int, seconds: float) -> float:
    with service(idle.DEFAULTS) as contender:
        if schedules:
            _fill(contender.database.url, schedules, ["http://127.0.0.1:1/"], _MONTHLY)
            _wait_planned(contender.database.url)
        idle.log_statements(contender)
        sleep(idle.SETTLING_S)
        before = idle.statements(contender)
        sleep(seconds)
        return (idle.statements(contender) - before) * 60 / seconds


def _check(seen: Seen, expected: float) -> None:
    if seen.doubles or seen.early or abs(seen.distinct - expected) > 0.1 * expected:
        raise BenchmarkError(
            f"{seen.distinct} occurrences came where {expected:g} were due,"
            f" {seen.doubles} doubled, {seen.early} early"
        )


def _wait_planned(database_url: str) -> None:
    """Return when the first occurrences of all schedules are written."""
    give_up_s = time() + PATIENCE_S
    with psycopg.connect(database_url, autocommit=True) as connection:
        while time() < give_up_s:
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM schedules WHERE instants = 0)"
            ).fetchone()
            if row == (False,):
                return
            sleep(1)
    raise BenchmarkError("some schedules were not planned in time")


def _fill(
    database_url: str,
    count: int,
    urls: Sequence[str],
    rule: Mapping[str, object],
    *,
    jitter_s: float = PERIOD_S,
) -> None:
    statement = _INSERT.format(
        rule=Literal(json.dumps(rule)),
        jitter_s=Literal(jitter_s),
        urls=Literal([*urls]),
        places=len(urls),
        count=count,
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement)
