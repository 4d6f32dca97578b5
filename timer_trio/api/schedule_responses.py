"""From schedules to JSON: what answers carry of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, NotRequired

from pydantic import ConfigDict, Field, WithJsonSchema, with_config
from quart import Response
from typing_extensions import TypedDict

from timer_trio.api.cursor import cursor_of
from timer_trio.api.errors import Code
from timer_trio.api.masking import hidden_headers, masked_headers
from timer_trio.api.responses import (
    Attempt,
    Guarantee,
    Id,
    Instant,
    LastError,
    Limit,
    MisfireGraceSeconds,
    NextCursor,
    Payload,
    ShownHeaders,
    ShownMetadata,
    ShownMethod,
    ShownRetry,
    ShownUrl,
    TimeoutSeconds,
    ToldOnCompleted,
    ToldOnFailed,
    answer_of_list,
    created,
    enveloped,
)
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.planning import Calendar, next_instant
from timer_trio.domain.query import MAX_LISTED_METADATA
from timer_trio.domain.schedule import (
    CatchUp,
    Overlap,
    Schedule,
    ScheduleId,
    SchedulePage,
    ScheduleQuery,
    ScheduleStatus,
)
from timer_trio.domain.schedule_rendering import listed_schedule_json, schedule_json
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import Status
from timer_trio.intake.schedules import Shown

_EXACT: Final = ConfigDict(extra="forbid")
_NEXT: Final = ["2030-02-01T08:00:00Z", "2030-02-04T08:00:00Z"]


class _ScheduleHead(TypedDict):
    id: Id
    name: Annotated[
        str | None,
        Field(description="null: it has none.", examples=["daily-report"]),
    ]
    status: Annotated[
        ScheduleStatus,
        Field(
            description="active; paused, by its consumer, or by the service if `last_error` says "
            "why; ended, which it stays."
        ),
    ]
    created_at: Instant
    updated_at: Instant
    cron: Annotated[
        str | None,
        Field(description="null: its rule is of another kind.", examples=["0 9 * * MON-FRI"]),
    ]
    every: Annotated[float | None, Field(description="Seconds; null: its rule is no interval.")]
    rrule: Annotated[str | None, Field(description="null: its rule is of another kind.")]
    timezone: Annotated[
        str | None,
        Field(description="null: its rule knows no zone.", examples=["Europe/Berlin"]),
    ]
    start_at: Annotated[
        Instant | None, Field(description="No occurrence is before it. null: none is named.")
    ]
    end_at: Annotated[
        Instant | None, Field(description="No occurrence is after it. null: it has no end.")
    ]
    max_occurrences: Annotated[
        int | None, Field(description="After so many it has ended. null: no limit.")
    ]
    catch_up: CatchUp
    overlap: Overlap
    jitter_seconds: Annotated[
        float, Field(description="By up to so much each occurrence is later.", examples=[0])
    ]
    last_error: Annotated[str | None, Field(description="Why the service has paused it.")]
    flow_key: Annotated[
        str | None, Field(description="The flow that its occurrences are in; null: in none.")
    ]


@with_config(_EXACT)
class LastOccurrenceData(TypedDict):
    id: Annotated[Id, Field(description="Of the timer that it is.")]
    execute_at: Annotated[Instant, Field(description="When it was due.")]
    status: Status
    executed_at: Annotated[Instant | None, Field(description="When its callback was last sent.")]
    attempt: Attempt
    last_error: LastError


@with_config(_EXACT)
class ScheduleData(_ScheduleHead):
    callback_url: ShownUrl
    callback_method: ShownMethod
    callback_headers: ShownHeaders
    metadata: ShownMetadata
    timeout_seconds: TimeoutSeconds
    delivery: Guarantee
    misfire_grace_seconds: MisfireGraceSeconds
    retry: ShownRetry
    store_response: StoreResponse
    on_completed: ToldOnCompleted
    on_failed: ToldOnFailed
    signing: Signing
    next: Annotated[
        list[Instant],
        Field(
            description="The next five instants; those of the timers are later by the jitter.",
            examples=[_NEXT],
        ),
    ]
    last_occurrence: Annotated[
        LastOccurrenceData | None,
        Field(description="The latest one that has begun or ended; null: none yet."),
    ]
    occurrences: Annotated[
        int, Field(description="How many have begun, ended or were skipped.", ge=0, examples=[0])
    ]
    skipped: Annotated[
        int,
        Field(
            description="How many did not fire since they were late or would overlap.",
            ge=0,
            examples=[0],
        ),
    ]
    callback_payload: Payload


@with_config(_EXACT)
class ListedScheduleData(_ScheduleHead):
    next_at: Annotated[
        Instant | None,
        Field(
            description="The next instant; null: there is none.",
            examples=_NEXT[:1],
        ),
    ]
    callback_url: ShownUrl
    metadata: Annotated[
        NotRequired[Mapping[str, object] | None],
        Field(
            description=f"Left out if it is longer than {MAX_LISTED_METADATA:,} bytes: "
            "GET /schedules/{schedule_id} has it.",
            examples=[{"customer": "c-17"}],
        ),
    ]


@with_config(_EXACT)
class SchedulePageData(TypedDict):
    schedules: Annotated[list[ListedScheduleData], Field(description="The newest first.")]
    limit: Limit
    next_cursor: NextCursor


@with_config(_EXACT)
class EndedData(TypedDict):
    id: Id
    status: Annotated[ScheduleStatus, WithJsonSchema({"const": "ended"})]


@with_config(_EXACT)
class BackfilledData(TypedDict):
    created: Annotated[int, Field(description="How many occurrences are new.", ge=0, examples=[31])]
    next: Annotated[
        Instant | None,
        Field(description="Where to go on, as `from`, if there were more than the limit."),
    ]


@with_config(_EXACT)
class ReplannedData(TypedDict):
    moved: Annotated[
        int, Field(description="Occurrences that had another instant.", ge=0, examples=[2])
    ]


@with_config(_EXACT)
class PreviewData(TypedDict):
    next: Annotated[
        list[Instant], Field(description="The instants, the next one first.", examples=[_NEXT])
    ]


def shown_json(shown: Shown) -> str:
    """Write down a schedule as it is answered.

    Raises:
        SealedError: something of it is encrypted, and the key is missing.
    """
    return schedule_json(shown.schedule, shown.facts, shown.next, masked_headers())


def kept_json(shown: Shown) -> str:
    """Write down a schedule as it is answered to whoever repeats its creation, whatever his key."""
    return schedule_json(shown.schedule, shown.facts, shown.next, hidden_headers())


def whole_schedule(shown: Shown) -> Response:
    return enveloped(HTTPStatus.OK, Code.SUCCESS, "success", shown_json(shown))


def created_schedule(data: str, schedule_id: ScheduleId) -> Response:
    """Return the answer of a new schedule, its data as JSON, with where it is."""
    response = created(data)
    response.headers["Location"] = f"/schedules/{schedule_id}"
    return response


def writing_schedules(
    schedules: Sequence[Schedule], calendar: Calendar, now: datetime
) -> Iterator[bytes]:
    """Yield what a list shows of each."""
    for schedule in schedules:
        yield listed_schedule_json(schedule, next_instant(schedule, calendar, now)).encode()


def page_of_schedules(
    written: Sequence[bytes], page: SchedulePage, query: ScheduleQuery, cursor_key: bytes
) -> Response:
    beside = {
        "limit": query.limit,
        "next_cursor": None if page.next is None else cursor_of(page.next, query, cursor_key),
    }
    return answer_of_list("schedules", written, beside)
