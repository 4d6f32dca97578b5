"""Many timers created at once, all or none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from quart import Response
from typing_extensions import TypedDict

from timer_trio.api.body.json_array import objects_in
from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import MAX_ERRORS, FieldError, InvalidRequestError
from timer_trio.api.fields.timer import CreateRequest
from timer_trio.api.requests import read_spec, reading_members
from timer_trio.api.responses import SummariesData, created_many, summary_data
from timer_trio.api.route import ON_BODY, ON_STORED, Body, Operation, Route, Success
from timer_trio.domain.errors import RowRefusedError
from timer_trio.domain.timer import NewTimer
from timer_trio.intake.intake import new_summary

MAX_TIMERS: Final = 1_000
"""In one batch: a twentieth of a second's work, after which a consumer knows."""
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""8 KiB for each of a thousand timers: what a request may hold of the memory."""
MEMBER: Final = "timers"
_AROUND_ONE: Final = 1_024
"""What may stand around a single timer, so that the greatest one still fits into a batch."""


@with_config(ConfigDict(extra="forbid"))
class BatchRequest(TypedDict):
    timers: Annotated[list[CreateRequest], Field(min_length=1, max_length=MAX_TIMERS)]


def routes(context: ApiContext) -> Sequence[Route]:
    one = context.max_body_bytes
    body = Body(
        model=TypeAdapter(BatchRequest),
        example={MEMBER: [{"delay": 60, "callback_url": "https://example.com/hooks/reminder"}]},
        limits=f"At most {MAX_BATCH_BYTES:,} bytes, and {one:,} for each timer.",
        most_bytes=max(MAX_BATCH_BYTES, one + _AROUND_ONE),
    )
    handler = _Batch(context).create_batch
    return (
        Route(method="POST", path="/timers/batch", handler=handler, body=body, operation=_CREATE),
    )


class _Batch:
    def __init__(self, context: ApiContext) -> None:
        self._intake = context.intake
        self._clock = context.clock
        self._most_bytes = context.max_body_bytes
        self._rules = context.rules
        self._slices = context.slices

    async def create_batch(self) -> Response:
        arrived_at = self._clock.now()
        raw = await json_body()
        timers = await self._slices.collect(self._read(raw, arrived_at))
        try:
            await self._intake.create_all(timers)
        except RowRefusedError:
            words = "the database refuses a value of one of them; none was created"
            raise InvalidRequestError(FieldError(MEMBER, words)) from None
        return created_many(await self._slices.collect(_written(timers)))

    def _read(self, raw: bytes, now: datetime) -> Iterator[NewTimer | None]:
        """Yield the timers of a batch, None where it can pause.

        Raises:
            InvalidRequestError: when all is read, naming what is wrong with any of them.
        """
        errors: list[FieldError] = []
        place = -1
        for item in objects_in(raw, MEMBER, self._most_bytes):
            yield None
            if item is None:
                continue
            place += 1
            if place == MAX_TIMERS or len(errors) >= MAX_ERRORS:
                break
            try:
                members = yield from reading_members(item, self._rules, "the object")
                spec = read_spec(members, now, self._rules)
            except InvalidRequestError as error:
                errors += [_placed(each, place) for each in error.errors]
            else:
                yield self._intake.new_timer(spec, now)
        if place == MAX_TIMERS:
            words = f"must be at most {MAX_TIMERS:,} timers: send the others in another batch"
            errors.insert(0, FieldError(MEMBER, words))
        elif place < 0:
            errors.append(FieldError(MEMBER, "must hold at least one timer"))
        if errors:
            raise InvalidRequestError(*errors)


def _placed(error: FieldError, place: int) -> FieldError:
    field = f"{MEMBER}[{place}]"
    return FieldError(f"{field}.{error.field}" if error.field else field, error.message)


def _written(timers: list[NewTimer]) -> Iterator[str]:
    for timer in timers:
        yield json.dumps(summary_data(new_summary(timer)), ensure_ascii=False)


_CREATE: Final = Operation(
    name="createTimers",
    tag="timers",
    summary="Create many timers",
    description=f"Up to {MAX_TIMERS:,} of the same objects as for a single one: all are "
    "created, or none. An error names its timer: `timers[17].callback_url`. A 503 with ids in "
    "its data leaves open whether they exist: all do if the first does.",
    success=Success(words="The new timers.", data=TypeAdapter(SummariesData), status=201),
    refusals=(*ON_STORED, *ON_BODY),
)
