"""The requests to the API by route, and how long they took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPMethod
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from timer_trio.telemetry.batches import Buckets

UNMATCHED: Final = "unmatched"
"""The route of a request for which there is none: its path is a stranger's."""
_LIMITS_S: Final = (0.005, 0.02, 0.1, 0.5, 2.5, 10.0)
_METHODS: Final = frozenset(HTTPMethod)
_OTHER: Final = "other"


class RequestMetrics(Collector):
    """Counts what is answered, under as many labels as there are routes, methods and statuses."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[tuple[str, str], Buckets] = {}
        self._under_way = 0

    def expect(self, route: str, method: str, statuses: Iterable[int]) -> None:
        """Show from now on what will be counted: a first one is a rise only from a zero."""
        self._seconds.setdefault((route, method), Buckets(_LIMITS_S))
        for status in statuses:
            self._answered.setdefault((route, method, status), 0)

    def begin(self) -> None:
        """Count a request as under way."""
        self._under_way += 1

    def end(self) -> None:
        """Count a request as under way no more."""
        self._under_way -= 1

    def note(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a request that is answered now; without a route there is none for its path."""
        name = UNMATCHED if route is None else route
        known = method if method in _METHODS else _OTHER
        key = (name, known, status)
        self._answered[key] = self._answered.get(key, 0) + 1
        buckets = self._seconds.get((name, known))
        if buckets is None:
            buckets = self._seconds[name, known] = Buckets(_LIMITS_S)
        buckets.observe_one(seconds)

    def collect(self) -> Iterator[Metric]:
        answered = CounterMetricFamily(
            "timer_trio_requests",
            "Requests to the API that were answered, by the template of their route",
            labels=["route", "method", "status"],
        )
        for (route, method, status), count in self._answered.items():
            answered.add_metric([route, method, str(status)], count)
        yield answered
        seconds = HistogramMetricFamily(
            "timer_trio_request_seconds",
            "From a request's head to the beginning of its answer",
            labels=["route", "method"],
        )
        for labels, buckets in self._seconds.items():
            buckets.add_to(seconds, labels)
        yield seconds
        yield GaugeMetricFamily(
            "timer_trio_requests_under_way",
            "Requests to the API whose answer is not out",
            value=self._under_way,
        )
