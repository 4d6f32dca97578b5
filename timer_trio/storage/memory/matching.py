"""What a TimerQuery asks for, in plain Python: what postgres/listing.py says in SQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from timer_trio.domain.query import JsonScalar, Order, Sort, TimerQuery
from timer_trio.domain.timer import Timer, TimerId

_ABSENT: Final = object()


def select(timers: Iterator[Timer], query: TimerQuery) -> list[Timer]:
    """All that match, in the order asked for."""
    found = [timer for timer in timers if _matches(timer, query)]
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


def _matches(timer: Timer, query: TimerQuery) -> bool:
    execute_at = timer.spec.execute_at
    return (
        (query.status is None or timer.status is query.status)
        and (query.execute_after is None or execute_at > query.execute_after)
        and (query.execute_before is None or execute_at < query.execute_before)
        and all(
            _has_one(timer.spec.metadata or {}, key, asked) for key, asked in query.metadata.items()
        )
    )


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
