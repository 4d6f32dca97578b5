"""What is done to a schedule beside changing it: paused, triggered, filled, planned anew, tried."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from itertools import islice
from typing import Final

from quart import Response

from timer_trio.api.body.media import json_body
from timer_trio.api.body.nothing import refuse_fields
from timer_trio.api.context import ApiContext
from timer_trio.api.fields.schedule import BACKFILL, PREVIEW
from timer_trio.api.principal import own_project, own_quota
from timer_trio.api.responses import SummaryData, created, success, summary_json
from timer_trio.api.route import ON_BODY, ON_KEY, ON_ONE, Body, Operation, Route, Success
from timer_trio.api.routes.schedules import SCHEDULE_PARAMETER, TAG, schedule_id_of
from timer_trio.api.schedule_requests import (
    read_backfill,
    read_preview,
    reading_backfill,
    reading_preview,
)
from timer_trio.api.schedule_responses import (
    BackfilledData,
    PreviewData,
    ReplannedData,
    ScheduleData,
    whole_schedule,
)
from timer_trio.calendar import check_rule
from timer_trio.domain.audit import Action
from timer_trio.domain.project import Scope
from timer_trio.domain.rendering import instant_or_none
from timer_trio.domain.schedule_rule import Bounds
from timer_trio.domain.timer import rfc3339

_INSTANT: Final = timedelta(microseconds=1)
_ONE: Final = "/schedules/{schedule_id}"


def routes(context: ApiContext) -> Sequence[Route]:
    actions = _Actions(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    example = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-08T00:00:00Z"}
    preview = {"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1", "timezone": "Europe/Berlin", "count": 3}
    return (
        Route(
            method="POST", path=f"{_ONE}/pause", handler=actions.pause_schedule, operation=_PAUSE
        ),
        Route(
            method="POST", path=f"{_ONE}/resume", handler=actions.resume_schedule, operation=_RESUME
        ),
        Route(
            method="POST",
            path=f"{_ONE}/trigger",
            handler=actions.trigger_schedule,
            operation=_TRIGGER,
        ),
        Route(
            method="POST",
            path=f"{_ONE}/backfill",
            handler=actions.backfill_schedule,
            body=Body(model=BACKFILL, example=example, limits=limits),
            operation=_BACKFILL,
        ),
        Route(
            method="POST", path=f"{_ONE}/replan", handler=actions.replan_schedule, operation=_REPLAN
        ),
        Route(
            method="POST",
            path="/schedules/preview",
            handler=actions.preview_schedule,
            body=Body(model=PREVIEW, example=preview, limits=limits),
            operation=_PREVIEW,
            scope=Scope.READ,
        ),
    )


class _Actions:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._schedules = context.schedules
        self._slices = context.slices

    async def pause_schedule(self, schedule_id: str) -> Response:
        known_id = schedule_id_of(schedule_id)
        await refuse_fields(self._slices)
        await self._schedules.pause(known_id, own_project())
        shown = await self._schedules.show(known_id, own_project())
        self._context.audit.note(Action.SCHEDULE_PAUSED, known_id)
        return whole_schedule(shown)

    async def resume_schedule(self, schedule_id: str) -> Response:
        known_id = schedule_id_of(schedule_id)
        await refuse_fields(self._slices)
        await self._schedules.resume(known_id, own_project())
        shown = await self._schedules.show(known_id, own_project())
        self._context.audit.note(Action.SCHEDULE_RESUMED, known_id)
        return whole_schedule(shown)

    async def trigger_schedule(self, schedule_id: str) -> Response:
        known_id = schedule_id_of(schedule_id)
        await refuse_fields(self._slices)
        timer = await self._schedules.trigger(known_id, own_project(), own_quota())
        self._context.audit.note(Action.SCHEDULE_TRIGGERED, known_id, timer_id=str(timer.id))
        return created(summary_json(timer), timer.id)

    async def backfill_schedule(self, schedule_id: str) -> Response:
        arrived_at = self._context.clock.now()
        known_id = schedule_id_of(schedule_id)
        members = await self._slices.finish(reading_backfill(await json_body()))
        wanted = read_backfill(members, arrived_at, self._context.rules)
        done = await self._schedules.backfill(known_id, wanted, own_project(), own_quota())
        if done.created:
            self._context.audit.note(Action.SCHEDULE_BACKFILLED, known_id, count=done.created)
        data = {"created": done.created, "next": instant_or_none(done.next)}
        return success(data, HTTPStatus.CREATED)

    async def replan_schedule(self, schedule_id: str) -> Response:
        known_id = schedule_id_of(schedule_id)
        await refuse_fields(self._slices)
        moved = await self._context.replanner.replan(known_id, own_project())
        if moved:
            self._context.audit.note(Action.SCHEDULE_REPLANNED, known_id, count=moved)
        return success({"moved": moved})

    async def preview_schedule(self) -> Response:
        arrived_at = self._context.clock.now()
        members = await self._slices.finish(reading_preview(await json_body()))
        timing, most, first = read_preview(members, arrived_at, self._context.rules)
        bounds = Bounds(
            anchor=timing.start_at or arrived_at,
            starts_at_anchor=timing.start_at is not None,
            end_at=timing.end_at,
        )
        check_rule(timing.rule, bounds)
        instants = self._context.calendar.instants(timing.rule, bounds, first - _INSTANT)
        found = await self._slices.collect(islice(instants, most))
        return success({"next": [rfc3339(instant) for instant in found]})


_PAUSE: Final = Operation(
    name="pauseSchedule",
    tag=TAG,
    summary="Pause a schedule",
    description="Once this answers 200, no occurrence begins until it is resumed; one that is "
    "executing or retrying goes on. Again on a paused one: the same answer.",
    success=Success(
        words="The schedule as it is now.",
        data=ScheduleData,
        example={"status": "paused", "next": []},
    ),
    refusals=(*ON_ONE, *ON_BODY, *ON_KEY),
    parameters=(SCHEDULE_PARAMETER,),
)
_RESUME: Final = Operation(
    name="resumeSchedule",
    tag=TAG,
    summary="Resume a paused schedule",
    description="It goes on with the next instant: nothing of the pause is made up. Again on an "
    "active one: the same answer.",
    success=Success(words="The schedule as it is now.", data=ScheduleData),
    refusals=(*ON_ONE, *ON_BODY, *ON_KEY),
    parameters=(SCHEDULE_PARAMETER,),
)
_TRIGGER: Final = Operation(
    name="triggerSchedule",
    tag=TAG,
    summary="Fire a schedule now",
    description="An occurrence beside the rule, due at once; of a paused schedule as well. A 503 "
    "with an id in its data leaves open whether the timer exists.",
    success=Success(
        words="The timer of this occurrence.",
        data=SummaryData,
        status=201,
        makes_a_timer=True,
    ),
    refusals=(*ON_ONE, *ON_BODY, *ON_KEY),
    parameters=(SCHEDULE_PARAMETER,),
)
_BACKFILL: Final = Operation(
    name="backfillSchedule",
    tag=TAG,
    summary="Make up for occurrences of the past",
    description="Each instant of the rule from `from` to `to`, both included, becomes a timer that "
    "is due now, or one after the other at `rate_per_second`; the callback's `X-Schedule-Instant` "
    "says for which instant. The same ones again are not created anew, so the request can be "
    "repeated after a 503, or a 403 because `max_live_timers` is used up, which may come when some "
    "are created.",
    success=Success(words="How many are new.", data=BackfilledData, status=201),
    refusals=(*ON_ONE, *ON_BODY, *ON_KEY),
    parameters=(SCHEDULE_PARAMETER,),
)
_REPLAN: Final = Operation(
    name="replanSchedule",
    tag=TAG,
    summary="Plan a schedule anew",
    description="Moves what is pending to where the rule has it by today's zone data: a replica "
    "does so by itself when it starts with another version of it. A schedule that is not active "
    "has nothing to move.",
    success=Success(words="How many were moved.", data=ReplannedData),
    refusals=(*ON_ONE, *ON_BODY),
    parameters=(SCHEDULE_PARAMETER,),
)
_PREVIEW: Final = Operation(
    name="previewSchedule",
    tag=TAG,
    summary="Which instants does a rule have?",
    description="Nothing is written. The first ones from `from` on, that instant included, as a "
    "schedule that is created now would have them; jitter is not part of them.",
    success=Success(words="The instants.", data=PreviewData),
    refusals=(400, 401, *ON_BODY),
)
