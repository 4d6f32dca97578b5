"""Readings may be older than what was put: an earlier time that is known is never lost to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from timer_trio.domain.cache import Cache
from timer_trio.domain.timer import Destination, DueTimer, Lane, TimerId

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def due(in_s: float) -> DueTimer:
    timer_id = TimerId(UUID(int=1))
    return DueTimer(
        NOW + timedelta(seconds=in_s), timer_id, Lane(Destination("http://a.example:80"))
    )


def open_cache() -> Cache:
    cache = Cache(100)
    cache.open_until(NOW + timedelta(seconds=300))
    return cache


def test_reading_brings_in_what_is_not_known() -> None:
    cache = open_cache()
    cache.put_reading(due(10))
    assert cache.take() == due(10)


def test_earlier_reading_counts() -> None:
    cache = open_cache()
    cache.put(due(10))
    cache.put_reading(due(5))
    assert cache.take() == due(5)


def test_later_reading_moves_nothing() -> None:
    cache = open_cache()
    cache.put(due(5))
    cache.put_reading(due(10))
    assert cache.take() == due(5)


def test_earliest_of_what_was_put_during_a_claim_is_told_at_its_end() -> None:
    cache = open_cache()
    cache.put(due(0))
    taken = cache.take()
    for in_s in (20, 5, 10):
        cache.put(due(in_s))
    assert not len(cache)
    assert cache.done(taken.id) == due(5)
    assert cache.done(taken.id) is None


def test_reading_during_a_claim_is_told_at_its_end() -> None:
    cache = open_cache()
    cache.put(due(0))
    taken = cache.take()
    cache.put_reading(due(5))
    assert cache.done(taken.id) == due(5)


def test_claim_that_nobody_disturbed_ends_without_news() -> None:
    cache = open_cache()
    cache.put(due(0))
    assert cache.done(cache.take().id) is None
