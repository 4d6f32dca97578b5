"""How far a process is between its start and its end, told to all its parts by one object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Lifecycle:
    """The states of a process, each an event that stays set: it goes forward, never back.

    - `running`: its first load is done, so all its work is.
    - `handing_over`: a stop has begun. Others take its timers over; meanwhile it serves and fires.
    - `draining`: it begins nothing any more, and finishes what is under way.
    - `closed`: it waits for nothing any more; what is still under way is cut.
    """

    def __init__(self) -> None:
        self.running = trio.Event()
        self.handing_over = trio.Event()
        self.draining = trio.Event()
        self.closed = trio.Event()

    def stop(self) -> None:
        """Begin a stop in order; called again, hurry it: it is closed at once."""
        if self.handing_over.is_set():
            self.close()
        self.hand_over()

    def hand_over(self) -> None:
        """Begin a stop in order; called again, nothing happens."""
        self.handing_over.set()

    def drain(self) -> None:
        self.hand_over()
        self.draining.set()

    def close(self) -> None:
        self.drain()
        self.closed.set()

    async def close_after(self, grace_s: float) -> None:
        """Return once it is closed, which it is so many seconds after a stop has begun at last."""
        await self.handing_over.wait()
        with trio.move_on_after(grace_s):
            await self.closed.wait()
        self.close()


@asynccontextmanager
async def ended_by(event: trio.Event) -> AsyncIterator[None]:
    """Leave the block as soon as the event is set."""

    async def end() -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        yield
        nursery.cancel_scope.cancel()
