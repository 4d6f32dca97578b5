"""Schedules to try planning and storages with."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Unpack
from uuid import UUID

from tests.contract.timers import NOW, spec
from timer_trio.calendar import instants
from timer_trio.domain.planning import Calendar, new_schedule
from timer_trio.domain.schedule import (
    CatchUp,
    Overlap,
    Schedule,
    ScheduleId,
    ScheduleSpec,
    Timing,
)
from timer_trio.domain.schedule_rule import CronRule, EveryRule, Rule
from timer_trio.domain.timer import SpecChange

CALENDAR: Final = Calendar(instants, "2026a")
EVERY_MINUTE: Final = EveryRule(seconds=60)
DAILY: Final = CronRule(text="0 9 * * *", timezone="Europe/Berlin")
FIRST_ID: Final = ScheduleId(UUID("01900000-0000-7000-8000-000000000007"))
SECOND_ID: Final = ScheduleId(UUID("01900000-0000-7000-8000-000000000107"))


def schedule_spec(
    rule: Rule = EVERY_MINUTE,
    *,
    name: str | None = None,
    start_at: datetime | None = None,
    end_at: datetime | None = None,
    max_occurrences: int | None = None,
    catch_up: CatchUp = CatchUp.LATEST,
    overlap: Overlap = Overlap.ALLOW,
    jitter_s: float = 0.0,
    **template: Unpack[SpecChange],
) -> ScheduleSpec:
    timing = Timing(
        rule=rule,
        start_at=start_at,
        end_at=end_at,
        max_occurrences=max_occurrences,
        catch_up=catch_up,
        overlap=overlap,
        jitter_s=jitter_s,
    )
    return ScheduleSpec(name=name, timing=timing, template=spec(**template))


def schedule_of(
    wanted: ScheduleSpec, schedule_id: ScheduleId = FIRST_ID, now: datetime = NOW
) -> Schedule:
    return new_schedule(schedule_id, wanted, now)
