from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.contract.timers import FIRST, NOW, spec
from timer_trio.domain.outcome import ENDINGS, Delivered, TimedOut
from timer_trio.domain.outcome_tally import End
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.settlement import WhyFailed
from timer_trio.domain.timer import ClaimedTimer, Destination, TimerId
from timer_trio.telemetry.ended_callback import EndedCallback
from timer_trio.telemetry.metrics import VERBS, Metrics
from timer_trio.telemetry.record import (
    BUSY_S,
    LINGER_S,
    MAX_LINES,
    MAX_WAITING,
    SPELL_S,
    Recorder,
)

TURNS: Final = 20


def fired(outcome: Delivered | TimedOut = Delivered(204)) -> EndedCallback:  # noqa: B008 - frozen
    timer = ClaimedTimer(
        id=TimerId(UUID(int=7)), claim=FIRST, attempt=1, requested_at=NOW, spec=spec(execute_at=NOW)
    )
    sent_at = NOW + timedelta(milliseconds=1.5)
    ended_at = sent_at + timedelta(milliseconds=30)
    return EndedCallback(
        timer, Destination("https://example.com:443"), outcome, None, sent_at, ended_at
    )


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        yield
        nursery.cancel_scope.cancel()


async def turns(clock: MockClock, each_s: float) -> None:
    """Let others run a few times, as if each time something else took so long."""
    for _ in range(TURNS):
        clock.jump(each_s)
        await trio.lowlevel.checkpoint()


async def test_firing_is_one_line_and_is_counted(mock_clock: MockClock) -> None:
    metrics = Metrics()
    recorder = Recorder(metrics)
    with capture_logs() as lines:
        async with running(recorder):
            recorder.note(fired())
            recorder.note(fired(TimedOut()))
            await turns(mock_clock, LINGER_S)
    delivered, timed_out = lines
    assert (delivered["event"], delivered["outcome"], delivered["status"]) == (
        "fired",
        "delivered",
        204,
    )
    assert (delivered["late_ms"], delivered["duration_ms"]) == (1.5, 30)
    assert (timed_out["outcome"], timed_out["status"]) == ("timed_out", None)
    for outcome in ("delivered", "timed_out"):
        count = metrics.registry.get_sample_value("timer_trio_fired_total", {"outcome": outcome})
        assert count == 1
    assert metrics.registry.get_sample_value("timer_trio_lateness_seconds_count") == 2
    assert metrics.registry.get_sample_value("timer_trio_callback_seconds_count") == 2
    took_s = metrics.registry.get_sample_value("timer_trio_callback_seconds_sum")
    assert took_s == pytest.approx(0.06)
    up_to = {"le": "0.025"}
    assert metrics.registry.get_sample_value("timer_trio_callback_seconds_bucket", up_to) == 0


def test_what_will_be_counted_is_shown_at_zero() -> None:
    sample = Metrics().registry.get_sample_value
    for outcome in (*(each.name for each in ENDINGS), "not_fired"):
        assert sample("timer_trio_fired_total", {"outcome": outcome}) == 0
    for reason in WhyFailed:
        assert sample("timer_trio_failed_total", {"reason": reason.value}) == 0
    for verb in VERBS:
        assert sample("timer_trio_flush_rows_count", {"verb": verb}) == 0


async def test_firings_are_counted_by_destination_as_they_are_written(
    mock_clock: MockClock,
) -> None:
    counted: list[tuple[list[End], datetime]] = []
    recorder = Recorder(Metrics(), lambda ends, at: counted.append(([*ends], at)))
    async with running(recorder):
        first, second = fired(), fired(TimedOut())
        recorder.note(first)
        recorder.note(second)
        await turns(mock_clock, LINGER_S)
        ends = [(each.destination, DEFAULT_PROJECT, each.outcome, 0.03) for each in (first, second)]
        assert counted == [(ends, second.ended_at)]
        recorder.note(first)
        recorder.flush()
        assert counted[1:] == [(ends[:1], first.ended_at)]
    assert len(counted) == 2


async def test_spell_of_shortages_is_warned_of_once_and_counted_in_full(
    mock_clock: MockClock,
) -> None:
    metrics = Metrics()
    recorder = Recorder(metrics)
    with capture_logs() as lines:
        for _ in range(100):
            recorder.note_shortage("no file descriptor left")
            mock_clock.jump(SPELL_S / 2)
        mock_clock.jump(SPELL_S)
        recorder.note_shortage("no memory left")
    assert lines == [
        {"event": "callbacks_put_off", "log_level": "warning", "reason": reason}
        for reason in ("no file descriptor left", "no memory left")
    ]
    assert metrics.registry.get_sample_value("timer_trio_shortages_total") == 101


async def test_lines_wait_while_others_have_much_to_do(mock_clock: MockClock) -> None:
    recorder = Recorder(Metrics())
    with capture_logs() as lines:
        async with running(recorder):
            for _ in range(3 * MAX_LINES):
                recorder.note(fired())
            await turns(mock_clock, LINGER_S)
            assert len(lines) == MAX_LINES
            # Three turns may fall into one look at how busy the others are.
            await turns(mock_clock, BUSY_S / 4)
            assert len(lines) == 3 * MAX_LINES


async def test_only_so_many_lines_wait(mock_clock: MockClock) -> None:
    recorder = Recorder(Metrics())
    with capture_logs() as lines:
        async with running(recorder):
            for _ in range(MAX_WAITING + 3 * MAX_LINES):
                recorder.note(fired())
            await turns(mock_clock, LINGER_S)
            assert MAX_LINES < len(lines) <= 4 * MAX_LINES


@pytest.mark.parametrize("count", [1, 3 * MAX_LINES])
async def test_what_waits_is_written_at_the_end(count: int) -> None:
    recorder = Recorder(Metrics())
    with capture_logs() as lines:
        async with running(recorder):
            for _ in range(count):
                recorder.note(fired())
            await trio.lowlevel.checkpoint()
            assert not lines
    assert len(lines) == count
