"""From the domain to JSON: the envelope, and what it carries."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from json.encoder import encode_basestring
from typing import Annotated, Any, Final, NotRequired

from pydantic import ConfigDict, Field, WithJsonSchema, with_config
from quart import Response
from quart.wrappers.response import ResponseBody
from typing_extensions import TypedDict

from timer_trio.api.cursor import cursor_of
from timer_trio.api.errors import Code, Refusal
from timer_trio.api.fields.result import ResultRequest
from timer_trio.api.fields.retry import RetryRequest
from timer_trio.api.masking import masked_headers
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.query import MAX_LISTED_METADATA, ListedTimer, TimerPage, TimerQuery
from timer_trio.domain.rendering import id_or_none, instant_or_none, timer_json
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import Delivery, Method, Status, Timer, TimerId, TimerSummary, rfc3339

_JSON: Final = "application/json"
_PIECE_BYTES: Final = 65_536
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Instant = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"})]
ShownUrl = Annotated[str, Field(examples=["https://example.com/hooks/reminder"])]
ShownDestination = Annotated[
    str, Field(description="Scheme, host and port.", examples=["https://example.com:443"])
]
ShownHeaders = Annotated[
    Mapping[str, str],
    Field(
        description="Values that may be secrets are shown to administrators alone.",
        examples=[{"Content-Language": "de"}],
    ),
]
ShownMetadata = Annotated[
    Mapping[str, object] | None,
    Field(description="The client's own reference. null: none.", examples=[{"customer": "c-17"}]),
]
ShownMethod = Annotated[Method, Field(description="The callback's method.")]
Guarantee = Annotated[
    Delivery,
    Field(
        description="What becomes of a callback whose outcome a crash left unknown: sent again, or "
        "failed."
    ),
]
TimeoutSeconds = Annotated[
    float, Field(description="How long the receiver may take to answer.", examples=[30])
]
MisfireGraceSeconds = Annotated[
    float | None,
    Field(description="How late it may still be sent. null: however late.", examples=[300]),
]
ShownRetry = Annotated[
    RetryRequest | None, Field(description="How a failed callback is tried again. null: it is not.")
]
ToldOnCompleted = Annotated[
    ResultRequest | None, Field(description="Who is told that it has completed. null: nobody.")
]
ToldOnFailed = Annotated[
    ResultRequest | None, Field(description="Who is told that it has failed. null: nobody.")
]
Payload = Annotated[
    Any,
    Field(
        description="An equal value to what was sent; null also where there is none.",
        examples=[{"order": 4711}],
    ),
]
Limit = Annotated[int, Field(description="How many a page has at most.", examples=[50])]
NextCursor = Annotated[
    str | None, Field(description="Leads to the next page, as `cursor`. null on the last page.")
]


_EXACT: Final = ConfigDict(extra="forbid")


class _CommonData(TypedDict):
    id: Id
    created_at: Instant
    execute_at: Annotated[
        Instant, Field(description="When it is due.", examples=["2030-01-31T09:30:00Z"])
    ]
    callback_url: ShownUrl
    status: Annotated[
        Status,
        Field(
            description="pending: certainly not sent. retrying: it waits for another attempt after "
            "a failed one."
        ),
    ]
    executed_at: Annotated[Instant | None, Field(description="When its callback was last sent.")]


Attempt = Annotated[int, Field(description="How many callbacks were begun.", ge=0, examples=[0])]
HttpStatus = Annotated[
    int | None, Field(description="Of the answer to the last attempt whose outcome is known.")
]
Key = Annotated[str | None, Field(description="The name that its consumer gave it.")]
ScheduleIdOrNone = Annotated[
    Id | None, Field(description="The schedule whose occurrence it is; null where it is none.")
]
FlowKeyOrNone = Annotated[str | None, Field(description="The flow that it is in; null: in none.")]
LastError = Annotated[str | None, Field(description="Why it failed, in words.")]


@with_config(_EXACT)
class SummaryData(_CommonData):
    parent_id: Annotated[
        NotRequired[Id], Field(description="The timer whose result it is; absent where it is none.")
    ]


@with_config(_EXACT)
class WholeTimerData(_CommonData):
    updated_at: Annotated[Instant, Field(description="When anything of it last changed.")]
    callback_method: ShownMethod
    callback_headers: ShownHeaders
    metadata: ShownMetadata
    timeout_seconds: TimeoutSeconds
    delivery: Guarantee
    misfire_grace_seconds: MisfireGraceSeconds
    attempt: Attempt
    last_error: LastError
    http_status: HttpStatus
    duration_ms: Annotated[int | None, Field(description="How long that attempt took.", ge=0)]
    next_attempt_at: Annotated[
        Instant | None, Field(description="When it is tried again; null unless it is retrying.")
    ]
    retry: ShownRetry
    store_response: StoreResponse
    key: Key
    on_completed: ToldOnCompleted
    on_failed: ToldOnFailed
    signing: Signing
    parent_id: Annotated[
        Id | None, Field(description="The timer whose result it is; null where it is none.")
    ]
    schedule_id: ScheduleIdOrNone
    flow_key: FlowKeyOrNone
    callback_payload: Payload


@with_config(_EXACT)
class CanceledData(TypedDict):
    id: Id
    status: Annotated[Status, WithJsonSchema({"const": "canceled"})]


@with_config(_EXACT)
class SummariesData(TypedDict):
    timers: Annotated[list[SummaryData], Field(description="In the order of the request.")]


@with_config(_EXACT)
class ListedData(SummaryData):
    destination: ShownDestination
    attempt: Attempt
    last_error: LastError
    http_status: HttpStatus
    key: Key
    schedule_id: ScheduleIdOrNone
    flow_key: FlowKeyOrNone
    metadata: Annotated[
        NotRequired[Mapping[str, object] | None],
        Field(
            description=f"Left out if it is longer than {MAX_LISTED_METADATA:,} bytes: "
            "GET /timers/{timer_id} has it.",
            examples=[{"customer": "c-17"}],
        ),
    ]


@with_config(_EXACT)
class PageData(TypedDict):
    timers: list[ListedData]
    limit: Limit
    offset: Annotated[
        NotRequired[int],
        Field(description="How many were skipped. Absent with a cursor.", examples=[0]),
    ]
    total: Annotated[
        NotRequired[int],
        Field(description="How many match in all. Absent with a cursor.", examples=[1]),
    ]
    next_cursor: NextCursor


def success(data: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return enveloped(status, Code.SUCCESS, "success", json.dumps(data, ensure_ascii=False))


def created(data: str, timer_id: TimerId | None = None) -> Response:
    """Return the answer of something new, its data as JSON; a timer alone has a location."""
    response = enveloped(HTTPStatus.CREATED, Code.SUCCESS, "success", data)
    if timer_id is not None:
        response.headers["Location"] = f"/timers/{timer_id}"
    return response


def summary_json(timer: TimerSummary) -> str:
    """Write `summary_data` down."""
    # Put together here, since a batch is answered with a thousand of them: a library takes twice as
    # long.
    executed_at = "null" if timer.executed_at is None else f'"{rfc3339(timer.executed_at)}"'
    parent = "" if timer.parent_id is None else f', "parent_id": "{timer.parent_id}"'
    return (
        f'{{"id": "{timer.id}", "created_at": "{_shared(timer.created_at)}", '
        f'"execute_at": "{rfc3339(timer.execute_at)}", '
        f'"callback_url": {encode_basestring(timer.callback_url)}, '
        f'"status": "{timer.status}", "executed_at": {executed_at}{parent}}}'
    )


# What is created together is so as of one instant.
_shared: Final = lru_cache(maxsize=16)(rfc3339)


def summaries_json(summaries: Sequence[str]) -> str:
    """Put summaries, which are JSON already, together as the data of an answer."""
    return f'{{"timers": [{", ".join(summaries)}]}}'


def answer_of_list(
    name: str, written: Sequence[bytes], beside: Mapping[str, object] | None = None
) -> Response:
    """Return the answer of the list `name`, of which each item is JSON already.

    Items are written in slices (see `Slices`), and sent likewise if they are many bytes: to put
    megabytes together takes longer than a callback may be late.
    """
    members = f"], {json.dumps(beside)[1:]}" if beside else "]}"
    head, end = envelope(Code.SUCCESS, "success", f'{{"{name}": [\0{members}').split(b"\0")
    parts = [head, *(b", " + item if place else item for place, item in enumerate(written)), end]
    size = sum(map(len, parts))
    if size <= _PIECE_BYTES:
        return Response(b"".join(parts), HTTPStatus.OK, _HEADERS, content_type=_JSON)
    response = streamed(_pieces(parts), _JSON)
    response.content_length = size
    return response


async def _pieces(parts: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def whole_timer(timer: Timer) -> Response:
    """Return the answer of a timer, its payload as the text that arrived.

    Raises:
        SealedError: something of it is encrypted, and the key is missing.
    """
    return enveloped(HTTPStatus.OK, Code.SUCCESS, "success", timer_json(timer, masked_headers()))


def refused(refusal: Refusal) -> Response:
    data = json.dumps(refusal.data, ensure_ascii=False)
    response = enveloped(refusal.status, refusal.code, refusal.message, data)
    response.headers.update(refusal.headers)
    return response


def streamed(body: ResponseBody | AsyncGenerator[bytes, None], media: str) -> Response:
    """Return an answer that comes bit by bit, however long it takes."""
    response = Response(body, HTTPStatus.OK, _HEADERS, content_type=media)
    response.timeout = None
    return response


def envelope(code: Code, message: str, data: str) -> bytes:
    words = json.dumps(message, ensure_ascii=False)
    return f'{{"code": {code:d}, "message": {words}, "data": {data}}}'.encode()


def enveloped(status: HTTPStatus, code: Code, message: str, data: str) -> Response:
    return Response(envelope(code, message, data), status, _HEADERS, content_type=_JSON)


def summary_data(timer: TimerSummary) -> SummaryData:
    data: SummaryData = {
        "id": str(timer.id),
        "created_at": rfc3339(timer.created_at),
        "execute_at": rfc3339(timer.execute_at),
        "callback_url": timer.callback_url,
        "status": timer.status,
        "executed_at": instant_or_none(timer.executed_at),
    }
    if timer.parent_id is not None:
        data["parent_id"] = str(timer.parent_id)
    return data


def page_of_timers(
    written: Sequence[bytes], page: TimerPage, query: TimerQuery, cursor_key: bytes
) -> Response:
    """Return the answer of a page of which each timer is `written` by `writing_timers`."""
    beside: dict[str, object] = {
        "limit": query.limit,
        "next_cursor": None if page.next is None else cursor_of(page.next, query, cursor_key),
    }
    if page.total is not None:
        beside["total"], beside["offset"] = page.total, query.offset
    return answer_of_list("timers", written, beside)


def writing_timers(timers: Iterable[ListedTimer]) -> Iterator[bytes]:
    """Yield what a list shows of each timer, its metadata as the text that was stored."""
    return (_listed(timer).encode() for timer in timers)


def _listed(timer: ListedTimer) -> str:
    data = {
        **summary_data(timer),
        "destination": timer.destination,
        "attempt": timer.attempt,
        "last_error": timer.last_error,
        "http_status": timer.http_status,
        "key": timer.key,
        "schedule_id": id_or_none(timer.schedule_id),
        "flow_key": timer.flow_key,
    }
    known = json.dumps(data, ensure_ascii=False)
    return known if timer.metadata is None else f'{known[:-1]}, "metadata": {timer.metadata}}}'
