"""Timers to be claimed whose rows somebody locks: they wait by themselves, and hold up no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import trio

from timer_trio.domain.arming import Armed
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.paused import FIRST_PAUSE_S, Paused, PausedItems
from timer_trio.domain.timer import Claim, DueTimer, ReplicaId
from timer_trio.storage import Looked, WorkStorage

MAX_LOCKED: Final = 10_000
"""Timers that wait here; more are left to the loader, which finds them again at its next look."""
MAX_LOOKS: Final = 500
"""Rows in one look: some 5 ms of the database's time."""


@dataclass(frozen=True, slots=True)
class LockedTimer:
    """A timer whose claim found its row locked, and the number under which it was asked for."""

    armed: Armed
    claim: Claim


class LockedTimers:
    """Looks again and again at what is locked, each time after a longer pause, up to a second.

    `on_free` gets the timers that nobody locks any more, and those of them that are due, with their
    due time; `on_held` those that turn out to be held under the claim that asked for them: its
    answer was lost, and came true later. No slot is held for what waits here.
    """

    def __init__(
        self,
        *,
        storage: WorkStorage,
        replica: Callable[[], ReplicaId],
        on_free: Callable[[Sequence[DueTimer], Sequence[DueTimer]], None],
        on_held: Callable[[Sequence[LockedTimer]], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._replica = replica
        self._on_free = on_free
        self._on_held = on_held
        self._waiting: PausedItems[LockedTimer] = PausedItems()
        self._claims: Counter[Claim] = Counter()
        self._looked_at = 0
        self._added = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + self._looked_at

    def know(self, claim: Claim) -> bool:
        """Whether this claim has asked for some of them, and may hold them."""
        return claim in self._claims

    def add_nowait(self, locked: LockedTimer) -> bool:
        """Keep a timer here; False: there are too many."""
        if len(self) >= MAX_LOCKED:
            return False
        self._waiting.add(locked, trio.current_time())
        self._claims[locked.claim] += 1
        self._added.set()
        return True

    async def run(self) -> NoReturn:
        """Look for ever; what waits here when it is cancelled has not been claimed."""
        while True:
            await self._wait_for_the_next()
            await self._look(self._waiting.take(trio.current_time(), MAX_LOOKS))
            # What comes meanwhile shares the next look.
            await trio.sleep(FIRST_PAUSE_S)

    async def _wait_for_the_next(self) -> None:
        while self._waiting.next_s > trio.current_time():
            self._added = trio.Event()
            with trio.move_on_at(self._waiting.next_s):
                await self._added.wait()

    async def _look(self, paused: Sequence[Paused[LockedTimer]]) -> None:
        self._looked_at = len(paused)
        claims = {one.item.armed.timer.id: one.item.claim for one in paused}
        try:
            looked = await self._storage.look_again(self._replica(), claims)
        except (StorageUnavailableError, ContentionError):
            looked = Looked(free=(), held=(), locked=claims.keys())
        finally:
            self._looked_at = 0
        await self._take_answer(paused, looked)

    async def _take_answer(self, paused: Sequence[Paused[LockedTimer]], looked: Looked) -> None:
        waiting = {one.item.armed.timer.id: one for one in paused}
        now_s = trio.current_time()
        for timer_id in looked.locked:
            self._waiting.again(waiting.pop(timer_id), now_s)
        held = [waiting.pop(timer_id).item for timer_id in looked.held]
        self._on_free([one.item.armed.timer for one in waiting.values()], looked.free)
        self._forget(one.item for one in waiting.values())
        if held:
            await self._on_held(held)
            self._forget(held)

    def _forget(self, told: Iterable[LockedTimer]) -> None:
        self._claims -= Counter(locked.claim for locked in told)
