from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from typing import Final

import pytest
import trio

from tests.acceptance.client import read_answer
from tests.acceptance.processes import PATIENCE_S
from tests.acceptance.receiver import ReceiverProcess, percentile
from tests.acceptance.service import API_KEY, Service, service
from tests.hostile_requests import FATAL
from tests.hostile_scripts import Kind, play, script_of

# Without a key the answer comes at once, when the server has just seen the goodbye.
CUT = b"POST /timers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{ "
LEAD_S = 1.0
PER_S = 50
LATE_MS = 50.0
FIRST_SEED: Final = int(os.environ.get("FUZZ_SEED", "1"))
SECONDS: Final = int(os.environ.get("FUZZ_SECONDS", "8"))
SCRIPTS_PER_S = 60
GROWTH_MB = 30
GROWTH_FILES = 20
"""Connections to the database and to the receiver, opened when they are needed: hardly a tenth of
what one file lost by each script would come to."""
FEW_FILES = (
    "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
    "from timer_trio.cli import main; main(['serve'])"
)


async def test_requests_that_end_in_the_middle_leave_no_traceback(served: Service) -> None:
    for _ in range(40):
        with trio.fail_after(PATIENCE_S):
            async with await served.connect() as stream:
                await stream.send_all(CUT)
                await stream.send_eof()
                async for _ in stream:
                    pass
    await served.stop()
    assert not complaints(served)


@pytest.mark.timed
async def test_requests_that_break_their_connection_end_no_worker(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service("--workers", "2", DATABASE_URL=service_database) as served:
        await served.program.eventually(lambda: know_each_other(served) or None)
        timers = await create_steady(served, receiver, 3)
        for _ in range(5):  # so that each worker has each of them
            for request in FATAL.values():
                stream = await served.connect()
                await stream.send_all(request)
                with trio.fail_after(PATIENCE_S):
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 ")
                stream.socket.close()
        await assert_fired_on_time(receiver, timers)
        served.program.send_signal(signal.SIGHUP)
        assert await served.program.wait_ended() == 0
        assert not served.logged("worker_ended")
        assert not complaints(served)


@pytest.mark.timed
async def test_random_clients_harm_nothing(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as served:
        await attack(served, FIRST_SEED - 1, 1)  # the first ones open what stays open
        before = await settled_files(served), rss_mb(served)
        timers = await create_steady(served, receiver, SECONDS)
        await attack(served, FIRST_SEED, SECONDS)
        await assert_fired_on_time(receiver, timers)
        assert (await served.consumer.ask("GET", "/health")).status == 200
        after = await settled_files(served), rss_mb(served)
        await served.stop()
    again = f"FUZZ_SEED={FIRST_SEED} FUZZ_SECONDS={SECONDS}"
    assert not complaints(served), again
    assert not served.logged("connection_broken"), again
    assert after[0] <= before[0] + GROWTH_FILES, again
    assert after[1] <= before[1] + GROWTH_MB, again


CROWD = 300
CROWD_SECONDS = 5


@pytest.mark.timed
async def test_a_crowd_that_asks_without_a_pause_makes_no_timer_late(
    served: Service, receiver: ReceiverProcess
) -> None:
    async def ask_on() -> None:
        async with await served.connect() as stream:
            while True:
                await stream.send_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await read_answer(stream)).status == 200

    timers = await create_steady(served, receiver, CROWD_SECONDS)
    with trio.move_on_after(LEAD_S + CROWD_SECONDS):
        async with trio.open_nursery() as crowd:
            for _ in range(CROWD):
                crowd.start_soon(ask_on)
    await assert_fired_on_time(receiver, timers)


async def test_clients_take_no_file_that_a_callback_needs(
    service_database: str, receiver: ReceiverProcess
) -> None:
    program = ("-c", FEW_FILES)
    async with service(program=program, DATABASE_URL=service_database) as served:
        (told,) = served.logged("open_files_short")
        assert (told["MAX_IN_FLIGHT"], told["MAX_CONNECTIONS"]) == (76, 16)
        due_at = trio.current_time() + 2 * LEAD_S
        timers = await served.consumer.create_batch([due_at] * 90, callback_url=receiver.url())
        flood = [await begin_request(served, f"127.0.0.{number % 9 + 2}") for number in range(90)]
        idle = [connect_without_waiting(served) for _ in range(200)]
        await receiver.wait_fired(timers)
        for sock in idle:
            sock.close()
        for stream in flood:
            stream.socket.close()
        await served.consumer.wait_ended()
        assert await served.consumer.total("completed") == 90
        await served.stop()
        assert not complaints(served)
        assert not served.logged("accept_failed")


async def begin_request(served: Service, source: str) -> trio.SocketStream:
    """Connect from an address of this machine, and send half the head of a request."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.consumer.port, local_address=source)
    with suppress(trio.BrokenResourceError):  # it may have no place
        await stream.send_all(CUT[:20])
    return stream


def connect_without_waiting(served: Service) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", served.consumer.port))
    return sock


def know_each_other(served: Service) -> bool:
    return [line["replicas"] for line in served.logged("shards")].count(2) == 2


async def attack(served: Service, first_seed: int, seconds: int) -> None:
    """Let so many clients a second come, each with a script of its own."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(seconds * SCRIPTS_PER_S):
            await trio.sleep_until(began + number / SCRIPTS_PER_S)
            kind = list(Kind)[number % len(Kind)]
            script = script_of(first_seed + number, kind, API_KEY)
            nursery.start_soon(play, script, served.consumer.port)


async def create_steady(served: Service, receiver: ReceiverProcess, seconds: int) -> set[str]:
    due_at = trio.current_time() + LEAD_S
    instants = [due_at + number / PER_S for number in range(seconds * PER_S)]
    timers: set[str] = set()
    for first in range(0, len(instants), 1000):
        some = instants[first : first + 1000]
        timers |= await served.consumer.create_batch(some, callback_url=receiver.url())
    return timers


async def assert_fired_on_time(receiver: ReceiverProcess, timers: set[str]) -> None:
    await receiver.wait_fired(timers)
    assert receiver.times_fired == dict.fromkeys(timers, 1)
    late_ms = percentile([arrival.late_ms for arrival in receiver.arrivals], 0.99)
    machine_ms = percentile(receiver.wakes_late_ms, 0.99)
    print(f"late p99 {late_ms:.1f} ms; the machine itself {machine_ms:.1f} ms")  # noqa: T201 - for pytest -s
    assert late_ms <= LATE_MS + machine_ms


async def settled_files(served: Service) -> int:
    """Count the files that the service has open, once nothing is left of those that came."""
    count, last = 0, -1
    with trio.fail_after(PATIENCE_S):
        while count != last:
            last = count
            await trio.sleep(1)
            count = len(os.listdir(f"/proc/{served.program.pid}/fd"))  # noqa: PTH208 - a count
    return count


def rss_mb(served: Service) -> float:
    with open(f"/proc/{served.program.pid}/statm") as file:  # noqa: PTH123 - of no path's
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def complaints(served: Service) -> list[str]:
    """Find what nobody wants to see in the log, tracebacks first of all."""
    loud = [str(line) for line in served.log if line["level"] in {"error", "critical"}]
    return loud + [line for line in served.program.err if not line.startswith("{")]
