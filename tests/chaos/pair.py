"""A primary and its standby under load: what is done to them, and when that was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Final

import psycopg
import trio

from tests.acceptance.load import Load, load_on
from tests.acceptance.receiver import now
from tests.chaos.book import Book
from tests.chaos.fleet import Replica
from tests.chaos.stage import ENDED_S, PER_S, Ground, Stage, staged_on
from tests.several_servers import Server, Servers, several_servers

REPLICAS: Final = ("a", "b")
NEWCOMER: Final = "c"
NEWCOMER_READY_S: Final = 10.0
CREATES: Final = 60
"""Timers that consumers create one by one each second; half of them they cancel or change."""
LEAD_S: Final = 3.0
LEADS_S: Final = (3.0, 5.0)
"""How far ahead timers are created, the steady ones and those of consumers: so far that an outage
finds some, that they can be changed in time, and that a busy machine creates them in time."""
LOOK_S: Final = 0.1

_OURS: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'timer-trio'"
_END_OURS: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'timer-trio'
"""
_NEXT_XID: Final = "SELECT pg_current_xact_id()::text::bigint"
_RECOVERED_XID: Final = "SELECT split_part(next_xid, ':', 2)::bigint FROM pg_control_checkpoint()"
_KEPT: Final = "SELECT extract(epoch FROM pg_last_xact_replay_timestamp())::float"
_LIVING: Final = "SELECT count(*) FROM timers WHERE status IN ('pending', 'executing')"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long is waited for what.

    `detected_s`: until whoever watches a primary takes it for dead, and promotes its standby;
    `after_s`: after a change of roles; `pause_s`: between two occasions to go wrong; `frozen_s`:
    how long a primary stands still.
    """

    detected_s: float
    after_s: float
    pause_s: float
    frozen_s: float


FULL: Final = Pace(detected_s=2.0, after_s=5.0, pause_s=3.0, frozen_s=15.0)
SHORT: Final = Pace(detected_s=1.0, after_s=1.5, pause_s=1.0, frozen_s=9.0)


@dataclass(frozen=True, slots=True)
class Failover:
    """When the primary went, when another could be written to, and up to when it has all commits.

    All in Unix seconds.
    """

    done: str
    gone_s: float
    back_s: float
    kept_s: float


@dataclass(slots=True)
class Zombie:
    """A former primary that can be written to again, and what the service has done to it.

    `written`: how many transactions have begun to write. Nothing else does on such a server.
    """

    server: Server
    first_xid: int
    sessions: int = 0
    written: int = 0

    async def watch(self) -> None:
        """Look for sessions of the service, for ever."""
        while True:
            with suppress(psycopg.Error):
                self.sessions = max(self.sessions, await self.server.ask(_OURS))
            await trio.sleep(LOOK_S)

    async def count_written(self) -> None:
        self.written = await self.server.ask(_NEXT_XID) - self.first_xid


@dataclass(slots=True)
class Pair:
    """`primary` is where timers stand now, `other` its standby, or what it was before.

    `newcomer`: a replica that was started while both could be written to.
    """

    servers: Servers
    primary: Server
    other: Server
    pace: Pace
    stage: Stage = field(init=False)
    load: Load = field(init=False)
    failovers: list[Failover] = field(default_factory=list)
    zombies: list[Zombie] = field(default_factory=list)
    newcomer: Replica | None = None

    @property
    def url(self) -> str:
        return self.primary.url

    async def fail_over(self, done: str, gone_s: float) -> None:
        """Promote the standby of a primary that went."""
        await self.other.promote()
        back_s = now().timestamp()
        kept_s = await self.other.ask(_KEPT)
        self.primary, self.other = self.other, self.primary
        self.failovers.append(Failover(done, gone_s, back_s, kept_s))

    async def wait_until(self, instant_s: float) -> None:
        await trio.sleep(max(0.0, instant_s - now().timestamp()))

    async def raise_dead(self) -> Zombie:
        """Bring the former primary back as it was: nobody has told it of the new one."""
        await self.other.launch()
        # Its recovery ended with a checkpoint before it took the first connection.
        return self._note(Zombie(self.other, await self.other.ask(_RECOVERED_XID)))

    async def thaw(self, settled_s: float) -> Zombie:
        """Let a frozen one go on; what it had been sent before is done after so long."""
        self.other.thaw()
        await trio.sleep(settled_s)
        return self._note(Zombie(self.other, await self.other.ask(_NEXT_XID) + 1))

    def _note(self, zombie: Zombie) -> Zombie:
        self.zombies.append(zombie)
        self.stage.streaming.start_soon(zombie.watch)
        return zombie

    async def tempt(self) -> None:
        """Give the service every occasion to take the wrong one of two primaries."""
        await trio.sleep(self.pace.pause_s)
        await self.primary.ask(_END_OURS)
        await trio.sleep(self.pace.pause_s)
        self.newcomer = await self.stage.fleet.launch(NEWCOMER)
        # Who starts while the wrong one alone is up cannot know of the other.
        with trio.move_on_after(NEWCOMER_READY_S):
            await self.newcomer.served.wait_logged("ready")
        await trio.sleep(self.pace.pause_s)
        await self.primary.stop()
        await trio.sleep(self.pace.pause_s)
        await self.primary.launch()
        await trio.sleep(self.pace.pause_s)

    async def rejoin(self, *, synchronous: bool) -> None:
        """Make a standby of the former primary, which has ended."""
        await self.other.rewind(self.primary)
        self.other.settings.pop("synchronous_standby_names", None)
        await self.other.launch_behind(self.primary)
        if synchronous:
            await self.primary.set(synchronous_standby_names=self.other.name)

    async def finish(self) -> Book:
        """Create no more, wait until all has ended where the timers stand, and close the book."""
        self.stage.stream.enough = self.load.enough = True
        await self.stage.stream_over.wait()
        await self._wait_ended()
        # A double that somebody is about to send is to be seen.
        await trio.sleep(1.0)
        for zombie in self.zombies:
            await zombie.count_written()
        return await self.stage.book()

    async def _wait_ended(self) -> None:
        """Wait as long as fewer and fewer have not: a busy machine takes its time."""
        fewest = inf
        with trio.move_on_after(ENDED_S) as waiting:
            while living := await self.primary.ask(_LIVING):
                if living < fewest:
                    fewest, waiting.deadline = living, trio.current_time() + ENDED_S
                await trio.sleep(LOOK_S)


@asynccontextmanager
async def pair_under_load(ground: Ground, *, synchronous: bool) -> AsyncIterator[Pair]:
    """Have two servers, two replicas, timers that fire and consumers, until the block ends."""
    async with several_servers(ground.folder) as servers:
        primary = await servers.make_primary("one")
        standby = await servers.make_standby("two", primary, synchronous=synchronous)
        pair = Pair(servers, primary, standby, FULL if ground.is_full else SHORT)
        per_s = PER_S if ground.is_full else PER_S // 2
        async with staged_on(pair, servers.url, per_s=per_s, lead=lambda: LEAD_S) as stage:
            pair.stage = stage
            await stage.fleet.start_all(REPLICAS)
            await stage.begin()
            url, creates = stage.receiver.url("/load"), CREATES if ground.is_full else CREATES // 2
            load = load_on(stage.rotation, url, ground.chance, creates, LEADS_S)
            async with load as pair.load:
                await trio.sleep(pair.pace.pause_s)
                yield pair
