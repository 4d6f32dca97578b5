"""What every scenario plays on: a database, a receiver, replicas, and timers that fire steadily."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import trio

from tests.acceptance.database import own_database
from tests.acceptance.receiver import ReceiverProcess, now, receiver_process
from tests.chaos.book import Asked, Book, read_rows
from tests.chaos.fleet import Fleet, Replica, fleet_on
from tests.chaos.machine import Machine
from tests.chaos.rotation import Rotation
from tests.chaos.stream import LEAD_S, Stream

PER_S: Final = 200
ANSWER_S: Final = 0.1
"""How long the receiver takes to answer: at any moment twenty callbacks are in flight."""
ENDED_S: Final = 30.0
"""By then every timer has ended, or it never will."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a scenario may write, what chooses for it, and whether it takes its full length."""

    folder: Path
    chance: Random
    is_full: bool


class Source(Protocol):
    @property
    def url(self) -> str:
        """Where the timers stand now."""


@dataclass(slots=True)
class Stage:
    database: Source
    receiver: ReceiverProcess
    fleet: Fleet
    rotation: Rotation
    stream: Stream
    streaming: trio.Nursery
    machine: Machine = field(default_factory=Machine)
    stream_over: trio.Event = field(default_factory=trio.Event)

    async def begin(self, warm_s: float = 1.0) -> None:
        """Let timers fire; returns when they have done so for a while."""
        self.streaming.start_soon(self._stream)
        await self.receiver.wait_arrivals(int(warm_s * PER_S))

    async def create_at(self, replica: Replica, due_s: float, **fields: Any) -> str:
        """Create a timer through this very replica, and answer with its id."""
        execute_at = datetime.fromtimestamp(due_s, UTC).isoformat()
        timer_id = await replica.consumer.create(execute_at=execute_at, **fields)
        delivery = fields.get("delivery", "at_least_once")
        known_s = now().timestamp()
        self.stream.asked[timer_id] = Asked(-1, due_s, delivery, replica.name, known_s)
        return timer_id

    async def finish(self) -> Book:
        """Create no more, wait until all has ended, and close the book."""
        self.stream.enough = True
        await self.stream_over.wait()
        with trio.move_on_after(ENDED_S):
            living = next(each for each in self.fleet.members.values() if each.is_in_turn)
            await living.consumer.wait_ended()
        # A double that somebody is about to send is to be seen.
        await trio.sleep(0.5)
        return await self.book()

    async def book(self, *, read: bool = True) -> Book:
        """Say how it stands now; `read`: with all rows of the database."""
        return Book(
            asked=dict(self.stream.asked),
            arrivals=list(self.receiver.arrivals),
            rows=await read_rows(self.database.url) if read else {},
            machine_ms=max(self.receiver.wakes_late_ms, default=0.0),
            waited_ms=max(self.machine.waited_ms, default=0.0),
        )

    async def _stream(self) -> None:
        await self.stream.run()
        self.stream_over.set()


@asynccontextmanager
async def staged(
    ground: Ground, *, per_s: int = PER_S, lead: Callable[[], float] = lambda: LEAD_S
) -> AsyncIterator[Stage]:
    """Set everything up but the replicas, until the block ends."""
    async with (
        own_database(ground.folder) as database,
        staged_on(database, database.url, per_s=per_s, lead=lead) as stage,
    ):
        yield stage


@asynccontextmanager
async def staged_on(
    database: Source,
    database_url: str,
    *,
    per_s: int = PER_S,
    lead: Callable[[], float] = lambda: LEAD_S,
) -> AsyncIterator[Stage]:
    """Set everything up but database and replicas; `database_url` is what these are told."""
    async with (
        receiver_process() as receiver,
        fleet_on(database_url) as fleet,
        trio.open_nursery() as streaming,
    ):
        rotation = Rotation(fleet)
        stream = Stream(rotation, receiver.url(f"/wait/{ANSWER_S}"), per_s=per_s, lead=lead)
        stage = Stage(database, receiver, fleet, rotation, stream, streaming)
        streaming.start_soon(stage.machine.watch, fleet)
        yield stage
        streaming.cancel_scope.cancel()
