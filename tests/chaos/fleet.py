"""Several replicas on one database, each a process with a port of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

import trio

from tests.acceptance.client import Consumer
from tests.acceptance.processes import PATIENCE_S
from tests.acceptance.service import Service, service

NAMES: Final = ("a", "b", "c")
STOPPED: Final = "T"


class Replica:
    """A process under test. `is_in_turn`: whether a load balancer would send it anything."""

    def __init__(self, name: str, served: Service) -> None:
        self.name = name
        self.served = served
        self.is_in_turn = True
        self.over = trio.Event()

    @property
    def consumer(self) -> Consumer:
        return self.served.consumer

    @property
    def id(self) -> str:
        """Under what it is known to the others now."""
        return str(self.served.logged("joined")[-1]["replica"])

    @property
    def fired(self) -> set[tuple[str, int]]:
        """The timers that it says it has sent, each with its attempt."""
        return {(line["timer_id"], line["attempt"]) for line in self.served.logged("fired")}

    @property
    def starting_s(self) -> float:
        """When it began to look for its database, in Unix seconds."""
        return when(self.served.logged("starting")[0])

    @property
    def ready_s(self) -> float:
        """When it was ready first, in Unix seconds; infinity: not yet."""
        return min((when(line) for line in self.served.logged("ready")), default=inf)

    def swept(self, replica_id: str) -> float | None:
        """Tell when it swept another one, in Unix seconds."""
        lines = self.served.logged("swept_dead_replica")
        return next((when(line) for line in lines if line["replica"] == replica_id), None)

    async def freeze(self) -> None:
        """Stop it where it stands; returns when no thread of it runs any more."""
        os.kill(self.served.program.pid, signal.SIGSTOP)
        with trio.fail_after(PATIENCE_S):
            while _state(self.served.program.pid) != STOPPED:  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.001)

    def thaw(self) -> None:
        os.kill(self.served.program.pid, signal.SIGCONT)

    async def stop(self) -> int:
        """Stop it in good order; answers with its exit code."""
        self.served.program.send_signal(signal.SIGTERM)
        return await self.served.program.wait_ended()

    async def kill(self) -> None:
        self.is_in_turn = False
        await self.served.program.kill()


class Fleet:
    """The replicas that run now, by name, and in `gone` those that did."""

    def __init__(self, database_url: str, nursery: trio.Nursery) -> None:
        self._database_url = database_url
        self._nursery = nursery
        self.members: dict[str, Replica] = {}
        self.gone: list[Replica] = []

    @property
    def all(self) -> Sequence[Replica]:
        return [*self.gone, *self.members.values()]

    async def start(self, name: str, **environ: str) -> Replica:
        """Start one, in the place of another of this name that has ended; returns when ready."""
        return await self._start(name, environ, ready=True)

    async def launch(self, name: str) -> Replica:
        """Start one that may never be ready."""
        return await self._start(name, {}, ready=False)

    async def _start(self, name: str, environ: Mapping[str, str], *, ready: bool) -> Replica:
        if former := self.members.pop(name, None):
            former.over.set()
            self.gone.append(former)
        settings = {"DATABASE_URL": self._database_url, **environ}
        replica: Replica = await self._nursery.start(self._run, name, settings, ready)
        self.members[name] = replica
        return replica

    async def start_all(self, names: Sequence[str], **environ: str) -> None:
        async with trio.open_nursery() as starting:
            for name in names:
                starting.start_soon(partial(self.start, name, **environ))

    def others(self, *names: str) -> list[Replica]:
        return [replica for replica in self.members.values() if replica.name not in names]

    async def _run(
        self,
        name: str,
        settings: dict[str, str],
        ready: bool,  # noqa: FBT001 - a task is started with positions alone
        task_status: trio.TaskStatus[Replica],
    ) -> None:
        async with service(ready=ready, **settings) as served:
            replica = Replica(name, served)
            task_status.started(replica)
            await replica.over.wait()


@asynccontextmanager
async def fleet_on(database_url: str) -> AsyncIterator[Fleet]:
    """Have room for replicas until the block ends; none of them is left behind."""
    async with trio.open_nursery() as nursery:
        yield Fleet(database_url, nursery)
        nursery.cancel_scope.cancel()


def when(line: dict[str, str]) -> float:
    """Tell when a line of a log was written, in Unix seconds."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
