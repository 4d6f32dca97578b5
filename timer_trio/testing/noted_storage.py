"""Storage in memory that tells what falls due next, and notes what was fired."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import TimerId
from timer_trio.domain.virtual_time import MOST_FIRED, Fired
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.memory.database import Row

_HIGHEST_ID: Final = TimerId(UUID(int=2**128 - 1))


class NotedStorage(MemoryStorage):
    """Remembers the last attempts, until somebody takes them."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self._fired: deque[Fired] = deque(maxlen=MOST_FIRED)
        self.fired_count = 0
        """Of all that were ever noted."""

    def take_fired(self) -> Sequence[Fired]:
        """Return the attempts that have ended since this was asked last."""
        fired, self._fired = self._fired, deque(maxlen=MOST_FIRED)
        return tuple(fired)

    def first_due(self, after: datetime) -> datetime | None:
        """Return when something is to be fired or planned next; None: never."""
        return min(self._due_after(after), default=None)

    def _due_after(self, after: datetime) -> Iterator[datetime]:
        for due in self._due:
            place = bisect_right(due, (after, _HIGHEST_ID))
            if place < len(due):
                yield due[place][0]
        for schedule in self._schedules.values():
            if schedule.plan_at is not None and schedule.plan_at > after:
                yield schedule.plan_at

    def _settle(self, settlement: Settlement, now: datetime) -> bool | None:
        before = self._rows.get(settlement.timer_id)
        written = super()._settle(settlement, now)
        after = self._rows.get(settlement.timer_id)
        if before is not None and after is not None and after is not before and settlement.is_begun:
            self._fired.append(_fired(before, after, settlement))
            self.fired_count += 1
        return written


def _fired(before: Row, after: Row, settlement: Settlement) -> Fired:
    spec = before.timer.spec
    return Fired(
        timer_id=before.timer.id,
        attempt=before.timer.attempt,
        status=after.timer.status,
        http_status=settlement.http_status,
        last_error=settlement.last_error,
        url=spec.callback.url,
        due_at=before.next_attempt_at or spec.execute_at,
        sent_at=settlement.executed_at,
        next_attempt_at=after.timer.next_attempt_at,
    )
