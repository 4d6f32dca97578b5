from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from tests.acceptance.client import Consumer, NoAnswerError
from tests.acceptance.processes import PATIENCE_S, PROJECT
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, SERVE

pytestmark = pytest.mark.timed

BURSTS, EACH = 10, 200
LEAD_S = 1.5
LATE_MS = 200.0
STOP_S = 12.0
"""Workers hand over for 3.5 s, and their log and their parent's get a second each."""


def full_pipe() -> tuple[int, int]:
    """Make a pipe into which nothing more fits."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with suppress(BlockingIOError):
        while os.write(theirs, b"x"):
            pass
    os.set_blocking(theirs, True)
    return ours, theirs


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@asynccontextmanager
async def unread_service(
    folder: Path, *options: str, **environ: str
) -> AsyncIterator[tuple[trio.Process, int]]:
    """Run a service whose words nobody reads; yields it and its port."""
    port, (ours, theirs) = free_port(), full_pipe()
    own = {"PORT": str(port), "DATA_DIR": str(folder / "data"), "API_KEY": API_KEY}
    process = await trio.lowlevel.open_process(
        [sys.executable, *SERVE, *options],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "CALLBACK_ALLOW": "127.0.0.0/8", "LOG_LEVEL": "debug"}
        | own
        | environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield process, port
    finally:
        with trio.CancelScope(shield=True), suppress(ProcessLookupError):
            process.kill()
            await process.wait()
        os.close(ours)


async def wait_ready(consumer: Consumer) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            with suppress(NoAnswerError, OSError):
                if (await consumer.ask("GET", "/health/ready")).status == 200:
                    return
            await trio.sleep(0.1)


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
async def test_whoever_does_not_read_the_output_stops_nothing(
    folder: Path, receiver: ReceiverProcess, options: tuple[str, ...]
) -> None:
    async with unread_service(folder, *options) as (process, port):
        consumer = Consumer(API_KEY, port)
        await wait_ready(consumer)
        due_at = trio.current_time() + LEAD_S
        timers: set[str] = set()
        for burst in range(BURSTS):
            instants = [due_at + burst / 4] * EACH
            timers |= await consumer.create_batch(instants, callback_url=receiver.url())
        await receiver.wait_fired(timers)
        assert (await consumer.ask("GET", "/health")).status == 200
        assert receiver.times_fired == dict.fromkeys(timers, 1)
        late_ms = sorted(arrival.late_ms for arrival in receiver.arrivals)
        assert late_ms[len(late_ms) // 2] <= LATE_MS
        consumer.close()
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(STOP_S):
            assert await process.wait() == 0


async def test_wrong_settings_end_a_service_whose_output_nobody_reads(folder: Path) -> None:
    async with unread_service(folder, PORT="http") as (process, _):
        with trio.fail_after(STOP_S):
            assert await process.wait() == 2
