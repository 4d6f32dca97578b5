from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from timer_trio.clock import READINGS, Clock, ClockUnsetError

START = datetime(2030, 1, 1, tzinfo=UTC)


def database_now() -> datetime:
    return START + timedelta(seconds=trio.current_time())


async def read(clock: Clock, reply_took_s: float) -> float:
    """Take a reading whose reply was on its way for a while."""
    now, asked_s = database_now(), trio.current_time()
    await trio.sleep(reply_took_s)
    return clock.take_reading(now, asked_s)


def lag_s(clock: Clock) -> float:
    return (database_now() - clock.now()).total_seconds()


async def test_clock_without_a_reading_tells_no_time() -> None:
    with pytest.raises(ClockUnsetError):
        Clock().now()


async def test_clock_without_a_reading_still_tells_people_the_time() -> None:
    assert Clock().timestamp().tzinfo is UTC


async def test_timestamp_is_the_databases_once_it_is_known(autojump_clock: MockClock) -> None:
    clock = Clock()
    await read(clock, 0.0)
    autojump_clock.jump(86_400)
    assert clock.timestamp() == clock.now() == database_now()


async def test_clock_never_runs_ahead(autojump_clock: MockClock) -> None:
    clock = Clock()
    for took_s in (0.3, 0.01, 0.8, 0.02):
        await read(clock, took_s)
        assert lag_s(clock) >= 0
    assert autojump_clock.autojump_threshold == 0


async def test_best_of_the_last_readings_counts(autojump_clock: MockClock) -> None:
    clock = Clock()
    for took_s in (0.3, 0.01, 0.8):
        await read(clock, took_s)
    assert lag_s(clock) == pytest.approx(0.01, abs=1e-5)
    for _ in range(READINGS):
        await read(clock, 0.05)
    assert lag_s(clock) == pytest.approx(0.05, abs=1e-5)
    assert autojump_clock.autojump_threshold == 0


async def test_sleep_ends_at_the_instant_and_never_before(autojump_clock: MockClock) -> None:
    clock = Clock()
    await read(clock, 0.01)
    for days in (0.000_001, 0.1, 7, 365):
        instant = database_now() + timedelta(days=days)
        await clock.sleep_until(instant)
        late = database_now() - instant
        assert timedelta(0) <= late <= timedelta(seconds=0.011)
    assert autojump_clock.autojump_threshold == 0


async def test_sleep_until_the_past_ends_at_once(autojump_clock: MockClock) -> None:
    clock = Clock()
    await read(clock, 0.0)
    began_s = trio.current_time()
    await clock.sleep_until(START - timedelta(days=1))
    assert trio.current_time() == began_s
    assert autojump_clock.autojump_threshold == 0


async def test_sleep_is_corrected_by_a_better_reading(autojump_clock: MockClock) -> None:
    clock = Clock()
    await read(clock, 0.9)
    instant = database_now() + timedelta(seconds=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.sleep_until, instant)
        await read(clock, 0.0)
    # It sleeps what it thought it had to: a better reading makes nothing early.
    assert database_now() >= instant
    assert autojump_clock.autojump_threshold == 0


async def test_sleeper_waits_on_when_the_clock_has_stepped_back(autojump_clock: MockClock) -> None:
    clock = Clock()
    await read(clock, 0.0)
    step = timedelta(seconds=60)
    instant = database_now() + timedelta(seconds=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.sleep_until, instant)
        await trio.sleep(1)
        assert clock.take_reading(database_now() - step, trio.current_time()) == pytest.approx(60)
    assert database_now() - step >= instant
    assert autojump_clock.autojump_threshold == 0


async def test_slow_reply_is_no_step_back(autojump_clock: MockClock) -> None:
    clock = Clock()
    await read(clock, 0.0)
    for took_s in (0.99, 5.0, 60.0):
        assert await read(clock, took_s) == 0.0
    assert lag_s(clock) == pytest.approx(0.0, abs=1e-5)
    assert autojump_clock.autojump_threshold == 0
