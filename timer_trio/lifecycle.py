"""How far a process is between its start and its end, told to all its parts by one object.

What each part does from which phase on::

    phase         begins                            who does what
    running       after the first load              API: is ready
    handing_over  with a signal, the parent's word  presence: owns no shard, lets others take over
                                                    API: not ready, asks for other connections,
                                                      breaks imports off
                                                    supervisor: joins and loads no more, if it does
                                                    all others: serve and fire as before
    draining      after the hand-over               server: takes no request, answers what it has
                                                    claimer: claims nothing more
                                                    claims: ask for nothing, wait for answers, look
                                                      at no locked row
                                                    launcher, firer: send what is claimed in time
    giving_back   after the last claim              launcher: starts nothing, gives back the rest
                                                    firer: begins no send, gives back what it has
                                                      not sent, waits for answers
    closed        after the grace, or with another  supervisor: cuts callbacks and requests
                  signal

When the last callback has ended, `run/stages.py` has the outcomes written and gives the
replica's place up. The parent of several workers goes from `running` to `handing_over` to `closed`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Lifecycle:
    """The phases of a process, each an event that stays set: it goes forward, never back.

    Each phase of a stop begins all those before it. A stop may come before `running`.
    """

    def __init__(self) -> None:
        self.running = trio.Event()
        self.handing_over = trio.Event()
        self.draining = trio.Event()
        self.giving_back = trio.Event()
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

    def give_back(self) -> None:
        self.drain()
        self.giving_back.set()

    def close(self) -> None:
        self.give_back()
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
