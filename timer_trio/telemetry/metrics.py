"""What an operator watches, in Prometheus' words."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import inf
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from timer_trio.telemetry.output import dropped_lines

_LATENESS_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 300)
_FLUSH_SIZE_BUCKETS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000)
_FLUSH_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

# A start time for every label of every instrument tells nobody anything here.
disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types


class Metrics:
    """The instruments of one replica, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.lateness_s = _Lateness()
        self.registry.register(self.lateness_s)
        self.fired = Counter(
            "timer_trio_fired", "Callbacks by how they ended", ["outcome"], registry=self.registry
        )
        self.retries = Counter(
            "timer_trio_retries",
            "Timers that became retrying: an attempt has failed, and another one follows",
            registry=self.registry,
        )
        self.fenced = Counter(
            "timer_trio_fenced",
            "Callbacks not begun because the heartbeat was not confirmed in time",
            registry=self.registry,
        )
        self.shortages = Counter(
            "timer_trio_shortages",
            "Callbacks put off for want of a descriptor, a local port, a thread or memory",
            registry=self.registry,
        )
        self.pruned = Counter(
            "timer_trio_pruned",
            "Timers deleted because they ended long enough ago",
            registry=self.registry,
        )
        self.planned = Counter(
            "timer_trio_occurrences_planned",
            "Occurrences of schedules written ahead by the planner",
            registry=self.registry,
        )
        self.skipped = Counter(
            "timer_trio_occurrences_skipped",
            "Occurrences of schedules that were skipped as their catch_up or overlap says",
            registry=self.registry,
        )
        self.schedules = Gauge(
            "timer_trio_schedules",
            "Schedules of all replicas by status; broken ones the service has paused",
            ["status"],
            registry=self.registry,
        )
        self.planner_lag_s = self._gauge(
            "planner_lag_seconds", "How long a schedule waits to be planned, beyond a look a minute"
        )
        self.flush_rows = Histogram(
            "timer_trio_flush_rows",
            "Rows in one statement",
            ["verb"],
            buckets=_FLUSH_SIZE_BUCKETS,
            registry=self.registry,
        )
        self.flush_s = Histogram(
            "timer_trio_flush_seconds",
            "Time of one statement, its way to the database included",
            ["verb"],
            buckets=_FLUSH_BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(_DroppedLines())
        self.connections = self._gauge("connections", "Connections to the API that are open")
        self._connections_closed = Counter(
            "timer_trio_connections_closed",
            "Connections to the API that were closed, by why",
            ["reason"],
            registry=self.registry,
        )
        self.in_flight = self._gauge("in_flight", "Timers claimed and not yet answered")
        self.unsettled = self._gauge("unsettled", "Outcomes not yet written")
        self.cached = self._gauge("cached", "Timers in memory")
        self.open_breakers = self._gauge(
            "breaker_open", "Destinations that are left alone since their callbacks failed"
        )
        self.oldest_overdue_s = self._gauge(
            "oldest_overdue_seconds", "How long the first timer in memory has been due"
        )
        self.database_up = self._gauge("database_up", "Whether the last heartbeat was confirmed")

    def flushed(self, verb: str, rows: int, seconds: float) -> None:
        """Count one statement that the database has answered."""
        self.flush_rows.labels(verb).observe(rows)
        self.flush_s.labels(verb).observe(seconds)

    def closed_connection(self, reason: str) -> None:
        """Count a connection to the API that was closed."""
        self._connections_closed.labels(reason).inc()

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(f"timer_trio_{name}", words, registry=self.registry)


class _Lateness(Collector):
    """A histogram that takes many values at once: its instrument takes 2 us for each."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_LATENESS_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, values_s: Iterable[float]) -> None:
        for value_s in values_s:
            self._counts[bisect_left(_LATENESS_BUCKETS_S, value_s)] += 1
            self._sum_s += value_s

    def collect(self) -> Iterator[HistogramMetricFamily]:
        limits = [*map(floatToGoString, (*_LATENESS_BUCKETS_S, inf))]
        yield HistogramMetricFamily(
            "timer_trio_lateness_seconds",
            "From the later of execute_at and the last change to the first byte sent",
            buckets=[*zip(limits, accumulate(self._counts), strict=True)],
            sum_value=self._sum_s,
        )


class _DroppedLines(Collector):
    """A counter that the process keeps, however many replicas it has."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        words = "Lines of the log that were not written because nobody read them"
        yield CounterMetricFamily("timer_trio_log_dropped", words, value=dropped_lines())
