from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.client import Answer, Consumer, read_answer
from tests.acceptance.conftest import as_url
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, Service, service
from tests.roles import documented_role
from timer_trio.embedded import running_url
from timer_trio.embedded.folders import cluster_dir
from timer_trio.embedded.postmaster import live_postmaster

TWO = ("--workers", "2")
LEAD_S = 1.5
TAKEOVER_S = 6.0
ORPHANED_S = 15.0
"""Far below what a worker waits for callbacks (30 s), above what it waits for a database (9 s)."""
QUEUED = 20
ALIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_workers_share_a_port_and_one_may_be_killed(
    folder: Path, receiver: ReceiverProcess
) -> None:
    async with service(*TWO, DATA_DIR=str(folder / "data")) as served:
        first, second = await worker_pids(served, 2)
        timer_ids: set[str] = set()
        for idle in (first, second):
            with frozen(idle):
                timer_ids |= await create_timers(served, receiver)
        with frozen(second), frozen(first):
            queued = [await connect_and_ask(served) for _ in range(QUEUED)]
            os.kill(first, signal.SIGKILL)
        for stream in queued:
            assert (await answer_of(stream)).status == 200
        assert (await ask_anew(served)).status == 200
        await receiver.wait_fired(timer_ids)
        third = (await worker_pids(served, 3))[-1]
        with frozen(second):
            assert (await ask_anew(served)).status == 200
        assert receiver.times_fired == dict.fromkeys(timer_ids, 1)
        assert max(arrival.late_ms for arrival in receiver.arrivals) <= TAKEOVER_S * 1000

        slow = await served.consumer.create(delay=0, callback_url=receiver.url("/wait/0.5"))
        await receiver.wait_fired([slow])
        postmaster = postmaster_pid(folder)
        await served.stop()
        outcomes = {line["timer_id"]: line["status"] for line in served.logged("fired")}
        assert outcomes[slow] == 200
        assert not any(map(is_alive, (first, second, third, postmaster)))
        assert len(served.logged("ready")) == len(served.logged("starting")) == 1


async def test_workers_end_with_their_parent_and_a_new_start_goes_on(
    folder: Path, receiver: ReceiverProcess
) -> None:
    data_dir = str(folder / "data")
    async with service(*TWO, DATA_DIR=data_dir) as first:
        workers = await worker_pids(first, 2)
        postmaster = postmaster_pid(folder)
        timer_ids = await create_timers(first, receiver)
        dead = replicas_in(folder)
        assert dead
        await first.program.kill()
        with trio.fail_after(ORPHANED_S):
            while any(map(is_alive, (*workers, postmaster))):  # noqa: ASYNC110 - a probe
                await trio.sleep(0.1)
    async with service(*TWO, DATA_DIR=data_dir, PORT=str(first.consumer.port)) as second:
        # Nobody waits until the rows of the dead have not changed for a while.
        assert not replicas_in(folder) & dead
        await receiver.wait_fired(timer_ids)
        await second.stop()
    assert receiver.times_fired == dict.fromkeys(timer_ids, 1)


async def test_whichever_worker_is_scraped_tells_of_all(
    service_database: str, receiver: ReceiverProcess
) -> None:
    created = 'timer_trio_requests_total{method="POST",route="/timers",status="201"}'
    async with service(*TWO, DATABASE_URL=service_database) as served:
        first, second = await worker_pids(served, 2)
        for idle in (first, second):
            with frozen(idle):
                await create_timers(served, receiver)
        for idle in (first, second):
            shown = await scraped(served)
            assert (shown[created], shown["timer_trio_workers"]) == (50, 2)
            with frozen(idle):
                shown = await scraped(served)
            # It is counted by what it told last, and is not known to work.
            assert (shown[created], shown["timer_trio_workers"]) == (50, 1)
        os.kill(first, signal.SIGKILL)
        await worker_pids(served, 3)
        shown = await scraped(served)
        assert (shown[created], shown["timer_trio_workers"]) == (50, 2)
        assert shown["timer_trio_workers_ended_total"] == 1


