"""What a second worker process costs, and what a timer takes of the one database that all share.

Two processors cannot show what more workers gain, since the database and the receiver take theirs
of both: so what is compared is the CPU time of a timer, which more workers must not raise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import psycopg

from benchmarks.burst import COUNT, DESTINATIONS, LIMITS
from benchmarks.contender import Contender, service
from benchmarks.firing import burst, fire, in_turn, mean_us, steady
from benchmarks.receiving import receiver
from benchmarks.report import Line, Size
from benchmarks.timers import timers, write

NAME: Final = "scaling"
CREATES: Final = 20_000
RATE: Final = 500


def measure(size: Size) -> Iterator[Line]:
    rounds = 1 if size is Size.QUICK else 3
    yield from _workers(rounds)
    yield from _database()


def _workers(rounds: int) -> Iterator[Line]:
    starts = [partial(service, {**LIMITS, "WORKERS": str(count)}) for count in (1, 2)]
    one, two = in_turn(starts, burst(COUNT, DESTINATIONS), rounds)
    yield Line(NAME, "worker CPU a timer, one process", mean_us(one), "us")
    yield Line(NAME, "worker CPU a timer, two workers", mean_us(two), "us")
    ratio = mean_us(two) / mean_us(one)
    yield Line(NAME, "two workers, times one process", ratio, at_most=1.1)
    for name, runs in (("one process", one), ("two workers", two)):
        last_s = max(each.last_arrival_s for each in runs)
        yield Line(NAME, f"last arrival, {name}", last_s, "s")


def _database() -> Iterator[Line]:
    with service() as contender, receiver(8) as far_end:
        yield Line(NAME, "connections of an idle replica", _connections(contender))
        before = contender.cost()
        write(contender.database.url, timers([4e9] * CREATES, far_end.urls))
        created = contender.cost() - before
        yield Line(NAME, "WAL a created timer", created.wal_bytes / CREATES, "B")
        yield Line(NAME, "database CPU a created timer", created.database_s / CREATES * 1e6, "us")
        fired = fire(contender, far_end, steady(RATE, 12, 8))
        yield Line(NAME, "WAL a fired timer", fired.wal_bytes, "B")
        yield Line(NAME, "database CPU a fired timer", fired.database_us, "us")
        yield Line(NAME, "transactions a fired timer", fired.transactions)
        yield Line(NAME, f"connections of a replica at {RATE}/s", _connections(contender))


def _connections(contender: Contender) -> int:
    with psycopg.connect(contender.database.url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'timer-trio'"
        ).fetchone()
    assert row is not None
    return int(row[0])
