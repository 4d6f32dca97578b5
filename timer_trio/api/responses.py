"""From the domain to JSON: the envelope, and what it carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, NotRequired

from pydantic import ConfigDict, Field, WithJsonSchema, with_config
from quart import Response
from quart.wrappers.response import ResponseBody
from typing_extensions import TypedDict

from timer_trio.api.cursor import cursor_of
from timer_trio.api.errors import Code, Refusal
from timer_trio.api.fields.retry import RetryRequest, retry_data
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.query import MAX_LISTED_METADATA, ListedTimer, TimerPage, TimerQuery
from timer_trio.domain.timer import Delivery, Method, Status, Timer, TimerId, TimerSummary, rfc3339

_JSON: Final = "application/json"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Instant = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"})]


_EXACT: Final = ConfigDict(extra="forbid")


@with_config(_EXACT)
class SummaryData(TypedDict):
    id: Id
    created_at: Instant
    execute_at: Instant
    callback_url: str
    status: Annotated[
        Status,
        Field(
            description="pending: certainly not sent. retrying: it waits for another attempt after "
            "a failed one."
        ),
    ]
    executed_at: Annotated[Instant | None, Field(description="When its callback was last sent.")]


Attempt = Annotated[int, Field(description="How many callbacks were begun.", ge=0)]
HttpStatus = Annotated[
    int | None, Field(description="Of the answer to the last attempt whose outcome is known.")
]
Key = Annotated[str | None, Field(description="The name that its consumer gave it.")]
LastError = Annotated[str | None, Field(description="Why it failed, in words.")]


class TimerData(SummaryData):
    updated_at: Instant
    callback_method: Method
    callback_headers: Mapping[str, str]
    metadata: Mapping[str, object] | None
    timeout_seconds: float
    delivery: Delivery
    misfire_grace_seconds: float | None
    attempt: Attempt
    last_error: LastError
    http_status: HttpStatus
    duration_ms: Annotated[int | None, Field(description="How long that attempt took.", ge=0)]
    next_attempt_at: Annotated[
        Instant | None, Field(description="When it is tried again; null unless it is retrying.")
    ]
    retry: RetryRequest | None
    store_response: StoreResponse
    key: Key


@with_config(_EXACT)
class WholeTimerData(TimerData):
    callback_payload: Annotated[
        Any, Field(description="An equal value to what was sent; null also where there is none.")
    ]


@with_config(_EXACT)
class CanceledData(TypedDict):
    id: Id
    status: Annotated[Status, WithJsonSchema({"const": "canceled"})]


@with_config(_EXACT)
class SummariesData(TypedDict):
    timers: Annotated[list[SummaryData], Field(description="In the order of the request.")]


@with_config(_EXACT)
class ListedData(SummaryData):
    destination: Annotated[
        str, Field(description="Scheme, host and port.", examples=["https://example.com:443"])
    ]
    attempt: Attempt
    last_error: LastError
    http_status: HttpStatus
    key: Key
    metadata: Annotated[
        NotRequired[Mapping[str, object] | None],
        Field(
            description=f"Left out if it is longer than {MAX_LISTED_METADATA:,} bytes: "
            "GET /timers/{timer_id} has it."
        ),
    ]


@with_config(_EXACT)
class PageData(TypedDict):
    timers: list[ListedData]
    limit: int
    offset: Annotated[NotRequired[int], Field(description="Absent with a cursor.")]
    total: Annotated[NotRequired[int], Field(description="Absent with a cursor.")]
    next_cursor: Annotated[str | None, Field(description="null on the last page.")]


def success(data: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _enveloped(status, Code.SUCCESS, "success", json.dumps(data, ensure_ascii=False))


def created(data: str, timer_id: TimerId | None = None) -> Response:
    """Return the answer of something new, its data as JSON; a timer alone has a location."""
    response = _enveloped(HTTPStatus.CREATED, Code.SUCCESS, "success", data)
    if timer_id is not None:
        response.headers["Location"] = f"/timers/{timer_id}"
    return response


def summary_json(timer: TimerSummary) -> str:
    return json.dumps(summary_data(timer), ensure_ascii=False)


def summaries_json(summaries: Sequence[str]) -> str:
    """Put summaries, which are JSON already, together as the data of an answer."""
    return f'{{"timers": [{", ".join(summaries)}]}}'


def whole_timer(timer: Timer) -> Response:
    """Return the answer of a timer, its payload as the text that arrived."""
    known = json.dumps(timer_data(timer), ensure_ascii=False)
    payload = timer.spec.callback.payload or "null"
    data = f'{known[:-1]}, "callback_payload": {payload}}}'
    return _enveloped(HTTPStatus.OK, Code.SUCCESS, "success", data)


def refused(refusal: Refusal) -> Response:
    data = json.dumps(refusal.data, ensure_ascii=False)
    response = _enveloped(refusal.status, refusal.code, refusal.message, data)
    response.headers.update(refusal.headers)
    return response


def streamed(body: ResponseBody, media: str) -> Response:
    """Return an answer that comes bit by bit, however long it takes."""
    response = Response(body, HTTPStatus.OK, _HEADERS, content_type=media)
    response.timeout = None
    return response


def envelope(code: Code, message: str, data: str) -> bytes:
    words = json.dumps(message, ensure_ascii=False)
    return f'{{"code": {code:d}, "message": {words}, "data": {data}}}'.encode()


def _enveloped(status: HTTPStatus, code: Code, message: str, data: str) -> Response:
    return Response(envelope(code, message, data), status, _HEADERS, content_type=_JSON)


def summary_data(timer: TimerSummary) -> SummaryData:
    return {
        "id": str(timer.id),
        "created_at": rfc3339(timer.created_at),
        "execute_at": rfc3339(timer.execute_at),
        "callback_url": timer.callback_url,
        "status": timer.status,
        "executed_at": instant_or_none(timer.executed_at),
    }


def timer_data(timer: Timer) -> TimerData:
    spec, callback = timer.spec, timer.spec.callback
    return {
        "id": str(timer.id),
        "created_at": rfc3339(timer.created_at),
        "updated_at": rfc3339(timer.updated_at),
        "execute_at": rfc3339(spec.execute_at),
        "callback_url": callback.url.text,
        "callback_method": callback.method,
        "callback_headers": dict(callback.headers),
        "metadata": None if spec.metadata is None else dict(spec.metadata),
        "timeout_seconds": callback.timeout_s,
        "delivery": callback.delivery,
        "misfire_grace_seconds": spec.misfire_grace_s,
        "status": timer.status,
        "executed_at": instant_or_none(timer.executed_at),
        "attempt": timer.attempt,
        "last_error": timer.last_error,
        "http_status": timer.http_status,
        "duration_ms": timer.duration_ms,
        "next_attempt_at": instant_or_none(timer.next_attempt_at),
        "retry": retry_data(spec.retry),
        "store_response": spec.store_response,
        "key": timer.key,
    }


def page_of_timers(page: TimerPage, query: TimerQuery, cursor_key: bytes) -> Response:
    """Return the answer of a page, the metadata of its timers as the text that was stored."""
    beside: dict[str, object] = {
        "limit": query.limit,
        "next_cursor": None if page.next is None else cursor_of(page.next, query, cursor_key),
    }
    if page.total is not None:
        beside["total"], beside["offset"] = page.total, query.offset
    timers = ", ".join(map(_listed, page.timers))
    data = f'{{"timers": [{timers}], {json.dumps(beside)[1:]}'
    return _enveloped(HTTPStatus.OK, Code.SUCCESS, "success", data)


def _listed(timer: ListedTimer) -> str:
    data = {
        **summary_data(timer),
        "destination": timer.destination,
        "attempt": timer.attempt,
        "last_error": timer.last_error,
        "http_status": timer.http_status,
        "key": timer.key,
    }
    known = json.dumps(data, ensure_ascii=False)
    return known if timer.metadata is None else f'{known[:-1]}, "metadata": {timer.metadata}}}'


def instant_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)
