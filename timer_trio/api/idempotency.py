"""Requests that may be repeated: the first answer under a key is that of all."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from quart import Response, request

from timer_trio.api.body.canonical import Fingerprint
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import FieldError, IdempotencyConflictError, InvalidRequestError
from timer_trio.api.principal import own_project
from timer_trio.api.route import IDEMPOTENCY_KEY, REPLAYED
from timer_trio.calendar import RuleError
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import (
    KeyedCreateUnknownError,
    ScheduleCreateUnknownError,
    SealedError,
)
from timer_trio.domain.keys import MAX_KEY_LENGTH, FirstAnswer, KeyedCreate
from timer_trio.domain.schedule import Plan
from timer_trio.domain.sealed import is_sealed_text
from timer_trio.domain.timer import JsonText, NewTimer, TimerId
from timer_trio.intake.intake import Intake
from timer_trio.intake.schedules import Schedules

_KEY: Final = re.compile(rf"[!-~]{{1,{MAX_KEY_LENGTH}}}")


class New(NamedTuple):
    """What a request asks for: its ids, the data that it is answered, and how it is written.

    `write` takes the key and that answer, and returns what the key stands for. `action` is what the
    audit calls it.
    """

    ids: Sequence[TimerId]
    data: str
    action: Action
    write: Callable[[str, FirstAnswer], Awaitable[FirstAnswer]]


def new_timers(intake: Intake, timers: Sequence[NewTimer], data: str) -> New:
    async def write(key: str, answer: FirstAnswer) -> FirstAnswer:
        return await intake.create_keyed(
            KeyedCreate(key=key, timers=timers, answer=answer, project=timers[0].project)
        )

    return New([timer.id for timer in timers], data, Action.TIMER_CREATED, write)


def new_schedule(schedules: Schedules, plan: Plan, data: str) -> New:
    async def write(key: str, answer: FirstAnswer) -> FirstAnswer:
        try:
            return await schedules.create(plan, (key, answer)) or answer
        except ScheduleCreateUnknownError as error:
            raise KeyedCreateUnknownError from error

    return New([TimerId(plan.schedule.id)], data, Action.SCHEDULE_CREATED, write)


def idempotency_key() -> str | None:
    """Return the key of a request, if it has one.

    Raises:
        InvalidRequestError: it is none, or there are two.
    """
    given = request.headers.getlist(IDEMPOTENCY_KEY)
    if not given:
        return None
    if len(given) > 1:
        raise InvalidRequestError(FieldError(IDEMPOTENCY_KEY, "appears twice"))
    if not _KEY.fullmatch(given[0]):
        words = f"must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
        raise InvalidRequestError(FieldError(IDEMPOTENCY_KEY, words))
    return given[0]


class KeyedRequests:
    """Answers requests with a key: with what the first of them was answered."""

    def __init__(self, context: ApiContext, respond: Callable[[FirstAnswer], Response]) -> None:
        self._respond = respond
        self._context = context
        self._storage = context.storage
        self._clock = context.clock

    async def answer(
        self, key: str, fingerprint: Fingerprint, read: Callable[[], Awaitable[New]]
    ) -> Response:
        """Create what `read` says that the request asks for, unless the key has done so before.

        `read` may complete the fingerprint; if it raises it has done so as far as there is one.

        Raises:
            InvalidRequestError, RuleError: as `read` raises it, unless the first of these requests
                was good.
            IdempotencyConflictError: the key stands for another request.
            SealedError: what that was answered is encrypted, and the key is missing.
            RowRefusedError, KeyedCreateUnknownError: as Intake.create_keyed; and what else the
                writing of it raises.
        """
        try:
            new = await read()
        except (InvalidRequestError, RuleError) as error:
            refusal = error
        else:
            return await self._create(key, fingerprint.digest, new)
        # A time that was good enough for the first one may have gone by.
        first = await self._storage.first_answer(key, self._clock.now(), own_project())
        if first is None or first.fingerprint != fingerprint.digest:
            raise refusal
        return self._replay(first)

    async def _create(self, key: str, fingerprint: bytes, new: New) -> Response:
        own = FirstAnswer(
            fingerprint=fingerprint,
            timer_ids=tuple(new.ids),
            status=HTTPStatus.CREATED,
            data=JsonText(new.data),
        )
        first = await new.write(key, own)
        if first.fingerprint != own.fingerprint:
            raise IdempotencyConflictError
        if first.timer_ids != own.timer_ids:
            return self._replay(first)
        only = new.ids[0] if len(new.ids) == 1 else None
        self._context.audit.note(new.action, only, count=len(new.ids))
        return self._respond(own)

    def _replay(self, first: FirstAnswer) -> Response:
        if is_sealed_text(first.data):
            raise SealedError
        response = self._respond(first)
        response.status_code = first.status
        response.headers[REPLAYED] = "true"
        return response
