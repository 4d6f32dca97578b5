"""Every route as its consumers read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import TypeAdapter

from timer_trio.api.body.media import JSON, NDJSON
from timer_trio.api.import_reader import MAX_LINES
from timer_trio.api.page import MEDIA as PAGE
from timer_trio.api.query import MAX_LIMIT, MAX_METADATA_FILTERS, MAX_OFFSET
from timer_trio.api.responses import (
    CanceledData,
    PageData,
    SummariesData,
    SummaryData,
    WholeTimerData,
)
from timer_trio.api.routes.batch import MAX_BATCH_BYTES, MAX_TIMERS
from timer_trio.api.routes.health import HealthData, LiveData, ReadyData
from timer_trio.api.routes.home import HomeData
from timer_trio.api.routes.replicas import ReplicasData
from timer_trio.domain.query import Order, Sort, TimerQuery
from timer_trio.domain.timer import Status

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    `body` names the schema of what it takes, of the type `takes`. `data` is what its envelope
    carries, None where it answers with something else, of the type `media`. `down_with_data`: its
    503 carries the same. `has_page`: a browser is answered with one instead. `refusals` are
    statuses.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    description: str
    answer: str
    data: TypeAdapter[Any] | None = None
    media: str = "application/json"
    has_page: bool = False
    status: int = 200
    refusals: Sequence[int] = ()
    parameters: Sequence[Json] = ()
    body: str | None = None
    takes: str = JSON
    body_words: str = "At most {max_body_bytes:,} bytes."
    example: Mapping[str, object] | str = field(default_factory=dict)
    is_open: bool = False
    down_with_data: bool = False
    makes_a_timer: bool = False


_STORED: Final = (400, 401, 500, 503)
_ONE: Final = (*_STORED, 404)
_BODY: Final = (408, 413, 415)

_ID: Final[Json] = {
    "name": "timer_id",
    "in": "path",
    "required": True,
    "description": "As the create answered it; anything else is a 404.",
    "schema": {"type": "string", "format": "uuid"},
}


def _choice(choices: type[StrEnum], default: StrEnum | None = None) -> Json:
    schema: Json = {"type": "string", "enum": [choice.value for choice in choices]}
    return schema if default is None else {**schema, "default": default.value}


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_LIST_PARAMETERS: Final[Sequence[Json]] = (
    _parameter("status", "Only timers of this status.", _choice(Status)),
    _parameter(
        "limit",
        "Timers on a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": TimerQuery().limit},
    ),
    _parameter(
        "offset",
        "Timers to skip; it cannot stand beside `cursor`, which costs the same for every page.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    ),
    _parameter("sort", "Ties are broken by id.", _choice(Sort, TimerQuery().sort)),
    _parameter("order", "", _choice(Order, TimerQuery().order)),
    _parameter("execute_after", "Only timers due later than this, percent-encoded.", _INSTANT),
    _parameter("execute_before", "Only timers due earlier than this, percent-encoded.", _INSTANT),
    _parameter(
        "cursor",
        "`next_cursor` of the page before: it holds for the same filters, sort and order.",
        {"type": "string"},
    ),
    {
        **_parameter(
            "metadata",
            "`metadata.<key>=<value>`: only timers with this value under a top-level key of their "
            "metadata: the string itself, or the number, true, false or null that it spells.",
            {
                "type": "object",
                "patternProperties": {r"^metadata\..": {"type": "string"}},
                "additionalProperties": False,
                "maxProperties": MAX_METADATA_FILTERS,
            },
        ),
        "style": "form",
        "explode": True,
        "example": {"metadata.customer": "c-17"},
    },
)

OPERATIONS: Final[Sequence[Operation]] = (
    Operation(
        method="POST",
        path="/timers",
        name="createTimer",
        tag="timers",
        summary="Create a timer",
        description="It is stored for good when this answers 201. Exactly one of `execute_at` and "
        "`delay` is required. A 503 with an id in its data leaves open whether the timer exists.",
        answer="The new timer.",
        data=TypeAdapter(SummaryData),
        status=201,
        makes_a_timer=True,
        refusals=(*_STORED, *_BODY),
        body="CreateRequest",
        example={
            "delay": "PT5M",
            "callback_url": "https://example.com/hooks/reminder",
            "callback_payload": {"order": 4711},
        },
    ),
    Operation(
        method="POST",
        path="/timers/batch",
        name="createTimers",
        tag="timers",
        summary="Create many timers",
        description=f"Up to {MAX_TIMERS:,} of the same objects as for a single one: all are "
        "created, or none. An error names its timer: `timers[17].callback_url`. A 503 with ids in "
        "its data leaves open whether they exist: all do if the first does.",
        answer="The new timers.",
        data=TypeAdapter(SummariesData),
        status=201,
        refusals=(*_STORED, *_BODY),
        body="BatchRequest",
        body_words=f"At most {MAX_BATCH_BYTES:,} bytes, and {{max_body_bytes:,}} for each timer.",
        example={"timers": [{"delay": 60, "callback_url": "https://example.com/hooks/reminder"}]},
    ),
    Operation(
        method="POST",
        path="/timers/import",
        name="importTimers",
        tag="timers",
        summary="Import timers line by line",
        description="""\
Each line is such an object as creates a single timer; blank lines are skipped. What is wrong with \
a line keeps out that line alone. The lines are written in order, some thousand in a transaction, \
while the next ones are read, so that a body may be as long as it takes.

