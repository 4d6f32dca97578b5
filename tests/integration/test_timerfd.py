from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from tests.receivers import open_files
from timer_trio.transport.timerfd import TimerFd

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the system has no timerfd")


@pytest.fixture
def timer() -> Iterator[TimerFd]:
    made = TimerFd()
    yield made
    made.close()


def is_readable(timer: TimerFd, within_s: float = 0.0) -> bool:
    readable, _, _ = select.select([timer.fileno()], [], [], within_s)
    return bool(readable)


def test_timer_that_was_never_set_stays_silent(timer: TimerFd) -> None:
    assert not is_readable(timer, 0.01)


@pytest.mark.parametrize("in_s", [1e-9, 0.0005, 0.02])
def test_timer_becomes_readable_and_never_early(timer: TimerFd, in_s: float) -> None:
    began_s = time.monotonic()
    timer.set(in_s)
    assert is_readable(timer, 10)
    assert time.monotonic() - began_s >= in_s
    assert is_readable(timer)  # it stays so until it is set anew


@pytest.mark.parametrize("in_s", [0.0, -1e-12, -7.5, -1e9])
def test_what_has_passed_is_readable_at_once(timer: TimerFd, in_s: float) -> None:
    timer.set(in_s)
    assert is_readable(timer, 10)


def test_timer_may_be_set_to_centuries_ahead(timer: TimerFd) -> None:
    timer.set(1e10)
    assert not is_readable(timer, 0.01)


def test_timer_that_is_set_anew_forgets_what_it_was_set_to(timer: TimerFd) -> None:
    timer.set(0.005)
    timer.set(3600)
    assert not is_readable(timer, 0.02)
    timer.set(0)
    assert is_readable(timer, 10)
    timer.set(3600)
    assert not is_readable(timer)


def test_timer_that_was_stopped_is_silent_until_it_is_set(timer: TimerFd) -> None:
    timer.set(0.005)
    timer.stop()
    assert not is_readable(timer, 0.02)
    timer.set(0)
    assert is_readable(timer, 10)
    timer.stop()
    assert not is_readable(timer)
    timer.set(0.001)
    assert is_readable(timer, 10)


def test_closed_timer_gives_back_its_descriptor() -> None:
    before = open_files()
    timer = TimerFd()
    assert open_files() == before + 1
    timer.close()
    assert open_files() == before
