"""An ended timer made live again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart import Response

from timer_trio.api.body.media import optional_json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import StatusConflictError
from timer_trio.api.fields.timer import REDRIVE
from timer_trio.api.principal import own_project, own_quota
from timer_trio.api.requests import read_redrive, reading_members
from timer_trio.api.responses import SummaryData, success, summary_data
from timer_trio.api.route import ON_BODY, ON_ONE, Body, Operation, Route, Success
from timer_trio.api.routes.timers import ID_PARAMETER, timer_id_of
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import NotEndedError


def routes(context: ApiContext) -> Sequence[Route]:
    async def redrive(timer_id: str) -> Response:
        arrived_at = context.clock.now()
        known_id = timer_id_of(timer_id)
        raw = await optional_json_body()
        members = await context.slices.finish(reading_members(raw or b"{}", context.rules))
        due_at = read_redrive(members, arrived_at, context.rules)
        try:
            summary = await context.redriver.redrive(known_id, due_at, own_project(), own_quota())
        except NotEndedError as error:
            raise StatusConflictError("redrive", error.status) from error
        context.audit.note(Action.TIMER_REDRIVEN, summary.id)
        return success(summary_data(summary))

    body = Body(
        model=REDRIVE,
        example={"delay": 60},
        limits="When it is due; without a body, now.",
        is_required=False,
    )
    path = "/timers/{timer_id}/redrive"
    return (Route(method="POST", path=path, handler=redrive, body=body, operation=_REDRIVE),)


_REDRIVE: Final = Operation(
    name="redriveTimer",
    tag="timers",
    summary="Make an ended timer live again",
    description="A failed, completed or canceled timer becomes pending, due now or when the body "
    "says, with a fresh budget of attempts. Their numbers go on, and `webhook-id` stays, so that a "
    "receiver which remembers it can tell. Any other timer answers 409.",
    success=Success(words="The timer as it is now.", data=SummaryData),
    refusals=(*ON_ONE, *ON_BODY, 409),
    parameters=(ID_PARAMETER,),
)