The answer begins at once: a line of progress each second at most, `{"lines": 2000, "imported": \
1998, "refused": 2, "through_line": 2000}`, and at last the envelope, whose `data` has the three \
counts and, as `errors`, the first refused lines: `{"line": 17, "field": "callback_url", \
"message": "..."}`. A client may read it when all is sent. Times are \
judged as of the arrival of the request: what falls due while it runs is imported, and fires at \
once.

If an import cannot go on (the database is away, the service stops, nothing comes for 30 s, \
less than 1 KiB a second came while the service waited 30 s for it), the code of the last \
line is not 0. Then `data.through_line`, as in the progress, says up to \
which line all are imported or refused: send those behind it again. `data.unknown` names lines \
whose transaction was not answered, and the id of the first of their timers: if that one exists, \
all of these lines are imported, otherwise none. What is imported stays, also \
when the client leaves in the middle.""",
        answer="Progress, and at last the envelope.",
        media=NDJSON,
        refusals=(400, 401, 415, 503),
        takes=NDJSON,
        body="ImportRequest",
        example='{"delay": "P1D", "callback_url": "https://example.com/hooks/reminder"}\n',
        body_words=f"Up to {MAX_LINES:,} lines of at most {{max_body_bytes:,}} bytes each.",
    ),
    Operation(
        method="GET",
        path="/timers",
        name="listTimers",
        tag="timers",
        summary="List timers",
        description="Pages never overlap. A parameter that is unknown or given twice is refused.",
        answer="A page of timers.",
        data=TypeAdapter(PageData),
        refusals=_STORED,
        parameters=_LIST_PARAMETERS,
    ),
    Operation(
        method="GET",
        path="/timers/{timer_id}",
        name="getTimer",
        tag="timers",
        summary="Get a timer",
        description="All that is known of it.",
        answer="The timer.",
        data=TypeAdapter(WholeTimerData),
        refusals=_ONE,
        parameters=(_ID,),
    ),
    Operation(
        method="PUT",
        path="/timers/{timer_id}",
        name="updateTimer",
        tag="timers",
        summary="Change a pending timer",
        description="Any of the fields, at least one; what is left out stays as it is. null takes "
        "`callback_headers` and `metadata` away, makes `misfire_grace_seconds` endless, and is the "
        "JSON null as `callback_payload`. An update answered with 200 is what fires. A timer that "
        "is not pending any more answers 400.",
        answer="The timer as it is now.",
        data=TypeAdapter(SummaryData),
        refusals=(*_ONE, *_BODY),
        parameters=(_ID,),
        body="UpdateRequest",
        example={"delay": 3600},
    ),
    Operation(
        method="DELETE",
        path="/timers/{timer_id}",
        name="cancelTimer",
        tag="timers",
        summary="Cancel a timer",
        description="A cancel answered with 200 never fires. Again on a canceled timer: the same "
        "answer. An executing, completed or failed one answers 400.",
        answer="The timer is canceled.",
        data=TypeAdapter(CanceledData),
        refusals=_ONE,
        parameters=(_ID,),
    ),
    Operation(
        method="GET",
        path="/replicas",
        name="listReplicas",
        tag="operation",
        summary="Which replicas are there?",
        description="The processes that share the database and divide the timers among them. One "
        "that has stopped is not listed; one that has died is silent until another takes over what "
        "it owned.",
        answer="The replicas.",
        data=TypeAdapter(ReplicasData),
        refusals=_STORED,
    ),
    Operation(
        method="GET",
        path="/",
        name="getHome",
        tag="operation",
        summary="What is this?",
        description="Name, version, and where to read on. A browser, which asks for `text/html`, "
        "gets a page.",
        answer="This service.",
        data=TypeAdapter(HomeData),
        has_page=True,
        is_open=True,
    ),
    Operation(
        method="GET",
        path="/health",
        name="getHealth",
        tag="operation",
        summary="Is the database there?",
        description="From the last heartbeat, so it never waits for the database.",
        answer="The database is connected.",
        data=TypeAdapter(HealthData),
        is_open=True,
        down_with_data=True,
    ),
    Operation(
        method="GET",
        path="/health/live",
        name="getLive",
        tag="operation",
        summary="Does the process turn?",
        description="200 as long as it does; restart it when this stops.",
        answer="It does.",
        data=TypeAdapter(LiveData),
        is_open=True,
    ),
    Operation(
        method="GET",
        path="/health/ready",
        name="getReady",
        tag="operation",
        summary="May traffic be sent here?",
        description="503 until the first load is done, while the database is away, and as soon as "
        "a stop begins.",
        answer="It may.",
        data=TypeAdapter(ReadyData),
        is_open=True,
        down_with_data=True,
    ),
    Operation(
        method="GET",
        path="/metrics",
        name="getMetrics",
        tag="operation",
        summary="Metrics for Prometheus",
        description="Lateness, callbacks by outcome, what is in flight, and more.",
        answer="The metrics.",
        media=CONTENT_TYPE_LATEST,
        refusals=(401,),
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        name="getOpenapi",
        tag="operation",
        summary="This document",
        description="OpenAPI 3.1.",
        answer="The document.",
        is_open=True,
    ),
    Operation(
        method="GET",
        path="/docs",
        name="getDocs",
        tag="operation",
        summary="This document for people",
        description="A page that loads nothing from elsewhere.",
        answer="The page.",
        media=PAGE,
        is_open=True,
    ),
)
