"""One schedule by the name that its consumer gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart import Response, request

from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import NoSuchScheduleNameError
from timer_trio.api.fields.schedule import CREATE_SCHEDULE
from timer_trio.api.fields.timer import MAX_NAME_LENGTH
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.principal import own_project
from timer_trio.api.requests import read_name
from timer_trio.api.responses import success
from timer_trio.api.route import ON_BODY, ON_ONE, ON_STORED, Body, Json, Operation, Route, Success
from timer_trio.api.routes.schedules import EXAMPLE, TAG
from timer_trio.api.schedule_requests import read_schedule, reading_schedule
from timer_trio.api.schedule_responses import (
    EndedData,
    ScheduleData,
    created_schedule,
    shown_json,
    whole_schedule,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.schedule import ScheduleId

PATH: Final = "/schedules/by-name/{name}"
_NAME: Final[Json] = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The schedule's `name`, percent-encoded.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
}


def routes(context: ApiContext) -> Sequence[Route]:
    named = _ByName(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    body = Body(model=CREATE_SCHEDULE, example=EXAMPLE, limits=limits)
    return (
        Route(method="GET", path=PATH, handler=named.get_by_name, operation=_GET),
        Route(method="PUT", path=PATH, handler=named.put_by_name, body=body, operation=_PUT),
        Route(method="DELETE", path=PATH, handler=named.end_by_name, operation=_END),
    )


class _ByName:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._schedules = context.schedules

    async def get_by_name(self, name: str) -> Response:
        refuse_parameters(request.query_string)
        return whole_schedule(await self._schedules.show(await self._named(name), own_project()))

    async def put_by_name(self, name: str) -> Response:
        arrived_at, rules = self._context.clock.now(), self._context.rules
        known_name = read_name(name, "name")
        members = await self._context.slices.finish(reading_schedule(await json_body(), rules))
        spec, flow_key = read_schedule(members, arrived_at, rules, known_name)
        written = await self._schedules.put_named(
            known_name, spec, arrived_at, own_project(), flow_key
        )
        shown = await self._schedules.show(written.schedule.id, own_project())
        action = Action.SCHEDULE_CREATED if written.is_new else Action.SCHEDULE_CHANGED
        self._context.audit.note(action, written.schedule.id)
        if written.is_new:
            return created_schedule(shown_json(shown), written.schedule.id)
        return whole_schedule(shown)

    async def end_by_name(self, name: str) -> Response:
        refuse_parameters(request.query_string)
        ended = await self._schedules.end(await self._named(name), own_project())
        self._context.audit.note(Action.SCHEDULE_DELETED, ended.id)
        return success({"id": str(ended.id), "status": ended.status})

    async def _named(self, name: str) -> ScheduleId:
        known_name = read_name(name, "name")
        known = await self._context.storage.schedule_named(known_name, own_project())
        if known is None:
            raise NoSuchScheduleNameError
        return known


_GET: Final = Operation(
    name="getScheduleByName",
    tag=TAG,
    summary="Get a schedule by its name",
    description="The one of this `name` that has not ended.",
    success=Success(words="The schedule.", data=ScheduleData),
    refusals=ON_ONE,
    parameters=(_NAME,),
)
_PUT: Final = Operation(
    name="putScheduleByName",
    tag=TAG,
    summary="Create or replace a schedule by its name",
    description="If a schedule has this `name` it becomes what the body says, all of it, and this "
    "answers 200; otherwise a new one is created: 201. So a deployment can send the schedules that "
    "it needs each time. A paused one stays paused, and each stays in its flow.",
    success=Success(words="The schedule as it is now.", data=ScheduleData, also=201),
    refusals=(*ON_STORED, *ON_BODY),
    parameters=(_NAME,),
)
_END: Final = Operation(
    name="endScheduleByName",
    tag=TAG,
    summary="End a schedule by its name",
    description="For good, as DELETE /schedules/{schedule_id}. The name is free then.",
    success=Success(words="The schedule has ended.", data=EndedData),
    refusals=ON_ONE,
    parameters=(_NAME,),
)
