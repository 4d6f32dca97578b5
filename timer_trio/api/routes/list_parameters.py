"""The parameters of lists, as their consumers read of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from timer_trio.api.query import MAX_LIMIT, MAX_METADATA_FILTERS, MAX_OFFSET
from timer_trio.api.route import Json
from timer_trio.domain.audit import OF_SERVICE, Action, AuditQuery
from timer_trio.domain.destination import DestinationQuery
from timer_trio.domain.query import Order, Sort, TimerQuery
from timer_trio.domain.rules import FlowQuery
from timer_trio.domain.schedule import ScheduleQuery, ScheduleStatus
from timer_trio.domain.timer import Status


def _choice(choices: type[StrEnum], default: StrEnum | None = None) -> Json:
    schema: Json = {"type": "string", "enum": [choice.value for choice in choices]}
    return schema if default is None else {**schema, "default": default.value}


def _parameter(name: str, description: str, schema: Json) -> Json:
    # Its example stands in words: what has one is sent where a request is tried on the page.
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _limit(what: str, default: int) -> Json:
    schema: Json = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": default}
    return _parameter("limit", f"{what} on a page.", schema)


def _cursor(same: str) -> Json:
    words = f"`next_cursor` of the page before: it holds for the same {same}."
    return _parameter("cursor", words, {"type": "string"})


_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_BOUND: Final = (
    "No index serves it: it needs `created_after`, `execute_after`, or `ended_after` with "
    "`status=failed` or `status=canceled` beside it."
)
_ENDS: Final = (
    "Served by an index with `status=failed` or `status=canceled`; otherwise it needs "
    "`created_after` or `execute_after` beside it."
)
_METADATA: Final[Json] = {
    **_parameter(
        "metadata",
        "`metadata.<key>=<value>`, such as `metadata.customer=c-17`: only those with this value "
        "under a top-level key of their metadata: the string itself, or the number, true, false or "
        "null that it spells.",
        {
            "type": "object",
            "propertyNames": {"pattern": r"^metadata\.."},
            "additionalProperties": {"type": "string"},
            "maxProperties": MAX_METADATA_FILTERS,
        },
    ),
    "style": "form",
    "explode": True,
}
LIST_PARAMETERS: Final[Sequence[Json]] = (
    _parameter("status", "Only timers of this status.", _choice(Status)),
    _parameter(
        "destination",
        "Only timers that go there: scheme, host and port, such as `https://example.com`, as lists "
        f"show it. {_BOUND}",
        {"type": "string", "format": "uri"},
    ),
    _parameter(
        "last_error",
        f"Only timers whose `last_error` holds this text, upper and lower case as it is. {_BOUND}",
        {"type": "string", "minLength": 1},
    ),
    _parameter(
        "http_status",
        f"Only timers whose last attempt was answered so. {_BOUND}",
        {"type": "integer", "minimum": 100, "maximum": 999},
    ),
    _parameter(
        "key",
        "Only timers of this name, ended ones among them; GET /timers/by-key/{key} finds the one "
        f"that counts. {_BOUND}",
        {"type": "string", "minLength": 1},
    ),
    _parameter(
        "schedule_id",
        "Only occurrences of this schedule, ended ones among them.",
        {"type": "string", "format": "uuid"},
    ),
    _parameter(
        "flow_key",
        "Only timers of this flow, ended ones among them.",
        {"type": "string", "minLength": 1},
    ),
    _parameter("created_after", "Only timers created later than this, percent-encoded.", _INSTANT),
    _parameter(
        "created_before", "Only timers created earlier than this, percent-encoded.", _INSTANT
    ),
    _limit("Timers", TimerQuery().limit),
    _parameter(
        "offset",
        "Timers to skip, none if it is left out; it cannot stand beside `cursor`, which costs the "
        "same for every page.",
        # Without a default: generated clients would send it beside `cursor`.
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET},
    ),
    _parameter("sort", "Ties are broken by id.", _choice(Sort, TimerQuery().sort)),
    _parameter("order", "Which way.", _choice(Order, TimerQuery().order)),
    _parameter("execute_after", "Only timers due later than this, percent-encoded.", _INSTANT),
    _parameter("execute_before", "Only timers due earlier than this, percent-encoded.", _INSTANT),
    _parameter(
        "ended_after", f"Only timers that ended later than this, percent-encoded. {_ENDS}", _INSTANT
    ),
    _parameter(
        "ended_before",
        f"Only timers that ended earlier than this, percent-encoded. {_ENDS}",
        _INSTANT,
    ),
    _cursor("filters, sort and order"),
    _METADATA,
)
SCHEDULE_LIST_PARAMETERS: Final[Sequence[Json]] = (
    _parameter("status", "Only schedules of this status.", _choice(ScheduleStatus)),
    _parameter(
        "name",
        "Only schedules of this name, ended ones among them.",
        {"type": "string", "minLength": 1},
    ),
    _parameter(
        "flow_key",
        "Only schedules whose occurrences are in this flow.",
        {"type": "string", "minLength": 1},
    ),
    _limit("Schedules", ScheduleQuery().limit),
    _cursor("filters"),
    _METADATA,
)
DESTINATION_LIST_PARAMETERS: Final[Sequence[Json]] = (
    _parameter(
        "destination",
        "This one alone: scheme, host and port, such as `https://example.com`.",
        {"type": "string", "format": "uri"},
    ),
    _limit("Destinations", DestinationQuery().limit),
    _cursor("filter"),
)
FLOW_LIST_PARAMETERS: Final[Sequence[Json]] = (
    _parameter("paused", "Only flows that are paused, or that are not.", {"type": "boolean"}),
    _limit("Flows", FlowQuery().limit),
    _cursor("filter"),
)
AUDIT_LIST_PARAMETERS: Final[Sequence[Json]] = (
    _parameter("action", "Only what was done so.", _choice(Action)),
    _parameter(
        "key_id",
        f"Only what was done with the key of this id; `{OF_SERVICE}`: with that of the whole "
        "service.",
        {"type": "string", "minLength": 1},
    ),
    _parameter(
        "target",
        "Only what was done to this alone: the id of a timer, schedule, key or secret, a "
        "`flow_key`, a destination, or the name of a project, percent-encoded.",
        {"type": "string", "minLength": 1},
    ),
    _parameter("after", "Only what was begun later than this, percent-encoded.", _INSTANT),
    _parameter("before", "Only what was begun earlier than this, percent-encoded.", _INSTANT),
    _limit("Entries", AuditQuery().limit),
    _cursor("filters"),
)
