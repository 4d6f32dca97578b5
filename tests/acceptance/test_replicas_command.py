"""`timer-trio replicas`, asked of real services on one database."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.acceptance.processes import PATIENCE_S, running
from tests.acceptance.service import API_KEY, Service, service
from timer_trio import __version__
from timer_trio.domain.timer import SHARDS

Replica = dict[str, Any]


async def asked(one: Service, folder: Path, *options: str) -> list[str]:
    """What the command prints that asks this service."""
    url = f"http://127.0.0.1:{one.consumer.port}"
    environ = {"API_KEY": API_KEY, "TIMER_TRIO_URL": url, "HOME": str(folder)}
    command = ("-m", "timer_trio", "replicas", *options)
    async with running(*command, environ=environ, folder=folder) as program:
        assert await program.wait_ended() == 0, program.err
        return program.out


async def replicas(one: Service, folder: Path) -> dict[int, Replica]:
    """The replicas by their process, as one of them sees them."""
    data = json.loads("\n".join(await asked(one, folder, "--json")))
    return {each["pid"]: each for each in data["replicas"]}


async def seen(
    one: Service, folder: Path, is_wanted: Callable[[dict[int, Replica]], bool]
) -> dict[int, Replica]:
    """Ask until the answer is as it should be."""
    with trio.fail_after(PATIENCE_S):
        while not is_wanted(found := await replicas(one, folder)):  # noqa: ASYNC110 - as an operator would
            await trio.sleep(0.1)
    return found


def all_have_beaten(found: dict[int, Replica]) -> bool:
    return all(each["heartbeat_at"] for each in found.values())


async def test_two_services_are_seen_by_either_and_divide_the_shards(
    service_database: str, folder: Path
) -> None:
    replica = partial(service, DATABASE_URL=service_database)
    async with replica() as first, replica() as second:
        pids = [first.program.pid, second.program.pid]
        for asking in (first, second):
            found = await seen(asking, folder, all_have_beaten)
            assert list(found) == pids
            assert sum(each["shards"] for each in found.values()) == SHARDS
            assert min(each["shards"] for each in found.values()) > 0
            assert [pid for pid in pids if found[pid]["is_this_one"]] == [asking.program.pid]
            for each in found.values():
                assert (each["status"], each["version"]) == ("alive", __version__)
                assert abs(each["clock_offset_seconds"]) < 5
        heading, *rows = await asked(second, folder)
        assert heading.split()[:3] == ["status", "host:pid", "version"]
        marks = [row.split()[0] for row in rows]
        assert marks == ["alive", "*"]
        assert [f":{pid} " in row for pid, row in zip(pids, rows, strict=True)] == [True, True]


async def test_one_that_stops_is_leaving_and_then_gone(service_database: str, folder: Path) -> None:
    replica = partial(service, DATABASE_URL=service_database)
    async with replica() as first, replica() as second:
        leaver, stayer = first.program.pid, second.program.pid
        # One that has not heard of the other yet has nobody to leave its shards to.
        await first.program.eventually(
            lambda: next((line for line in first.logged("shards") if line["replicas"] == 2), None)
        )
        first.program.send_signal(signal.SIGTERM)
        found = await seen(second, folder, lambda found: found[leaver]["status"] == "leaving")
        assert (found[leaver]["shards"], found[stayer]["shards"]) == (0, SHARDS)
        found = await seen(second, folder, lambda found: leaver not in found)
        assert found[stayer]["shards"] == SHARDS


@pytest.mark.soak
async def test_one_that_was_killed_is_gone_when_the_other_has_taken_over(
    service_database: str, folder: Path
) -> None:
    replica = partial(service, DATABASE_URL=service_database)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(replica())
        second = await stack.enter_async_context(replica())
        await first.program.kill()
        found = await seen(second, folder, lambda found: first.program.pid not in found)
        assert found[second.program.pid]["shards"] == SHARDS
