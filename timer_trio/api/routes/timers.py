"""The routes of timers."""

from __future__ import annotations

import re
from hashlib import sha256
from http import HTTPStatus
from typing import Final
from uuid import UUID

from quart import Response, request

from timer_trio.api.body.media import json_body
from timer_trio.api.body.slices import Slices
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import StatusForbidsError, UnreadableIdError
from timer_trio.api.fields.rules import Rules
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.query import parse_query
from timer_trio.api.requests import read_change, read_spec, reading_members
from timer_trio.api.responses import page_data, success, summary_data, whole_timer
from timer_trio.domain.errors import NotPendingError
from timer_trio.domain.timer import TimerId

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


class TimerRoutes:
    def __init__(self, context: ApiContext, rules: Rules, slices: Slices) -> None:
        self._storage = context.storage
        self._intake = context.intake
        self._clock = context.clock
        self._rules = rules
        self._slices = slices
        self._cursor_key = sha256(b"cursor" + context.api_key.encode()).digest()

    async def create(self) -> Response:
        arrived_at = self._clock.now()
        spec = read_spec(await self._members(), arrived_at, self._rules)
        summary = await self._intake.create(spec)
        response = success(summary_data(summary), HTTPStatus.CREATED)
        response.headers["Location"] = f"/timers/{summary.id}"
        return response

    async def list(self) -> Response:
        query = parse_query(request.query_string, self._cursor_key)
        page = await self._storage.list(query)
        return success(page_data(page, query, self._cursor_key))

    async def get(self, timer_id: str) -> Response:
        refuse_parameters(request.query_string)
        return whole_timer(await self._storage.get(_timer_id(timer_id)))

    async def update(self, timer_id: str) -> Response:
        arrived_at = self._clock.now()
        known_id = _timer_id(timer_id)
        change = read_change(await self._members(), arrived_at, self._rules)
        try:
            summary = await self._intake.update(known_id, change)
        except NotPendingError as error:
            raise StatusForbidsError("update", error.status) from error
        return success(summary_data(summary))

    async def cancel(self, timer_id: str) -> Response:
        refuse_parameters(request.query_string)
        try:
            summary = await self._storage.cancel(_timer_id(timer_id), self._clock.now())
        except NotPendingError as error:
            raise StatusForbidsError("cancel", error.status) from error
        return success({"id": str(summary.id), "status": summary.status})

    async def _members(self) -> dict[str, object]:
        return await self._slices.finish(reading_members(await json_body(), self._rules))


def _timer_id(text: str) -> TimerId:
    if not _UUID.fullmatch(text):
        raise UnreadableIdError
    return TimerId(UUID(text))
