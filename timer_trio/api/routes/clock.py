"""The clock of a service for tests: no real service has these routes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field, with_config
from quart import Response
from typing_extensions import TypedDict

from timer_trio.api.body.json_body import reading_object
from timer_trio.api.body.media import json_body
from timer_trio.api.body.nothing import refuse_fields
from timer_trio.api.context import ApiContext, ClockControl
from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.fields.clock import ADVANCE, ADVANCE_FIELDS, AdvanceRequest
from timer_trio.api.requests import checked
from timer_trio.api.responses import Attempt, HttpStatus, Id, Instant, LastError, ShownUrl, success
from timer_trio.api.route import ON_BODY, Body, Operation, Route, Success
from timer_trio.domain.rendering import instant_or_none
from timer_trio.domain.timer import Status, rfc3339
from timer_trio.domain.virtual_time import (
    MOST_FIRED,
    Advanced,
    ClockNotBackError,
    ClockTooFarError,
    Fired,
)

TAG: Final = "clock"
_EXACT: Final = ConfigDict(extra="forbid")


@with_config(_EXACT)
class ClockData(TypedDict):
    now: Annotated[Instant, Field(description="What the clock shows.")]


@with_config(_EXACT)
class FiredData(TypedDict):
    id: Id
    attempt: Attempt
    status: Annotated[Status, Field(description="What the timer is after this attempt.")]
    http_status: HttpStatus
    last_error: LastError
    callback_url: ShownUrl
    due_at: Annotated[Instant, Field(description="The instant of this attempt.")]
    sent_at: Annotated[Instant | None, Field(description="When it was sent.")]
    next_attempt_at: Annotated[
        Instant | None, Field(description="When it is tried again; null: it is not.")
    ]


@with_config(_EXACT)
class AdvancedData(ClockData):
    fired: Annotated[
        list[FiredData],
        Field(
            description="The attempts that have ended since the clock was last advanced, in their "
            "order."
        ),
    ]


def routes(context: ApiContext) -> Sequence[Route]:
    if context.clock_control is None:
        return ()
    clock = _Clock(context, context.clock_control)
    advance = Body(
        model=ADVANCE,
        example={"seconds": 3600},
        limits="Either `seconds` or `to`.",
    )
    return (
        Route(method="GET", path="/clock", handler=clock.show, operation=_SHOW),
        Route(
            method="POST",
            path="/clock/advance",
            handler=clock.advance,
            body=advance,
            operation=_ADVANCE,
            is_of_service=True,
        ),
        Route(
            method="POST",
            path="/clock/reset",
            handler=clock.reset,
            operation=_RESET,
            is_of_service=True,
        ),
    )


class _Clock:
    def __init__(self, context: ApiContext, control: ClockControl) -> None:
        self._context = context
        self._control = control

    async def show(self) -> Response:
        return success(_clock_data(self._context.clock.now()))

    async def advance(self) -> Response:
        wanted = await self._wanted()
        field = next(iter(wanted))
        try:
            if "to" in wanted:
                advanced = await self._control.advance_to(wanted["to"])
            else:
                advanced = await self._control.advance_by(wanted["seconds"])
        except (ClockNotBackError, ClockTooFarError) as error:
            raise InvalidRequestError(FieldError(field, str(error))) from error
        return success(_advanced_data(advanced))

    async def reset(self) -> Response:
        await refuse_fields(self._context.slices)
        return success(_clock_data(await self._control.reset()))

    async def _wanted(self) -> AdvanceRequest:
        reading = reading_object(
            await json_body(), verbatim="", known=ADVANCE_FIELDS, most_values=0
        )
        members = await self._context.slices.finish(reading)
        wanted = checked(
            ADVANCE, members, self._context.rules, [], called="an advance", known=ADVANCE_FIELDS
        )
        if len(wanted) != 1:
            words = "seconds and to exclude each other" if wanted else "seconds or to is required"
            raise InvalidRequestError(FieldError("", words))
        return wanted


def _clock_data(now: datetime) -> ClockData:
    return {"now": rfc3339(now)}


def _advanced_data(advanced: Advanced) -> AdvancedData:
    return {"now": rfc3339(advanced.now), "fired": [_fired_data(each) for each in advanced.fired]}


def _fired_data(fired: Fired) -> FiredData:
    return {
        "id": str(fired.timer_id),
        "attempt": fired.attempt,
        "status": fired.status,
        "http_status": fired.http_status,
        "last_error": fired.last_error,
        "callback_url": fired.url.text,
        "due_at": rfc3339(fired.due_at),
        "sent_at": instant_or_none(fired.sent_at),
        "next_attempt_at": instant_or_none(fired.next_attempt_at),
    }


_REFUSALS: Final = (400, 401)
_SHOW: Final = Operation(
    name="getClock",
    tag=TAG,
    summary="What does the clock show?",
    description="It stands still but for `POST /clock/advance`.",
    success=Success(words="The clock.", data=ClockData),
    refusals=_REFUSALS,
)
_ADVANCE: Final = Operation(
    name="advanceClock",
    tag=TAG,
    summary="Let time pass",
    description="Goes through all instants at which something falls due, in their order, and stands"
    " at each until all of it is answered and settled. What follows from that within the time falls"
    " due as well: retries, results, occurrences, and timers that a receiver creates before it"
    " answers. `timeout_seconds` of a timer are real ones. Several advances are made one after the"
    f" other. More than {MOST_FIRED:,} callbacks in one are a 409, as is a reset meanwhile: the"
    " clock stays where it came to.",
    success=Success(words="What was fired, and the clock.", data=AdvancedData),
    refusals=(*_REFUSALS, *ON_BODY, 409),
)
_RESET: Final = Operation(
    name="resetClock",
    tag=TAG,
    summary="Begin anew",
    description="Forgets everything, breaks off what is under way, and sets the clock to its start:"
    " the instant that the service was started with, or the machine's time.",
    success=Success(words="The clock.", data=ClockData),
    refusals=(*_REFUSALS, *ON_BODY),
)