async def scraped(served: Service) -> dict[str, float]:
    """Read each series and its value over a connection of its own."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=10) as client:
        answer = await client.get(f"http://127.0.0.1:{served.consumer.port}/metrics")
    assert answer.status_code == 200, answer.text
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if line[0] != "#")
    return {series: float(value) for series, _, value in lines}


def replicas_in(folder: Path) -> set[UUID]:
    url = running_url(folder / "data")
    assert url is not None
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM replicas")}


async def test_worker_that_is_refused_ends_the_service_with_its_words(
    service_database: str,
) -> None:
    async with service(*TWO, DATABASE_URL=service_database) as served:
        first, second = await worker_pids(served, 2)
        with psycopg.connect(service_database) as connection:
            connection.execute(
                "INSERT INTO timer_trio_migrations"
                " SELECT version + 1000, 'x', 'x', applied_at, '999.0.0' FROM timer_trio_migrations"
            )
        os.kill(first, signal.SIGKILL)
        assert await served.program.wait_ended() == 2
        assert not is_alive(second)
        words = "\n".join(served.program.err)
        assert "Traceback" not in words
        assert "1001" in words


@pytest.mark.soak
async def test_worker_that_starts_while_a_right_is_revoked_waits_for_it(
    database_url: str, receiver: ReceiverProcess
) -> None:
    with documented_role(database_url, "timers_serve") as url:
        role = conninfo_to_dict(url)["user"]
        async with service(*TWO, DATABASE_URL=as_url(url)) as served:
            (first, _) = await worker_pids(served, 2)
            with psycopg.connect(database_url, autocommit=True) as owner:
                owner.execute(f"REVOKE UPDATE ON timers FROM {role}".encode())
                os.kill(first, signal.SIGKILL)
                await served.program.eventually(
                    lambda: next(filter(names_right, served.logged("waiting_for_database")), None)
                )
                owner.execute(f"GRANT UPDATE ON timers TO {role}".encode())
            await worker_pids(served, 3)
            await receiver.wait_fired(await create_timers(served, receiver))
            await served.stop()


def names_right(line: dict[str, Any]) -> bool:
    return "GRANT UPDATE ON timers" in line["reason"]


async def create_timers(served: Service, receiver: ReceiverProcess) -> set[str]:
    """Create some that fall due soon, and are not claimed yet; leaves no connection open."""
    due_at = trio.current_time() + LEAD_S
    instants = [due_at + i / 100 for i in range(25)]
    with closing(Consumer(API_KEY, served.consumer.port)) as consumer:
        return await consumer.create_many(instants, callback_url=receiver.url())


async def worker_pids(served: Service, count: int) -> list[int]:
    """Wait until so many workers have become ready since the start; answers with their numbers."""
    await served.program.eventually(lambda: len(served.logged("worker_ready")) >= count or None)
    return [line["pid"] for line in served.logged("worker_started")]


def postmaster_pid(folder: Path) -> int:
    postmaster = live_postmaster(cluster_dir(folder / "data"))
    assert postmaster is not None
    return postmaster.pid


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a worker take no connection."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed
            os.kill(pid, signal.SIGCONT)


async def ask_anew(served: Service) -> Answer:
    return await answer_of(await connect_and_ask(served))


async def connect_and_ask(served: Service) -> trio.SocketStream:
    stream = await served.connect()
    await stream.send_all(ALIVE)
    return stream


async def answer_of(stream: trio.SocketStream) -> Answer:
    async with stream:
        with trio.fail_after(3):
            return await read_answer(stream)


def is_alive(pid: int) -> bool:
    state = subprocess.run(  # noqa: S603 - a number is all that varies
        ["/bin/ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True
    ).stdout
    # An orphan that has ended stays a zombie where nobody waits for it.
    return state.strip()[:1] not in {"", "Z"}
