"""What a TimerQuery asks for, in plain Python: what postgres/listing.py says in SQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from timer_trio.domain.query import JsonScalar, Order, Sort, TimerFilter, TimerQuery
from timer_trio.domain.timer import ENDED, Timer, TimerId

_ABSENT: Final = object()

TESTS: Final[Mapping[str, Callable[[Timer, Any], bool]]] = {
    "status": lambda timer, status: timer.status is status,
    "destination": lambda timer, there: timer.spec.callback.url.destination == there,
    "last_error": lambda timer, part: part in (timer.last_error or ""),
    "http_status": lambda timer, status: timer.http_status == status,
    "key": lambda timer, key: timer.key == key,
    "schedule_id": lambda timer, schedule_id: timer.schedule_id == schedule_id,
    "flow_key": lambda timer, flow_key: timer.flow_key == flow_key,
    "created_after": lambda timer, instant: timer.created_at > instant,
    "created_before": lambda timer, instant: timer.created_at < instant,
    "execute_after": lambda timer, instant: timer.spec.execute_at > instant,
    "execute_before": lambda timer, instant: timer.spec.execute_at < instant,
    "ended_after": lambda timer, instant: timer.status in ENDED and timer.updated_at > instant,
    "ended_before": lambda timer, instant: timer.status in ENDED and timer.updated_at < instant,
    "metadata": lambda timer, asked: has_all(timer.spec.metadata or {}, asked),
}
"""What each field of a TimerFilter asks of a timer."""


def select(timers: Iterator[Timer], query: TimerQuery) -> list[Timer]:
    """All that match, in the order asked for."""
    found = [timer for timer in timers if matches(timer, query)]
    place = _place_by(query.sort)
    found.sort(key=place, reverse=query.order is Order.DESC)
    return found


def cut(found: Sequence[Timer], query: TimerQuery) -> Iterator[Timer]:
    """Leave out what comes before the place where the query begins."""
    after, place = query.after, _place_by(query.sort)
    if after is None:
        return itertools.islice(found, query.offset, None)
    mark = (after.instant, after.id)
    if query.order is Order.DESC:
        return (timer for timer in found if place(timer) < mark)
    return (timer for timer in found if place(timer) > mark)


def _place_by(sort: Sort) -> Callable[[Timer], tuple[datetime, TimerId]]:
    if sort is Sort.CREATED_AT:
        return lambda timer: (timer.created_at, timer.id)
    return lambda timer: (timer.spec.execute_at, timer.id)


def matches(timer: Timer, wanted: TimerFilter) -> bool:
    """Whether all that a filter asks for holds of a timer."""
    asked = ((holds, getattr(wanted, name)) for name, holds in TESTS.items())
    return all(value is None or holds(timer, value) for holds, value in asked)


def has_all(metadata: Mapping[str, object], asked: Mapping[str, Sequence[JsonScalar]]) -> bool:
    """Whether metadata has, of each key that is asked for, one of the scalars."""
    return all(_has_one(metadata, key, scalars) for key, scalars in asked.items())


def _has_one(metadata: Mapping[str, object], key: str, asked: Sequence[JsonScalar]) -> bool:
    stored = metadata.get(key, _ABSENT)
    return any(_equal(stored, scalar) for scalar in asked)


def _equal(stored: object, asked: JsonScalar) -> bool:
    """Compare as JSON does: 1 equals 1.0, but not true."""
    if _is_number(stored) and _is_number(asked):
        return Decimal(str(stored)) == Decimal(str(asked))
    return type(stored) is type(asked) and stored == asked


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
