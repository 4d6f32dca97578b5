"""What several processes show, added up as if they were one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add
from typing import Final

from prometheus_client.core import Metric

GREATEST: Final = frozenset(
    {
        "process_start_time_seconds",
        "timer_trio_build_info",
        "timer_trio_connections_per_address_limit",
        "timer_trio_destination_breaker_open",
        "timer_trio_in_flight_per_destination_limit",
        "timer_trio_oldest_overdue_seconds",
        "timer_trio_planner_lag_seconds",
        "timer_trio_request_body_bytes_limit",
        "timer_trio_response_body_bytes_limit",
        "timer_trio_schedules",
    }
)
"""Of these gauges the greatest counts: each process tells of all, or of one thing among many."""
LEAST: Final = frozenset({"timer_trio_database_up"})
_RISING: Final = frozenset({"counter", "histogram"})

_Series = tuple[str, tuple[tuple[str, str], ...]]


def together(parts: Iterable[Sequence[Metric]]) -> Sequence[Metric]:
    """Add up the families of several processes, series by series, in the order of the first."""
    families: dict[str, tuple[Metric, dict[_Series, float]]] = {}
    for part in parts:
        for family in part:
            _, values = families.setdefault(family.name, (family, {}))
            joined = _joined(family.name)
            for sample in family.samples:
                series = sample.name, tuple(sample.labels.items())
                before = values.get(series)
                values[series] = sample.value if before is None else joined(before, sample.value)
    return [_family(family, values) for family, values in families.values()]


def rising(part: Iterable[Metric]) -> Sequence[Metric]:
    """Leave of what a process has shown what stays true when it has ended: its counts."""
    return [family for family in part if family.type in _RISING]


def _joined(name: str) -> Callable[[float, float], float]:
    if name in GREATEST:
        return max
    return min if name in LEAST else add


def _family(family: Metric, values: Mapping[_Series, float]) -> Metric:
    made = Metric(family.name, family.documentation, family.type)
    for (name, labels), value in values.items():
        made.add_sample(name, dict(labels), value)
    return made
