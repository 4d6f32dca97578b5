"""Many timers created at once, all or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from quart import Response
from typing_extensions import TypedDict

from timer_trio.api.body.canonical import Fingerprint
from timer_trio.api.body.json_array import objects_in
from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import MAX_ERRORS, FieldError, InvalidRequestError, ItemTakenError
from timer_trio.api.fields.rules import Rules
from timer_trio.api.fields.timer import OneOfManyCreateRequest
from timer_trio.api.idempotency import KeyedRequests, New, idempotency_key, new_timers
from timer_trio.api.principal import own_project, own_quota
from timer_trio.api.requests import read_one_of_many, reading_members
from timer_trio.api.responses import SummariesData, created, summaries_json, summary_json
from timer_trio.api.route import (
    KEY_PARAMETER,
    ON_BODY,
    ON_KEY,
    ON_STORED,
    Body,
    Operation,
    Route,
    Success,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import RowRefusedError
from timer_trio.domain.keys import HeldName
from timer_trio.domain.timer import NewTimer
from timer_trio.intake.intake import Intake, new_summary
from timer_trio.intake.names import name_taken

MAX_TIMERS: Final = 1_000
"""In one batch: a twentieth of a second's work, after which a consumer knows."""
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""8 KiB for each of a thousand timers: what a request may hold of the memory."""
MEMBER: Final = "timers"
_AROUND_ONE: Final = 1_024
"""What may stand around a single timer, so that the greatest one still fits into a batch."""


@with_config(ConfigDict(extra="forbid"))
class BatchRequest(TypedDict):
    timers: Annotated[
        list[OneOfManyCreateRequest],
        Field(min_length=1, max_length=MAX_TIMERS, description="All are created, or none."),
    ]


_MODEL: Final = TypeAdapter(BatchRequest)


def routes(context: ApiContext) -> Sequence[Route]:
    one = context.max_body_bytes
    body = Body(
        model=_MODEL,
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
        self._context = context
        self._slices = context.slices
        self._keyed = KeyedRequests(context, lambda answer: created(answer.data))

    async def create_batch(self) -> Response:
        arrived_at = self._clock.now()
        key = idempotency_key()
        raw = await json_body()
        try:
            if key is not None:
                return await self._create_keyed(key, raw, arrived_at)
            timers = self._intake.together(await self._read_all(raw, arrived_at))
            taken = await self._context.names.create_all(timers)
        except RowRefusedError:
            words = "the database refuses a value of one of them; none was created"
            raise InvalidRequestError(FieldError(MEMBER, words)) from None
        if taken:
            raise _taken_error(timers, taken)
        data = await self._data_of(timers)
        only = timers[0].id if len(timers) == 1 else None
        self._context.audit.note(Action.TIMER_CREATED, only, count=len(timers))
        return created(data)

    async def _create_keyed(self, key: str, raw: bytes, arrived_at: datetime) -> Response:
        fingerprint = Fingerprint("POST /timers/batch")

        async def read() -> New:
            read = await self._read_all(raw, arrived_at, fingerprint)
            timers = self._intake.together(read, key)
            return new_timers(self._intake, timers, await self._data_of(timers))

        return await self._keyed.answer(key, fingerprint, read)

    async def _read_all(
        self, raw: bytes, now: datetime, fingerprint: Fingerprint | None = None
    ) -> Sequence[NewTimer]:
        return await self._slices.collect(self._read(raw, now, fingerprint))

    async def _data_of(self, timers: Sequence[NewTimer]) -> str:
        return summaries_json(await self._slices.collect(_written(timers)))

    def _read(
        self, raw: bytes, now: datetime, fingerprint: Fingerprint | None = None
    ) -> Iterator[NewTimer | None]:
        """Yield the timers of a batch, None where it can pause.

        Raises:
            InvalidRequestError: when all is read, naming what is wrong with any of them.
        """
        errors: list[FieldError] = []
        rules = self._context.rules
        items = _Items(self._intake, now, rules, with_key=fingerprint is not None)
        place = -1
        readable = 0
        for item in objects_in(raw, MEMBER, self._most_bytes):
            if item is None:
                yield None
                continue
            place += 1
            # With a key all is read, since it may have been good when it came first.
            if place == MAX_TIMERS or (len(errors) >= MAX_ERRORS and fingerprint is None):
                break
            try:
                members = yield from reading_members(item, rules, "the object")
                readable += 1
                if fingerprint is not None:
                    yield from fingerprint.reading(item)
                yield items.timer_of(members, place) if len(errors) < MAX_ERRORS else None
            except InvalidRequestError as error:
                errors += [_placed(each, place) for each in error.errors]
                yield None
        if readable == place + 1 and fingerprint is not None:
            fingerprint.end()
        if errors := [*_count_errors(place + 1), *errors]:
            raise InvalidRequestError(*errors)


class _Items:
    """Makes timers of what was read of a batch that arrived at `now`, each name once.

    `with_key`: the batch has an idempotency key, and may have no names.
    """

    def __init__(self, intake: Intake, now: datetime, rules: Rules, *, with_key: bool) -> None:
        self._intake = intake
        self._now = now
        self._rules = rules
        self._with_key = with_key
        self._project, self._quota = own_project(), own_quota()
        self._places: dict[str, int] = {}

    def timer_of(self, members: Mapping[str, object], place: int) -> NewTimer:
        """Make the timer at this place.

        Raises:
            InvalidRequestError: naming every field that is wrong.
        """
        spec, flow_key, key, _ = read_one_of_many(members, self._now, self._rules)
        if key is not None:
            self._take_name(key, place)
        return self._intake.new_timer(
            spec, self._now, self._project, key, flow_key=flow_key, max_live=self._quota
        )

    def _take_name(self, key: str, place: int) -> None:
        if self._with_key:
            words = "cannot stand beside an Idempotency-Key: a repetition finds its names taken"
            raise InvalidRequestError(FieldError("key", words))
        if (first := self._places.setdefault(key, place)) != place:
            raise InvalidRequestError(FieldError("key", f"{MEMBER}[{first}] has the same key"))


def _taken_error(timers: Sequence[NewTimer], taken: Mapping[str, HeldName]) -> ItemTakenError:
    """Return the error of the first timer whose name a live one has."""
    for place, timer in enumerate(timers):
        if timer.key is not None and (held := taken.get(timer.key)):
            error = name_taken(held.timer_id, held.status)
            return ItemTakenError(f"{MEMBER}[{place}].key", error)
    raise AssertionError("what is taken is the name of one of them")


def _count_errors(count: int) -> Iterator[FieldError]:
    if count > MAX_TIMERS:
        words = f"must be at most {MAX_TIMERS:,} timers: send the others in another batch"
        yield FieldError(MEMBER, words)
    if not count:
        yield FieldError(MEMBER, "must hold at least one timer")


def _placed(error: FieldError, place: int) -> FieldError:
    field = f"{MEMBER}[{place}]"
    return FieldError(f"{field}.{error.field}" if error.field else field, error.message)


def _written(timers: Sequence[NewTimer]) -> Iterator[str]:
    for timer in timers:
        yield summary_json(new_summary(timer))


_CREATE: Final = Operation(
    name="createTimers",
    tag="timers",
    summary="Create many timers",
    description=f"Up to {MAX_TIMERS:,} of the same objects as for a single one: all are "
    "created, or none. An error names its timer: `timers[17].callback_url`. A 503 with ids in "
    "its data leaves open whether they exist: all do if the first does; with an Idempotency-Key, "
    "send the same again to learn it. If a live timer has the `key` of one of them, none is "
    "created: 409, with the id of that timer. A `key` comes once in a batch, and not beside an "
    "Idempotency-Key.",
    success=Success(
        words="The new timers.",
        data=SummariesData,
        status=201,
        may_be_replayed=True,
    ),
    refusals=(*ON_STORED, *ON_BODY, *ON_KEY),
    parameters=(KEY_PARAMETER,),
)
