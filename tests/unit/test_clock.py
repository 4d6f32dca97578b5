from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf

import pytest
import trio
from trio.testing import MockClock

from timer_trio.clock import DRIFT, READINGS, Clock, ClockUnsetError
from timer_trio.testing.standing_clock import StandingClock

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
    assert lag_s(clock) == pytest.approx(0.01, abs=2 * DRIFT)
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
        assert clock.take_reading(database_now() - step, trio.current_time()) == pytest.approx(
            -60, abs=2 * DRIFT
        )
    assert database_now() - step >= instant
    assert autojump_clock.autojump_threshold == 0


class StrangeDatabase:
    """A database whose clock goes wrong, asked over a line that is slow at times."""

    def __init__(self, drift: float = 0.0) -> None:
        self.stepped_s = 0.0
        self._drift = drift

    def now(self) -> datetime:
        return START + timedelta(seconds=trio.current_time() * (1 + self._drift) + self.stepped_s)

    async def tell(self, clock: Clock, there_s: float, back_s: float) -> float:
        asked_s = trio.current_time()
        await trio.sleep(there_s)
        now = self.now()
        await trio.sleep(back_s)
        return clock.take_reading(now, asked_s)

    def lag_s(self, clock: Clock) -> float:
        return (self.now() - clock.now()).total_seconds()


@pytest.mark.parametrize("drift", [-0.0002, -0.00005, 0.0, 0.00005, 0.0002])
@pytest.mark.parametrize("slow_s", [0.0, 0.02, 0.9, 60.0])
async def test_what_replies_and_crystals_explain_is_no_step(
    autojump_clock: MockClock, drift: float, slow_s: float
) -> None:
    clock, database = Clock(), StrangeDatabase(drift)
    for beat in range(100):
        took_s = slow_s if beat % 7 == 3 else 0.001
        assert await database.tell(clock, took_s / 3, 2 * took_s / 3) == 0.0
        assert 0.001 >= database.lag_s(clock) >= -1e-5 or took_s == slow_s
        await trio.sleep(1)
        assert database.lag_s(clock) >= -abs(drift) - 1e-5  # a beat later
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("drift", [-0.0002, 0.0002])
@pytest.mark.parametrize("took_s", [0.0, 0.002, 0.05])
@pytest.mark.parametrize("step_s", [-3600, -30, -0.8, -0.2, 0.2, 0.8, 30, 3600])
async def test_step_either_way_is_taken_at_the_next_reading(
    autojump_clock: MockClock, step_s: float, took_s: float, drift: float
) -> None:
    clock, database = Clock(), StrangeDatabase(drift)
    for _ in range(20):
        assert await database.tell(clock, took_s / 2, took_s / 2) == 0.0
        await trio.sleep(1)
    database.stepped_s = step_s
    told_s = await database.tell(clock, took_s / 2, took_s / 2)
    assert told_s == pytest.approx(step_s, abs=took_s + 0.002)
    assert abs(told_s) <= abs(step_s) + 0.001
    for _ in range(20):
        assert -1e-5 <= database.lag_s(clock) <= took_s / 2 + 0.001
        await trio.sleep(1)
        assert await database.tell(clock, took_s / 2, took_s / 2) == 0.0
    assert autojump_clock.autojump_threshold == 0


async def test_slow_reply_alone_does_not_hide_a_step_longer_than_itself(
    autojump_clock: MockClock,
) -> None:
    clock, database = Clock(), StrangeDatabase()
    await database.tell(clock, 0.001, 0.001)
    for step_s in (0.8, -0.8):
        database.stepped_s += step_s
        assert await database.tell(clock, 0.1, 0.1) == pytest.approx(step_s, abs=0.21)
        assert 0 <= database.lag_s(clock) <= 0.101
        await database.tell(clock, 0.001, 0.001)
    assert autojump_clock.autojump_threshold == 0


async def test_slow_reply_is_no_step_back(autojump_clock: MockClock) -> None:
    clock = Clock()
    await read(clock, 0.0)
    for took_s in (0.99, 5.0, 60.0):
        assert await read(clock, took_s) == 0.0
    assert 0.0 <= lag_s(clock) <= DRIFT * trio.current_time()
    assert autojump_clock.autojump_threshold == 0


async def test_it_takes_as_long_until_an_instant_as_the_clock_lacks(
    autojump_clock: MockClock,
) -> None:
    clock = Clock()
    await read(clock, 0.0)
    assert clock.seconds_until(clock.now() + timedelta(seconds=5)) == pytest.approx(5)
    autojump_clock.jump(6)
    assert clock.seconds_until(START + timedelta(seconds=5)) < 0


def test_clock_that_stands_never_comes_to_an_instant_and_remembers_it() -> None:
    clock = StandingClock(START)
    assert clock.first_awaited() is None
    soon, later = START + timedelta(microseconds=1), START + timedelta(days=1)
    assert clock.seconds_until(later) == clock.seconds_until(soon) == inf
    assert clock.seconds_until(START) == 0
    assert clock.first_awaited() == soon
    assert clock.take_reading(later, 0.0) == 0.0
    assert clock.now() == clock.timestamp() == START
    clock.set(later)
    assert clock.now() == later
    assert clock.first_awaited() is None
