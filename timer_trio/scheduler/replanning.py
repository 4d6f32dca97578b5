"""What is pending of a schedule moved to where its rule has it by today's zone data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from timer_trio.clock import Clock
from timer_trio.domain.planning import Calendar, replanned
from timer_trio.domain.project import ProjectId
from timer_trio.domain.schedule import (
    Schedule,
    ScheduleChange,
    ScheduleId,
    Standing,
    due_occurrences,
)
from timer_trio.domain.timer import DueTimer
from timer_trio.storage.protocols import ScheduleBook

log = structlog.get_logger()


class Replanner:
    """Plans schedules anew; `offer` gets what is near then."""

    def __init__(
        self,
        *,
        storage: ScheduleBook,
        clock: Clock,
        calendar: Calendar,
        offer: Callable[[Iterable[DueTimer]], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._calendar = calendar
        self._offer = offer

    async def replan(self, schedule_id: ScheduleId, project: ProjectId) -> int:
        """Plan an active schedule anew; returns how many of its occurrences have moved.

        Raises:
            RuleError: its rule cannot be followed any more; nothing was changed.
            ScheduleNotFoundError: there is none.
            StorageUnavailableError: it may have been done or not.
            ContentionError: nothing was changed.
        """
        now = self._clock.now()

        def decide(schedule: Schedule, standing: Standing) -> ScheduleChange:
            return replanned(schedule, standing, now, self._calendar)

        written = await self._storage.change_schedule(schedule_id, decide, now, project)
        self._offer(due_occurrences(written.change.occurrences))
        if written.removed:
            log.info("schedule_replanned", schedule_id=str(schedule_id), moved=written.removed)
        return written.removed
