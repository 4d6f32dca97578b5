"""One schedule: created, listed, read, changed, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from quart import Response, request

from timer_trio.api.body.canonical import Fingerprint
from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.fields.schedule import CREATE_SCHEDULE, UPDATE_SCHEDULE
from timer_trio.api.idempotency import KeyedRequests, New, idempotency_key, new_schedule
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.principal import own_project
from timer_trio.api.query import is_id, parse_schedule_query
from timer_trio.api.responses import success
from timer_trio.api.route import (
    KEY_PARAMETER,
    ON_BODY,
    ON_KEY,
    ON_ONE,
    ON_STORED,
    Body,
    Json,
    Operation,
    Route,
    Success,
)
from timer_trio.api.routes.list_parameters import SCHEDULE_LIST_PARAMETERS
from timer_trio.api.schedule_requests import read_schedule, read_schedule_change, reading_schedule
from timer_trio.api.schedule_responses import (
    EndedData,
    ScheduleData,
    SchedulePageData,
    created_schedule,
    kept_json,
    page_of_schedules,
    shown_json,
    whole_schedule,
    writing_schedules,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import ScheduleNotFoundError
from timer_trio.domain.schedule import Plan, ScheduleId

TAG: Final = "schedules"
SCHEDULE_PARAMETER: Final[Json] = {
    "name": "schedule_id",
    "in": "path",
    "required": True,
    "description": "As the create answered it; anything else is a 404.",
    "schema": {"type": "string", "format": "uuid"},
}
EXAMPLE: Final = {
    "cron": "0 9 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "callback_url": "https://example.com/hooks/report",
    "callback_payload": {"report": "daily"},
}


def routes(context: ApiContext) -> Sequence[Route]:
    schedules = _Schedules(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    one = "/schedules/{schedule_id}"
    return (
        Route(
            method="POST",
            path="/schedules",
            handler=schedules.create_schedule,
            body=Body(model=CREATE_SCHEDULE, example=EXAMPLE, limits=limits),
            operation=_CREATE,
        ),
        Route(method="GET", path="/schedules", handler=schedules.list_schedules, operation=_LIST),
        Route(method="GET", path=one, handler=schedules.get_schedule, operation=_GET),
        Route(
            method="PUT",
            path=one,
            handler=schedules.update_schedule,
            body=Body(model=UPDATE_SCHEDULE, example={"cron": "30 8 * * MON-FRI"}, limits=limits),
            operation=_UPDATE,
        ),
        Route(method="DELETE", path=one, handler=schedules.end_schedule, operation=_END),
    )


class _Schedules:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._schedules = context.schedules
        self._keyed = KeyedRequests(
            context,
            lambda answer: created_schedule(answer.data, ScheduleId(answer.timer_ids[0])),
        )
        self._cursor_key = context.cursor_key

    async def create_schedule(self) -> Response:
        arrived_at = self._context.clock.now()
        key = idempotency_key()
        raw = await json_body()
        members = await self._members_of(raw)
        if key is not None:
            return await self._create_keyed(key, raw, members, arrived_at)
        new = self._new(members, arrived_at)
        await self._schedules.create(new)
        data = shown_json(self._schedules.show_new(new))
        self._context.audit.note(Action.SCHEDULE_CREATED, new.schedule.id)
        return created_schedule(data, new.schedule.id)

    async def _create_keyed(
        self, key: str, raw: bytes, members: Mapping[str, object], arrived_at: datetime
    ) -> Response:
        async def read() -> New:
            new = self._new(members, arrived_at)
            return new_schedule(self._schedules, new, kept_json(self._schedules.show_new(new)))

        fingerprint = Fingerprint("POST /schedules")
        await self._context.slices.finish(fingerprint.reading(raw))
        fingerprint.end()
        return await self._keyed.answer(key, fingerprint, read)

    async def list_schedules(self) -> Response:
        query = parse_schedule_query(request.query_string, self._cursor_key, own_project())
        page = await self._context.storage.schedules(query)
        now = self._context.clock.now()
        writing = writing_schedules(page.schedules, self._context.calendar, now)
        written = await self._context.slices.collect(writing)
        return page_of_schedules(written, page, query, self._cursor_key)

    async def get_schedule(self, schedule_id: str) -> Response:
        refuse_parameters(request.query_string)
        return whole_schedule(
            await self._schedules.show(schedule_id_of(schedule_id), own_project())
        )

    async def update_schedule(self, schedule_id: str) -> Response:
        arrived_at = self._context.clock.now()
        known_id = schedule_id_of(schedule_id)
        members = await self._members_of(await json_body())
        wanted = read_schedule_change(members, arrived_at, self._context.rules)
        await self._schedules.change(known_id, wanted.apply, own_project(), wanted.flow_key)
        shown = await self._schedules.show(known_id, own_project())
        self._context.audit.note(Action.SCHEDULE_CHANGED, known_id, fields=sorted(members))
        return whole_schedule(shown)

    async def end_schedule(self, schedule_id: str) -> Response:
        refuse_parameters(request.query_string)
        ended = await self._schedules.end(schedule_id_of(schedule_id), own_project())
        self._context.audit.note(Action.SCHEDULE_DELETED, ended.id)
        return success({"id": str(ended.id), "status": ended.status})

    async def _members_of(self, raw: bytes) -> dict[str, object]:
        return await self._context.slices.finish(reading_schedule(raw, self._context.rules))

    def _new(self, members: Mapping[str, object], arrived_at: datetime) -> Plan:
        spec, flow_key = read_schedule(members, arrived_at, self._context.rules)
        return self._schedules.new(spec, arrived_at, own_project(), flow_key)


def schedule_id_of(text: str) -> ScheduleId:
    """Read an id from a path.

    Raises:
        ScheduleNotFoundError: it is none, so that no schedule has it.
    """
    if not is_id(text):
        raise ScheduleNotFoundError
    return ScheduleId(UUID(text))


_CREATE: Final = Operation(
    name="createSchedule",
    tag=TAG,
    summary="Create a schedule",
    description="A rule (exactly one of `cron`, `every` and `rrule`), and what each of its "
    "occurrences has of a timer. An occurrence is a timer, written ahead of its instant, with the "
    "schedule's id in `schedule_id` and in the callback's `X-Schedule-Id`. `next` tells the next "
    "five instants. A 503 with an id in its data leaves open whether the schedule exists; with an "
    "Idempotency-Key, send the same again to learn it.",
    success=Success(
        words="The new schedule.",
        data=ScheduleData,
        status=201,
        makes_a_schedule=True,
        may_be_replayed=True,
    ),
    refusals=(*ON_STORED, *ON_BODY, *ON_KEY),
    parameters=(KEY_PARAMETER,),
)
_LIST: Final = Operation(
    name="listSchedules",
    tag=TAG,
    summary="List schedules",
    description="The newest first. Pages never overlap.",
    success=Success(words="A page of schedules.", data=SchedulePageData),
    refusals=ON_STORED,
    parameters=SCHEDULE_LIST_PARAMETERS,
)
_GET: Final = Operation(
    name="getSchedule",
    tag=TAG,
    summary="Get a schedule",
    description="What it says, what it did, and the instants that come next. Its occurrences are "
    "listed by GET /timers?schedule_id=.",
    success=Success(words="The schedule.", data=ScheduleData),
    refusals=ON_ONE,
    parameters=(SCHEDULE_PARAMETER,),
)
_UPDATE: Final = Operation(
    name="updateSchedule",
    tag=TAG,
    summary="Change a schedule",
    description="Any of the fields, at least one; what is left out stays as it is. Another kind of "
    "rule takes the place of the one that is there; `timezone` alone moves the rule to another "
    "clock. null takes `start_at`, `end_at`, `max_occurrences`, `name`, `callback_headers`, "
    "`metadata`, `retry`, `on_completed` and `on_failed` away, makes `misfire_grace_seconds` "
    "endless, and is the JSON null as `callback_payload`. Once this answers 200, no occurrence of "
    "the old rule begins; one that is executing or retrying goes on. A schedule that has ended "
    "answers 409.",
    success=Success(words="The schedule as it is now.", data=ScheduleData),
    refusals=(*ON_ONE, *ON_BODY, *ON_KEY),
    parameters=(SCHEDULE_PARAMETER,),
)
_END: Final = Operation(
    name="endSchedule",
    tag=TAG,
    summary="End a schedule",
    description="For good: all of its occurrences that wait are canceled, retrying ones among "
    "them. Again on one that has ended: the same answer.",
    success=Success(words="The schedule has ended.", data=EndedData),
    refusals=ON_ONE,
    parameters=(SCHEDULE_PARAMETER,),
)
