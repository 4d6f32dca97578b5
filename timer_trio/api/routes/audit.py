"""Who has done what in a project."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, with_config
from quart import Response, request
from typing_extensions import TypedDict

from timer_trio.api.context import ApiContext
from timer_trio.api.cursor import cursor_of
from timer_trio.api.principal import principal
from timer_trio.api.query import parse_audit_query
from timer_trio.api.responses import Instant, Limit, NextCursor, success
from timer_trio.api.route import ON_STORED, Operation, Route, Success
from timer_trio.api.routes.list_parameters import AUDIT_LIST_PARAMETERS
from timer_trio.domain.audit import OF_SERVICE, AuditEntry
from timer_trio.domain.project import Scope
from timer_trio.domain.timer import rfc3339

PATH: Final = "/audit"
_EXACT: Final = ConfigDict(extra="forbid")


@with_config(_EXACT)
class EntryData(TypedDict):
    at: Annotated[Instant, Field(description="When it was done; of several, the first of them.")]
    last_at: Annotated[Instant, Field(description="When the last of them was done.")]
    action: Annotated[
        str,
        Field(
            description="What was done. A replica of a newer release may know more of them.",
            examples=["timer.canceled"],
        ),
    ]
    target: Annotated[
        str | None,
        Field(
            description="To what: the id of a timer, schedule, key or secret, a `flow_key`, a "
            "destination, or the name of a project. null: to several.",
            examples=["01b8dac5-b40b-7cfb-a8f9-4098702bd73e"],
        ),
    ]
    count: Annotated[int, Field(description="How many times, or to how many.", ge=1, examples=[1])]
    key_id: Annotated[
        str,
        Field(
            description=f"By whom: the id of a key, or {OF_SERVICE}: that of the whole service.",
            examples=[OF_SERVICE],
        ),
    ]
    address: Annotated[
        str | None,
        Field(
            description="From where, as the connection had it; null: none is known.",
            examples=["203.0.113.7"],
        ),
    ]
    details: Annotated[
        Mapping[str, Any] | None,
        Field(
            description="What else is told: names of fields that were changed, scopes of a key, "
            "action and filter of a bulk action. Never what a header or a payload holds."
        ),
    ]


@with_config(_EXACT)
class AuditData(TypedDict):
    audit: Annotated[list[EntryData], Field(description="The newest first.")]
    limit: Limit
    next_cursor: NextCursor


def routes(context: ApiContext) -> Sequence[Route]:
    cursor_key = context.cursor_key

    async def list_audit() -> Response:
        asks = principal()
        query = parse_audit_query(
            request.query_string, cursor_key, asks.project, tells_of_projects=asks.is_of_service
        )
        page = await context.storage.audit(query)
        data: AuditData = {
            "audit": [*map(_entry_data, page.entries)],
            "limit": query.limit,
            "next_cursor": None if page.next is None else cursor_of(page.next, query, cursor_key),
        }
        return success(data)

    return (Route(method="GET", path=PATH, handler=list_audit, operation=_LIST, scope=Scope.ADMIN),)


def _entry_data(entry: AuditEntry) -> EntryData:
    return {
        "at": rfc3339(entry.at),
        "last_at": rfc3339(entry.last_at),
        "action": entry.action,
        "target": entry.target,
        "count": entry.count,
        "key_id": entry.key_id or OF_SERVICE,
        "address": entry.address,
        "details": None if entry.details is None else json.loads(entry.details),
    }


_LIST: Final = Operation(
    name="listAudit",
    tag="audit",
    summary="Who has done what?",
    description="What was created, changed, canceled, redriven and paused in the project, by which "
    "key, when and from which address, as long as `AUDIT_DAYS` says. What was refused is not among "
    "it, nor an answer that was given again. Timers that one key creates from one address within a "
    "minute are one entry of each replica, and so are equal changes of one timer and what one bulk "
    "action does. It is written within some two seconds of the answer: a replica that crashes "
    "loses what it has not written. What was created and deleted among the projects themselves is "
    "told in `default`, to API_KEY alone.",
    success=Success(words="A page of the audit.", data=AuditData),
    refusals=ON_STORED,
    parameters=AUDIT_LIST_PARAMETERS,
)
