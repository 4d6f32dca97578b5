"""One timer by the name that its consumer gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart import Response, request

from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.fields.timer import CREATE, MAX_NAME_LENGTH
from timer_trio.api.parameters import refuse_parameters, refuse_unreadable_path
from timer_trio.api.requests import read_name, read_new, reading_members
from timer_trio.api.responses import (
    CanceledData,
    SummaryData,
    WholeTimerData,
    created,
    success,
    summary_data,
    summary_json,
    whole_timer,
)
from timer_trio.api.route import (
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
from timer_trio.domain.audit import Action
from timer_trio.domain.keys import OnConflict

PATH: Final = "/timers/by-key/{key}"
_EXAMPLE: Final = {"delay": 30, "callback_url": "https://example.com/hooks/idle"}
_KEY: Final[Json] = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "The timer's `key`, percent-encoded.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
}


def routes(context: ApiContext) -> Sequence[Route]:
    by_key = _ByKey(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    body = Body(model=CREATE, example=_EXAMPLE, limits=limits)
    return (
        Route(method="GET", path=PATH, handler=by_key.get_by_key, operation=_GET),
        Route(method="PUT", path=PATH, handler=by_key.put_by_key, body=body, operation=_PUT),
        Route(method="DELETE", path=PATH, handler=by_key.cancel_by_key, operation=_CANCEL),
    )


class _ByKey:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._clock = context.clock
        self._slices = context.slices

    async def get_by_key(self, key: str) -> Response:
        refuse_parameters(request.query_string)
        return whole_timer(await self._context.names.get(_name_of(key)))

    async def put_by_key(self, key: str) -> Response:
        arrived_at = self._clock.now()
        name = _name_of(key)
        rules = self._context.rules
        members = await self._slices.finish(reading_members(await json_body(), rules))
        asked = read_new(members, arrived_at, rules)
        timer, is_new = await self._context.names.create(
            name, asked.spec, arrived_at, OnConflict.REPLACE, asked.flow_key
        )
        action = Action.TIMER_CREATED if is_new else Action.TIMER_CHANGED
        self._context.audit.note(action, timer.id)
        return created(summary_json(timer), timer.id) if is_new else success(summary_data(timer))

    async def cancel_by_key(self, key: str) -> Response:
        refuse_parameters(request.query_string)
        timer = await self._context.names.cancel(_name_of(key))
        self._context.audit.note(Action.TIMER_CANCELED, timer.id)
        return success({"id": str(timer.id), "status": timer.status})


def _name_of(key: str) -> str:
    """Read the name in the path.

    Raises:
        InvalidRequestError: no timer can have it.
    """
    refuse_unreadable_path(request.scope["raw_path"], "key")
    return read_name(key)


_GET: Final = Operation(
    name="getTimerByKey",
    tag="timers",
    summary="Get a timer by its key",
    description="The live one of this `key`, or else the last one that ended.",
    success=Success(words="The timer.", data=WholeTimerData, example={"key": "cart-4711-idle"}),
    refusals=ON_ONE,
    parameters=(_KEY,),
)
_PUT: Final = Operation(
    name="putTimerByKey",
    tag="timers",
    summary="Create or replace a timer by its key",
    description="If a live timer has this `key` it becomes what the body says, all of it, in the "
    "flow that it is in, and this answers 200; otherwise a new one is created: 201. One that is "
    "executing answers 409. So an instant can be moved ahead again and again, and fires once at "
    "the end.",
    success=Success(words="The timer as it is now.", data=SummaryData, also=201),
    refusals=(*ON_STORED, *ON_BODY, *ON_KEY),
    parameters=(_KEY,),
)
_CANCEL: Final = Operation(
    name="cancelTimerByKey",
    tag="timers",
    summary="Cancel a timer by its key",
    description="A cancel answered with 200 never fires. Where no live timer has the `key`: 404; "
    "one that is executing: 409.",
    success=Success(words="The timer is canceled.", data=CanceledData),
    refusals=(*ON_ONE, *ON_KEY),
    parameters=(_KEY,),
)
