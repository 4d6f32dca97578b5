"""One timer: created, listed, read, changed, canceled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from quart import Response, request

from timer_trio.api.body.canonical import Fingerprint
from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import (
    FieldError,
    InvalidRequestError,
    StatusForbidsError,
    UnreadableIdError,
)
from timer_trio.api.fields.result import RESULT_MEMBERS
from timer_trio.api.fields.timer import NAMED_CREATE, UPDATE
from timer_trio.api.idempotency import KeyedRequests, New, idempotency_key, new_timers
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.principal import own_project, own_quota
from timer_trio.api.query import is_id, parse_query
from timer_trio.api.requests import read_change, read_new, read_one, reading_members
from timer_trio.api.responses import (
    CanceledData,
    PageData,
    SummaryData,
    WholeTimerData,
    created,
    page_of_timers,
    success,
    summary_data,
    summary_json,
    whole_timer,
    writing_timers,
)
from timer_trio.api.route import (
    KEY_PARAMETER,
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
from timer_trio.api.routes.list_parameters import LIST_PARAMETERS
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import IsResultError, NotPendingError
from timer_trio.domain.keys import OnConflict
from timer_trio.domain.timer import TimerId
from timer_trio.intake.intake import new_summary

ID_PARAMETER: Final[Json] = {
    "name": "timer_id",
    "in": "path",
    "required": True,
    "description": "As the create answered it; anything else is a 404.",
    "schema": {"type": "string", "format": "uuid"},
}
_CREATE_EXAMPLE: Final = {
    "delay": "PT5M",
    "callback_url": "https://example.com/hooks/reminder",
    "callback_payload": {"order": 4711},
}


def routes(context: ApiContext) -> Sequence[Route]:
    timers = _Timers(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    return (
        Route(
            method="POST",
            path="/timers",
            handler=timers.create,
            body=Body(model=NAMED_CREATE, example=_CREATE_EXAMPLE, limits=limits),
            operation=_CREATE,
        ),
        Route(method="GET", path="/timers", handler=timers.list, operation=_LIST),
        Route(method="GET", path="/timers/{timer_id}", handler=timers.get, operation=_GET),
        Route(
            method="PUT",
            path="/timers/{timer_id}",
            handler=timers.update,
            body=Body(model=UPDATE, example={"delay": 3600}, limits=limits),
            operation=_UPDATE,
        ),
        Route(method="DELETE", path="/timers/{timer_id}", handler=timers.cancel, operation=_CANCEL),
    )


class _Timers:
    def __init__(self, context: ApiContext) -> None:
        self._storage = context.storage
        self._intake = context.intake
        self._clock = context.clock
        self._context = context
        self._slices = context.slices
        self._keyed = KeyedRequests(
            context, lambda answer: created(answer.data, answer.timer_ids[0])
        )
        self._cursor_key = context.cursor_key

    async def create(self) -> Response:
        arrived_at = self._clock.now()
        key = idempotency_key()
        raw = await json_body()
        members = await self._members_of(raw)
        if key is not None:
            return await self._create_keyed(key, raw, members, arrived_at)
        spec, flow_key, name, on_conflict = read_one(members, arrived_at, self._context.rules)
        if name is None:
            summary = await self._intake.create(
                spec, arrived_at, own_project(), flow_key, max_live=own_quota()
            )
            self._context.audit.note(Action.TIMER_CREATED, summary.id)
            return created(summary_json(summary), summary.id)
        timer, is_new = await self._context.names.create(
            name, spec, arrived_at, on_conflict, flow_key
        )
        if is_new:
            self._context.audit.note(Action.TIMER_CREATED, timer.id)
        elif on_conflict is OnConflict.REPLACE:
            self._context.audit.note(Action.TIMER_CHANGED, timer.id)
        return created(summary_json(timer), timer.id) if is_new else success(summary_data(timer))

    async def _create_keyed(
        self, key: str, raw: bytes, members: Mapping[str, object], arrived_at: datetime
    ) -> Response:
        async def read() -> New:
            asked = read_new(members, arrived_at, self._context.rules)
            timer = self._intake.new_timer(
                asked.spec,
                arrived_at,
                own_project(),
                flow_key=asked.flow_key,
                max_live=own_quota(),
                under=key,
            )
            return new_timers(self._intake, [timer], summary_json(new_summary(timer)))

        if "key" in members:
            words = (
                "cannot stand beside an Idempotency-Key: on_conflict says what a repetition does"
            )
            raise InvalidRequestError(FieldError("key", words))
        fingerprint = Fingerprint("POST /timers")
        await self._slices.finish(fingerprint.reading(raw))
        fingerprint.end()
        return await self._keyed.answer(key, fingerprint, read)

    async def list(self) -> Response:
        query = parse_query(request.query_string, self._cursor_key, own_project())
        page = await self._storage.list(query)
        written = await self._slices.collect(writing_timers(page.timers))
        return page_of_timers(written, page, query, self._cursor_key)

    async def get(self, timer_id: str) -> Response:
        refuse_parameters(request.query_string)
        return whole_timer(await self._storage.get(timer_id_of(timer_id), own_project()))

    async def update(self, timer_id: str) -> Response:
        arrived_at = self._clock.now()
        known_id = timer_id_of(timer_id)
        members = await self._members()
        change, flow_key = read_change(members, arrived_at, self._context.rules)
        try:
            summary = await self._intake.update(known_id, change, own_project(), flow_key)
        except NotPendingError as error:
            raise StatusForbidsError("update", error.status) from error
        except IsResultError:
            words = "cannot be set: this timer is a result itself, and has none of its own"
            names = [name for name in RESULT_MEMBERS if change.get(name)]
            raise InvalidRequestError(*(FieldError(name, words) for name in names)) from None
        self._context.audit.note(Action.TIMER_CHANGED, summary.id, fields=sorted(members))
        return success(summary_data(summary))

    async def cancel(self, timer_id: str) -> Response:
        refuse_parameters(request.query_string)
        try:
            summary = await self._intake.cancel(timer_id_of(timer_id), own_project())
        except NotPendingError as error:
            raise StatusForbidsError("cancel", error.status) from error
        self._context.audit.note(Action.TIMER_CANCELED, summary.id)
        return success({"id": str(summary.id), "status": summary.status})

    async def _members(self) -> dict[str, object]:
        return await self._members_of(await json_body())

    async def _members_of(self, raw: bytes) -> dict[str, object]:
        return await self._slices.finish(reading_members(raw, self._context.rules))


def timer_id_of(text: str) -> TimerId:
    """Read an id from a path.

    Raises:
        UnreadableIdError: it is none, so that no timer has it.
    """
    if not is_id(text):
        raise UnreadableIdError
    return TimerId(UUID(text))


_CREATE: Final = Operation(
    name="createTimer",
    tag="timers",
    summary="Create a timer",
    description="It is stored for good when this answers 201. Exactly one of `execute_at` and "
    "`delay` is required. A 503 with an id in its data leaves open whether the timer exists; with "
    "an Idempotency-Key, send the same again to learn it.",
    success=Success(
        words="The new timer.",
        data=SummaryData,
        status=201,
        makes_a_timer=True,
        also=200,
        may_be_replayed=True,
    ),
    refusals=(*ON_STORED, *ON_BODY, *ON_KEY),
    parameters=(KEY_PARAMETER,),
)
_LIST: Final = Operation(
    name="listTimers",
    tag="timers",
    summary="List timers",
    description="Pages never overlap. A parameter that is unknown or given twice is refused. "
    "`status=failed`, `status=canceled`, `metadata.*` and all bounds of `created_at` and "
    "`execute_at` are served by indexes, those of an end beside one of these two statuses. What "
    "none serves (`destination`, `http_status`, `key`, `last_error`, the end of a completed timer) "
    "is refused unless `created_after`, `execute_after` or, with one of these statuses, "
    "`ended_after` bounds what is read.",
    success=Success(words="A page of timers.", data=PageData),
    refusals=ON_STORED,
    parameters=LIST_PARAMETERS,
)
_GET: Final = Operation(
    name="getTimer",
    tag="timers",
    summary="Get a timer",
    description="All that is known of it.",
    success=Success(words="The timer.", data=WholeTimerData),
    refusals=ON_ONE,
    parameters=(ID_PARAMETER,),
)
_UPDATE: Final = Operation(
    name="updateTimer",
    tag="timers",
    summary="Change a timer that waits",
    description="Any of the fields, at least one; what is left out stays as it is. null takes "
    "`callback_headers` and `metadata` away, makes `misfire_grace_seconds` endless, and is the "
    "JSON null as `callback_payload`. An update answered with 200 is what fires. Of a retrying "
    "timer the next attempt sends the new values, and `execute_at` or `delay` moves it. A timer "
    "that is neither pending nor retrying answers 400.",
    success=Success(words="The timer as it is now.", data=SummaryData),
    refusals=(*ON_ONE, *ON_BODY),
    parameters=(ID_PARAMETER,),
)
_CANCEL: Final = Operation(
    name="cancelTimer",
    tag="timers",
    summary="Cancel a timer",
    description="A cancel answered with 200 never fires, or never again if it was retrying. Again "
    "on a canceled timer: the same answer. An executing, completed or failed one answers 400.",
    success=Success(words="The timer is canceled.", data=CanceledData),
    refusals=ON_ONE,
    parameters=(ID_PARAMETER,),
)
