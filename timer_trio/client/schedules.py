"""Schedules: timers by a rule."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Unpack

from timer_trio.client.answers import (
    Backfilled,
    EndedSchedule,
    ListedSchedule,
    Page,
    Schedule,
    TimerSummary,
)
from timer_trio.client.call import Call, at, given
from timer_trio.client.fields import (
    Instant,
    NamedScheduleFields,
    RuleFields,
    ScheduleChanges,
    ScheduleFields,
    ScheduleFilters,
)
from timer_trio.client.operation import D, Resource, listing, operation
from timer_trio.client.reading import members, record

_SCHEDULE: Final = record(Schedule)
_ENDED: Final = record(EndedSchedule)


class Schedules(Resource[D]):
    """`client.schedules`."""

    @operation
    def create(
        self,
        callback_url: str,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[NamedScheduleFields],
    ) -> Call[Schedule]:
        """Create a schedule; sent again as a timer is."""
        wanted = {"callback_url": callback_url, **fields}
        return Call.create("/schedules", wanted, _SCHEDULE, idempotency_key, takes_key=True)

    def _listed(
        self, *, page_size: int = 50, **filters: Unpack[ScheduleFilters]
    ) -> Call[Page[ListedSchedule]]:
        """List schedules."""
        return Call.listed("schedules", ListedSchedule, filters, page_size)

    list = listing(_listed)
    page = operation(_listed)

    @operation
    def get(self, schedule_id: str) -> Call[Schedule]:
        return Call.get(at("/schedules/{}", schedule_id), _SCHEDULE)

    @operation
    def update(self, schedule_id: str, **changes: Unpack[ScheduleChanges]) -> Call[Schedule]:
        """Change a schedule: once this returns no occurrence of the old rule begins."""
        return Call.put(at("/schedules/{}", schedule_id), changes, _SCHEDULE)

    @operation
    def end(self, schedule_id: str) -> Call[EndedSchedule]:
        """End a schedule for good, and cancel what it has planned."""
        return Call.delete(at("/schedules/{}", schedule_id), _ENDED)

    @operation
    def get_by_name(self, name: str) -> Call[Schedule]:
        return Call.get(at("/schedules/by-name/{}", name), _SCHEDULE)

    @operation
    def put_by_name(
        self, name: str, callback_url: str, **fields: Unpack[ScheduleFields]
    ) -> Call[Schedule]:
        """Create the schedule of this name, or have it become what you say."""
        wanted = {"callback_url": callback_url, **fields}
        return Call.put(at("/schedules/by-name/{}", name), wanted, _SCHEDULE)

    @operation
    def end_by_name(self, name: str) -> Call[EndedSchedule]:
        return Call.delete(at("/schedules/by-name/{}", name), _ENDED, is_safe=False)

    @operation
    def pause(self, schedule_id: str) -> Call[Schedule]:
        return Call.post(at("/schedules/{}/pause", schedule_id), None, _SCHEDULE, is_safe=True)

    @operation
    def resume(self, schedule_id: str) -> Call[Schedule]:
        """Let a schedule go on; nothing of the pause is made up."""
        return Call.post(at("/schedules/{}/resume", schedule_id), None, _SCHEDULE, is_safe=True)

    @operation
    def trigger(self, schedule_id: str) -> Call[TimerSummary]:
        """Have one occurrence more, now."""
        return Call.post(at("/schedules/{}/trigger", schedule_id), None, record(TimerSummary))

    @operation
    def backfill(
        self,
        schedule_id: str,
        *,
        first: Instant,
        last: Instant,
        limit: int | None = None,
        rate_per_second: float | None = None,
    ) -> Call[Backfilled]:
        """Make up for the occurrences from `first` to `last`, each instant once."""
        wanted = {
            "from": first,
            "to": last,
            "limit": limit,
            "rate_per_second": rate_per_second,
        }
        path = at("/schedules/{}/backfill", schedule_id)
        return Call.post(path, given(wanted), record(Backfilled))

    @operation
    def preview(
        self,
        *,
        count: int | None = None,
        first: Instant | None = None,
        **rule: Unpack[RuleFields],
    ) -> Call[tuple[datetime, ...]]:
        """Tell which instants a rule has, from `first` on; nothing is written."""
        wanted = {**rule, **given({"count": count, "from": first})}
        return Call.post("/schedules/preview", wanted, members("next", datetime), is_safe=True)
