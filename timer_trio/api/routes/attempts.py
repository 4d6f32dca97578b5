"""The attempts of one timer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from quart import Response, request
from typing_extensions import TypedDict

from timer_trio.api.context import ApiContext
from timer_trio.api.masking import masked_headers
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.principal import own_project
from timer_trio.api.responses import Instant, answer_of_list
from timer_trio.api.route import ON_ONE, Operation, Route, Success
from timer_trio.api.routes.timers import ID_PARAMETER, timer_id_of
from timer_trio.domain.attempt import all_attempts
from timer_trio.domain.rendering import attempt_json

_EXACT: Final = ConfigDict(extra="forbid")


@with_config(_EXACT)
class AnswerData(TypedDict):
    headers: Annotated[
        list[tuple[str, str]],
        Field(
            description="Pairs of name and value, as they came.",
            examples=[[["Content-Type", "text/plain"]]],
        ),
    ]
    body: Annotated[str, Field(description="The beginning of the body.", examples=["try later"])]
    body_encoding: Annotated[
        Literal["utf-8", "base64"], Field(description="base64 where the body is no UTF-8.")
    ]
    truncated: Annotated[bool, Field(description="Whether something of the answer is left out.")]
    unreadable: Annotated[NotRequired[str], Field(description="Why nothing of it is shown.")]


@with_config(_EXACT)
class AttemptData(TypedDict):
    attempt: Annotated[int, Field(description="Which one it was.", ge=1, examples=[1])]
    started_at: Annotated[
        Instant | None,
        Field(description="null if nobody knows.", examples=["2030-01-31T09:30:00.001Z"]),
    ]
    duration_ms: Annotated[
        int | None,
        Field(description="How long it took. null if nobody knows.", ge=0, examples=[35]),
    ]
    outcome: Annotated[
        str,
        Field(
            description="delivered, rejected, unreachable, timed_out, interrupted, broken; unknown "
            "if the service died before it could tell.",
            examples=["rejected"],
        ),
    ]
    http_status: Annotated[
        int | None, Field(description="Of the answer. null: there was none.", examples=[503])
    ]
    error: Annotated[
        str | None,
        Field(
            description="Why it failed, in words.",
            examples=["HTTP 503 from https://example.com:443"],
        ),
    ]
    response: Annotated[
        AnswerData | None, Field(description="What is kept of the answer. null: nothing.")
    ]


@with_config(_EXACT)
class AttemptsData(TypedDict):
    attempts: Annotated[list[AttemptData], Field(description="The newest first.")]


def routes(context: ApiContext) -> Sequence[Route]:
    async def list_attempts(timer_id: str) -> Response:
        refuse_parameters(request.query_string)
        known_id = timer_id_of(timer_id)
        timer = await context.storage.get(known_id, own_project())
        records = await context.storage.attempts(known_id, own_project())
        masked = masked_headers()
        writing = (attempt_json(each, masked).encode() for each in all_attempts(timer, records))
        return answer_of_list("attempts", await context.slices.collect(writing))

    path = "/timers/{timer_id}/attempts"
    return (Route(method="GET", path=path, handler=list_attempts, operation=_LIST),)


_LIST: Final = Operation(
    name="listAttempts",
    tag="timers",
    summary="List the attempts of a timer",
    description="Those that have ended, the newest first, as long as they are kept. Which answers "
    "of the receiver they carry `store_response` says.",
    success=Success(words="The attempts.", data=AttemptsData),
    refusals=ON_ONE,
    parameters=(ID_PARAMETER,),
)
