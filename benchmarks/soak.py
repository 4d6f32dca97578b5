"""Fifteen minutes of steady work: creates over the API, callbacks, and what has ended is deleted.

Timers come in batches, each due within a minute, or within 15 s in the short run. What ended a
minute ago is deleted every ten seconds by what `db prune` runs, since RETENTION_DAYS is no shorter
than a quarter of an hour. Once that has come into balance, table, indexes and memory must not grow
any more.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import HTTPConnection
from statistics import fmean
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from benchmarks.contender import API_KEY, Contender, service
from benchmarks.figures import cost_lines, late_lines
from benchmarks.firing import check
from benchmarks.machine import sleep, time
from benchmarks.programs import BenchmarkError
from benchmarks.receiving import Receiving, Seen, receiver, together
from benchmarks.report import Line, Size
from timer_trio.storage.postgres.retention import prune_all

NAME: Final = "soak"
LONG_NAME: Final = "soak-15min"
RATE: Final = 300
DESTINATIONS: Final = 8
TICK_S: Final = 0.2
SAMPLE_S: Final = 30.0
PRUNE_S: Final = 10.0
KEPT_S: Final = 60.0
GRACE_S: Final = 10.0
MAX_BATCH: Final = 1000
MORE_THAN_EVER: Final = 10**9
GROWTH: Final = 1.1
"""Of the last third over the middle one: a vacuum more or less, but nothing that goes on."""

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Sample:
    table_bytes: int
    index_bytes: int
    rss_bytes: int


def measure(size: Size) -> Iterator[Line]:
    """Do it for a minute or two: long enough to see that it runs, too short to see growth."""
    yield from _soak(NAME, 30 if size is Size.QUICK else 90, longest_delay_s=15, growth=None)


def measure_long(_size: Size) -> Iterator[Line]:
    yield from _soak(LONG_NAME, 15 * 60, longest_delay_s=60, growth=GROWTH)


def _soak(
    name: str, seconds: float, *, longest_delay_s: float, growth: float | None
) -> Iterator[Line]:
    with service() as contender, receiver(DESTINATIONS) as far_end:
        work = _Work(contender, far_end, longest_delay_s)
        before = contender.cost()
        work.run(seconds)
        cost = contender.cost() - before
        late = together(work.reports)
    count = late.distinct
    yield Line(name, "timers created and fired", count)
    yield from cost_lines(name, cost, count, of="a timer, its create included")
    yield from late_lines(name, late)
    for what, sizes in (
        ("table", [each.table_bytes for each in work.samples]),
        ("indexes", [each.index_bytes for each in work.samples]),
        ("memory of the worker", [each.rss_bytes for each in work.samples]),
    ):
        yield Line(name, f"{what}, at the end", sizes[-1] / 1e6, "MB")
        yield Line(name, f"{what}, last third over the middle one", _growth(sizes), at_most=growth)


def _growth(sizes: Sequence[int]) -> float:
    third = max(1, len(sizes) // 3)
    return fmean(sizes[-third:]) / fmean(sizes[-2 * third : -third] or sizes[:1])


class _Work:
    """Creates timers, samples what could grow, and deletes what has ended, one after the other."""

    def __init__(self, contender: Contender, far_end: Receiving, longest_delay_s: float) -> None:
        self._contender = contender
        self._far_end = far_end
        self._api = HTTPConnection(urlsplit(contender.api_url).netloc, timeout=30)
        self._longest_delay_s = longest_delay_s
        self._created = 0
        self.samples: list[Sample] = []
        self.reports: list[Seen] = []

    def run(self, seconds: float) -> None:
        """Create for some seconds, then wait until the last timer has been fired.

        Raises:
            BenchmarkError: a timer was refused, lost, doubled or early.
        """
        with psycopg.connect(self._contender.database.url, autocommit=True) as connection:
            self._create_for(seconds, connection)
            self._take_report()
            self._far_end.expect(self._created - self._arrived, self._longest_delay_s + GRACE_S)
            self._take_report()
        check(together(self.reports), self._created)

    def _create_for(self, seconds: float, connection: Connection) -> None:
        began_s = time()
        sample_s = prune_s = 0.0
        while (passed_s := time() - began_s) < seconds:
            if passed_s >= sample_s:
                sample_s += SAMPLE_S
                self._sample(connection)
            if passed_s >= prune_s:
                prune_s += PRUNE_S
                self._prune(connection)
            self._create(min(int(passed_s * RATE) - self._created, MAX_BATCH))
            sleep(TICK_S)
        self._sample(connection)

    @property
    def _arrived(self) -> int:
        return sum(report.distinct for report in self.reports)

    def _create(self, count: int) -> None:
        if not count:
            return
        timers = [
            {
                "delay": round(random.uniform(1, self._longest_delay_s), 3),  # noqa: S311 - an instant
                "callback_url": self._far_end.urls[number % DESTINATIONS],
                "callback_payload": number,
            }
            for number in range(count)
        ]
        headers = {"X-API-Key": API_KEY, "Content-Type": "application/json"}
        self._api.request("POST", "/timers/batch", json.dumps({"timers": timers}), headers)
        answer = self._api.getresponse()
        body = answer.read()
        if answer.status != HTTPStatus.CREATED:
            raise BenchmarkError(f"a batch was refused: {body[:1000].decode()}")
        self._created += count

    def _sample(self, connection: Connection) -> None:
        if self.samples:
            self._take_report()
        self._far_end.expect(MORE_THAN_EVER, SAMPLE_S - TICK_S)
        row = connection.execute(
            "SELECT pg_table_size('timers'), pg_indexes_size('timers')"
        ).fetchone()
        assert row is not None
        table_bytes, index_bytes = row
        self.samples.append(Sample(table_bytes, index_bytes, self._contender.rss_bytes()))

    def _take_report(self) -> None:
        self.reports.append(self._far_end.report())

    def _prune(self, connection: Connection) -> None:
        cutoff = datetime.fromtimestamp(time(), UTC) - timedelta(seconds=KEPT_S)
        for _ in prune_all(connection, cutoff):
            pass
