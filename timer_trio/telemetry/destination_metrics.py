"""What an operator watches of destinations: the busiest by name, all others in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from timer_trio.domain.destination import DestinationNow
from timer_trio.domain.timer import Destination
from timer_trio.domain.top_destinations import Hand, Top, in_hand

OTHER: Final = Destination("other")
"""No destination is called so: each begins with its scheme."""
_LABEL: Final = "destination"


class DestinationMetrics(Collector):
    """Shows how callbacks ended by destination, and what `now` tells is in hand.

    What that costs is a matter of how many destinations there are: to look at the agenda itself
    for each scrape would cost as much again.
    """

    def __init__(self, top: Callable[[], Top], now: Callable[[], Iterable[DestinationNow]]) -> None:
        self._top = top
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield self._callbacks()
        named, other = in_hand(self._now())
        yield GaugeMetricFamily(
            "timer_trio_waiting",
            "Timers in memory that are due and held back, but for those in flows",
            value=sum(hand.waiting for hand in (*named.values(), other)),
        )
        yield from _of_hands({**named, OTHER: other})

    def _callbacks(self) -> Metric:
        family = CounterMetricFamily(
            "timer_trio_destination_callbacks",
            "Callbacks by destination and how they ended; other: interrupted, or broken",
            labels=[_LABEL, "outcome"],
        )
        named, other = self._top()
        for destination, ends in {**named, OTHER: other}.items():
            for outcome, count in ends._asdict().items():
                family.add_metric([destination, outcome], count)
        return family


def _of_hands(hands: Mapping[Destination, Hand]) -> Iterator[Metric]:
    waiting, in_flight, is_open = (
        GaugeMetricFamily(f"timer_trio_destination_{name}", words, labels=[_LABEL])
        for name, words in (
            ("waiting", "Timers in memory that are due and held back, but for those in flows"),
            ("in_flight", "Callbacks that are claimed and not answered, by destination"),
            ("breaker_open", "Whether a destination is left alone since its callbacks failed"),
        )
    )
    for destination, hand in hands.items():
        waiting.add_metric([destination], hand.waiting)
        in_flight.add_metric([destination], hand.in_flight)
        is_open.add_metric([destination], hand.is_open)
    yield from (waiting, in_flight, is_open)
