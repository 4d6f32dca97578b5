from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from timer_trio.config import Settings
from timer_trio.run.open_files import Shares
from timer_trio.run.process import STOP_SIGNALS, fit, handled_signals


@pytest.fixture
def handlers_kept() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.usefixtures("handlers_kept")
async def test_each_stop_signal_is_handled(number: signal.Signals) -> None:
    handled = trio.Event()
    with trio.fail_after(30):
        async with handled_signals() as signals:
            signals.handler = handled.set
            os.kill(os.getpid(), number)
            await handled.wait()


@pytest.mark.usefixtures("handlers_kept")
async def test_hangup_that_nohup_has_switched_off_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    async with handled_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        await trio.testing.wait_all_tasks_blocked(0.05)


def test_settings_that_fit_are_left_alone() -> None:
    settings = Settings()
    with capture_logs() as log:
        assert fit(settings, Shares(clients=4096, callbacks=1000, idle=1000)) == settings
    assert not log


def test_callbacks_are_lowered_to_what_can_be_open_and_that_is_told() -> None:
    with capture_logs() as log:
        fitted = fit(Settings(), Shares(clients=64, callbacks=72, idle=64))
    assert (fitted.max_in_flight, fitted.max_in_flight_per_destination) == (72, 72)
    (line,) = log
    assert (line["event"], line["log_level"]) == ("open_files_short", "warning")
    assert (line["MAX_IN_FLIGHT"], line["MAX_CONNECTIONS"]) == (72, 64)
