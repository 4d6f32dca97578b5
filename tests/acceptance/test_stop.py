from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from tests.acceptance.client import read_answer
from tests.acceptance.processes import PATIENCE_S, running
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, SERVE, Service, service
from timer_trio.embedded.folders import cluster_dir
from timer_trio.embedded.postmaster import live_postmaster

PROMPT_S = 3.0
"""Far below what a stop waits for callbacks (30 s), and above what a busy machine adds."""
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


async def test_stop_lets_callbacks_in_flight_finish(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as first:
        due_at = trio.current_time() + 0.5
        slow = await first.consumer.create_many([due_at] * 20, callback_url=receiver.url("/wait/2"))
        later = await first.consumer.create(delay=600, callback_url=receiver.url())
        await receiver.wait_arrivals(20)
        await first.stop()
    async with service(DATABASE_URL=service_database) as second:
        timers = [await second.consumer.get(timer_id) for timer_id in slow]
        assert (await second.consumer.get(later))["status"] == "pending"
    assert {(timer["status"], timer["attempt"]) for timer in timers} == {("completed", 1)}
    assert receiver.times_fired == dict.fromkeys(slow, 1)


async def test_stop_does_not_wait_for_clients_that_idle(served: Service) -> None:
    streams = [await served.connect() for _ in range(20)]
    for stream in streams[:10]:
        await stream.send_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(stream)).status == 200
    await streams[-1].send_all(b"POST /timers HTTP/1.1\r\nHost: x\r\nContent-Le")
    with trio.fail_after(PROMPT_S):
        await served.stop()
    for stream in streams:
        stream.socket.close()


async def test_second_signal_hurries_and_what_is_in_doubt_is_told(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as first:
        await first.consumer.create(delay=0, callback_url=receiver.url("/wait/25"))
        once = await first.consumer.create(
            delay=0, callback_url=receiver.url("/wait/25"), delivery="at_most_once"
        )
        await receiver.wait_arrivals(2)
        first.program.send_signal(signal.SIGTERM)
        await first.wait_logged("signal_received")
        with trio.fail_after(PROMPT_S):
            await first.stop()
        assert [line["outcome"] for line in first.logged("fired")] == ["interrupted"] * 2
    async with service(DATABASE_URL=service_database) as second:
        await receiver.wait_arrivals(3)
        timer = await second.consumer.get(once)
    assert timer["status"] == "failed"
    assert timer["last_error"].startswith("outcome unknown: the service stopped")
    assert receiver.times_fired[once] == 1


@pytest.mark.parametrize(("grace_s", "signals"), [(1, 1), (25, 2)])
async def test_stop_is_not_held_up_by_a_client_that_does_not_read(
    service_database: str, grace_s: int, signals: int
) -> None:
    async with service(DATABASE_URL=service_database, SHUTDOWN_GRACE=str(grace_s)) as served:
        stream = await served.connect()
        with trio.move_on_after(1):
            while True:
                await stream.send_all(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        for _ in range(signals):
            served.program.send_signal(signal.SIGTERM)
            await served.wait_logged("signal_received")
        with trio.fail_after(grace_s * (signals == 1) + PROMPT_S):
            assert await served.program.wait_ended() == 0
        stream.socket.close()
        assert not [line for line in served.log if line["level"] in {"error", "critical"}]


async def test_signals_that_come_until_it_has_exited_do_not_spoil_its_exit_code(
    served: Service,
) -> None:
    with trio.fail_after(PATIENCE_S):
        while served.program.code is None:
            served.program.send_signal(signal.SIGTERM)
            await trio.sleep(0.001)
    assert served.program.code == 0, served.program.err[-20:]


async def test_signal_that_comes_while_the_database_starts_ends_all_in_order(folder: Path) -> None:
    data_dir = folder / "data"
    environ = {"DATA_DIR": str(data_dir), "PORT": "0"}
    async with running(*SERVE, environ=environ) as starting:
        with trio.fail_after(PATIENCE_S):
            while not (data_dir / "lock").exists():  # noqa: ASYNC110 - a probe
                await trio.sleep(0.01)
        starting.send_signal(signal.SIGTERM)
        assert await starting.wait_ended() == 0, starting.err
    assert live_postmaster(cluster_dir(data_dir)) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_service_that_waits_for_its_database_says_so_and_stops_when_told(
    number: signal.Signals,
) -> None:
    async with service(DATABASE_URL=NOWHERE, ready=False) as waiting:
        await waiting.wait_logged("waiting_for_database")
        await waiting.assert_degraded()
        waiting.program.send_signal(number)
        with trio.fail_after(PROMPT_S):
            assert await waiting.program.wait_ended() == 0
        assert API_KEY not in "".join(waiting.program.err)
