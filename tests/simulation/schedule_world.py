"""A world with schedules: it notes each row of a schedule or an occurrence as it is written."""

from __future__ import annotations

from random import Random
from typing import Final
from uuid import UUID

import trio

from tests.simulation.faults import Faults
from tests.simulation.history import Send, Try
from tests.simulation.noted import Noted
from tests.simulation.schedule_history import (
    Claimed,
    Commit,
    OccurrenceLog,
    ScheduleLog,
    ScheduleRequest,
    StatusSince,
)
from tests.simulation.world import Build, World, second
from timer_trio.domain.attempt import all_attempts
from timer_trio.domain.schedule import Schedule, ScheduleId
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage.memory.database import Row

HEALED_S: Final = 15.0
"""From the last trouble until all that was overdue has been planned and sent."""


class ScheduleWorld(World):
    """A World whose callbacks are those of occurrences."""

    def __init__(self, random: Random, faults: Faults, build: Build, nursery: trio.Nursery) -> None:
        super().__init__(random, faults, build, nursery)
        self.schedules: dict[ScheduleId, ScheduleLog] = {}
        self.requests: list[ScheduleRequest] = []
        self.strays: list[str] = []
        """What was sent that is no occurrence."""
        self.ended_s = 0.0
        self._versions = 0
        self.database._schedules = Noted(self._note_schedule)
        self.database._rows = Noted(self._note_row, self._note_deleted)

    def next_version(self) -> int:
        """Return a number for a template, which its payload tells: all are different."""
        self._versions += 1
        return self._versions

    def tried(self, _: int | None, one: Try) -> None:
        holder = self.database._rows[TimerId(UUID(one.timer_id))].claimed_by
        one.is_held = holder is not None and self.names[holder] == one.process
        if known := self.occurrence(TimerId(UUID(one.timer_id))):
            known.tries.append(one)

    def sent(self, _: int | None, send: Send) -> None:
        known = self.occurrence(TimerId(UUID(send.timer_id)))
        if known is None:
            self.strays.append(f"{send} is of no occurrence")
        else:
            known.sends.append(send)

    def occurrence(self, timer_id: TimerId) -> OccurrenceLog | None:
        logs = self.schedules.values()
        return next(
            (log.occurrences[timer_id] for log in logs if timer_id in log.occurrences), None
        )

    async def healed(self) -> None:
        """Return when nothing goes wrong any more, and what was overdue has been caught up with."""
        self.faults.healed = True
        over_s = max((away.ended_s for away in self.faults.outages), default=0.0)
        await trio.sleep_until(max(trio.current_time(), over_s) + HEALED_S)
        self.ended_s = trio.current_time()

    async def _read_rows(self) -> None:
        for log in self.schedules.values():
            log.facts = await self.database.schedule_facts(log.id)
            for one in log.occurrences.values():
                records = await self.database.attempts(one.id) if one.is_there else ()
                one.attempts = all_attempts(one.row.timer, records)

    def _note_schedule(self, schedule_id: ScheduleId, schedule: Schedule) -> None:
        log = self.schedules.setdefault(schedule_id, ScheduleLog(id=schedule_id))
        log.commits.append(Commit(trio.current_time(), schedule))

    def _note_row(self, timer_id: TimerId, row: Row) -> None:
        assert row.timer.schedule_id is not None
        schedule_id = ScheduleId(row.timer.schedule_id)
        log = self.schedules.setdefault(schedule_id, ScheduleLog(id=schedule_id))
        one = log.occurrences.setdefault(timer_id, OccurrenceLog(row=row))
        before, status = one.statuses[-1].status if one.statuses else None, row.timer.status
        is_taken = row.claim != one.row.claim and status is Status.EXECUTING
        if is_taken and before is not None and row.claimed_by is not None:
            asked_s = second(row.timer.updated_at)
            one.claims.append(Claimed(trio.current_time(), row.timer.attempt, before, asked_s))
        if status is not before:
            one.statuses.append(StatusSince(trio.current_time(), status))
        one.row = row

    def _note_deleted(self, timer_id: TimerId) -> None:
        if known := self.occurrence(timer_id):
            known.statuses.append(StatusSince(trio.current_time(), None))
