from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from timer_trio.run.lifeline import Lifeline
from timer_trio.run.metrics_line import MetricsLine
from timer_trio.run.metrics_of_all import MetricsOfAll
from timer_trio.run.parent import Worker, Workers

STUCK = [sys.executable, "-c", "import time; time.sleep(100)"]


@pytest.fixture
def stuck() -> Iterator[Worker]:
    """A worker that hears nothing."""
    (ours, theirs), (metrics, others) = socket.socketpair(), socket.socketpair()
    with theirs, others, subprocess.Popen(STUCK) as process:  # noqa: S603 - our own words
        yield Worker(process, Lifeline(ours), MetricsLine(metrics))
        process.kill()


@pytest.mark.parametrize(("grace_s", "signals"), [(0.0, 1), (60.0, 2)])
async def test_worker_that_does_not_stop_is_killed_after_its_time(
    stuck: Worker, grace_s: float, signals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_trio.run.parent.LAST_S", 0.05)
    workers = Workers(
        lambda: stuck,
        metrics=MetricsOfAll(1),
        grace_s=grace_s,
        on_ready=lambda: None,
        on_stop=lambda: None,
    )
    ended_well: list[bool] = []

    async def run() -> None:
        ended_well.append(await workers.run(1))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(signals):
                workers.stop()
    assert ended_well == [False]
