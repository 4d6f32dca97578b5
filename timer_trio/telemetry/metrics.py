"""What an operator watches, in Prometheus' words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from timer_trio.domain.outcome import ENDINGS
from timer_trio.domain.settlement import WhyFailed
from timer_trio.telemetry.batches import BatchHistogram
from timer_trio.telemetry.output import dropped_lines
from timer_trio.telemetry.process import add_process
from timer_trio.telemetry.requests import RequestMetrics

NOT_FIRED: Final = "not_fired"
"""As an outcome: the timer was claimed, and failed without a callback."""
_LATENESS_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 300)
_CALLBACK_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 300)
_FLUSH_SIZE_BUCKETS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000)
_FLUSH_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

VERBS: Final = (
    *("create", "create_keyed", "create_counted", "create_keyed_counted", "create_named"),
    *("create_many", "claim", "settle", "bulk_cancel", "bulk_redrive", "bulk_delete"),
)
"""What is written in statements of many rows."""

# A start time for every label of every instrument tells nobody anything here.
disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types


class JointGauge:
    """A gauge that shows together what several parts of the process tell."""

    def __init__(self, gauge: Gauge, join: Callable[[Iterable[float]], float] = sum) -> None:
        self._parts: list[Callable[[], float]] = []
        gauge.set_function(lambda: join([part() for part in self._parts]) if self._parts else 0.0)

    def add(self, part: Callable[[], float]) -> None:
        self._parts.append(part)


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._limits: dict[str, Gauge] = {}
        add_process(self.registry)
        self.requests = RequestMetrics()
        self.registry.register(self.requests)
        self.lateness_s = self._batches(
            "lateness_seconds",
            "From the later of execute_at and the last change to the first byte sent",
            _LATENESS_BUCKETS_S,
        )
        self.callback_s = self._batches(
            "callback_seconds",
            "From the instant of a callback to its end, whatever that was",
            _CALLBACK_BUCKETS_S,
        )
        self.fired = Counter(
            "timer_trio_fired", "Callbacks by how they ended", ["outcome"], registry=self.registry
        )
        self.failed = Counter(
            "timer_trio_failed",
            "Timers that ended as failed, by why; one that is retrying has not ended",
            ["reason"],
            registry=self.registry,
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
        self.planner_lag_s = self._joint(
            "planner_lag_seconds",
            "How long a schedule waits to be planned, beyond a look a minute",
            max,
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
        self.unsettled = self._joint("unsettled", "Outcomes not yet written")
        self.cached = self._joint("cached", "Timers in memory")
        self.open_breakers = self._gauge(
            "breaker_open", "Destinations that are left alone since their callbacks failed"
        )
        self.oldest_overdue_s = self._joint(
            "oldest_overdue_seconds", "How long the first timer in memory has been due", max
        )
        self.database_up = self._joint(
            "database_up", "Whether the last heartbeat was confirmed, of all cells", min
        )
        self._gauge("workers", "Processes that work, this one included").set(1)
        self._show_known_labels()

    def flushed(self, verb: str, rows: int, seconds: float) -> None:
        """Count one statement that the database has answered."""
        self.flush_rows.labels(verb).observe(rows)
        self.flush_s.labels(verb).observe(seconds)

    def expect_closed_connections(self, reasons: Iterable[str]) -> None:
        """Show from now on for which reasons connections will be closed."""
        for reason in reasons:
            self._connections_closed.labels(reason)

    def closed_connection(self, reason: str) -> None:
        """Count a connection to the API that was closed."""
        self._connections_closed.labels(reason).inc()

    def limit(self, name: str, words: str, most: float) -> None:
        """Show a limit, beside the gauge of that name if there is one."""
        if name not in self._limits:
            self._limits[name] = self._gauge(f"{name}_limit", words)
        self._limits[name].set(most)

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(f"timer_trio_{name}", words, registry=self.registry)

    def _joint(
        self, name: str, words: str, join: Callable[[Iterable[float]], float] = sum
    ) -> JointGauge:
        return JointGauge(self._gauge(name, words), join)

    def _batches(self, name: str, words: str, limits: Sequence[float]) -> BatchHistogram:
        histogram = BatchHistogram(f"timer_trio_{name}", words, limits)
        self.registry.register(histogram)
        return histogram

    def _show_known_labels(self) -> None:
        """Show each label that will be counted at zero: a first one is a rise only from there."""
        for outcome in (*(each.name for each in ENDINGS), NOT_FIRED):
            self.fired.labels(outcome)
        for reason in WhyFailed:
            self.failed.labels(reason)
        for verb in VERBS:
            self.flush_rows.labels(verb)
            self.flush_s.labels(verb)


class _DroppedLines(Collector):
    """A counter that the process keeps, however many replicas it has."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        words = "Lines of the log that were not written because nobody read them"
        yield CounterMetricFamily("timer_trio_log_dropped", words, value=dropped_lines())
