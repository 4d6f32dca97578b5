"""Keys that consumers choose, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

import psycopg
from psycopg.rows import DictRow

from timer_trio.domain.errors import ContentionError, StorageError
from timer_trio.domain.keys import (
    IDEMPOTENCY_PERIOD,
    FirstAnswer,
    HeldName,
    KeyedCreate,
    NameHolder,
)
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import JsonText, NewTimer, Status, TimerId
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.postgres.connections import Connection, rows_of
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.quotas import Counted, Quota, quota_of, within_quota
from timer_trio.storage.postgres.rows import (
    json_of_keyed,
    json_of_named,
    json_of_new,
    opened_timer_of,
)
from timer_trio.storage.sealing import opened_first

ProjectKey = tuple[ProjectId, str]


class PostgresKeys(Database):
    """KeyStorage in PostgreSQL."""

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        parameters = {
            "creates": await json_of_keyed(creates),
            "timers": await json_of_new(
                [timer for each in creates for timer in each.timers], self._cipher
            ),
            "now": now,
            "expires_at": now + IDEMPOTENCY_PERIOD,
        }
        # Many timers of one request must keep no claim waiting.
        is_bulk = any(len(each.timers) > 1 for each in creates)
        if quota := quota_of([timer for each in creates for timer in each.timers]):
            connections = self._bulk if is_bulk else self._api
            return await connections.run(
                lambda connection: within_quota(
                    connection, quota, now, lambda own: _create_counted(own, creates, parameters)
                ),
                verb="create_keyed",
                refuses=True,
            )
        connections = self._bulk if is_bulk else self._stages
        return await connections.run(
            lambda connection: _create(connection, creates, parameters),
            verb="create_keyed",
            refuses=True,
        )

    async def first_answer(
        self, key: str, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> FirstAnswer | None:
        rows = await self._api.fetch("first_answers", asked_for([(project, key)], now))
        return opened_first(answer_of(rows[0]), self._cipher) if rows else None

    async def name_holder(
        self, key: str, project: ProjectId = DEFAULT_PROJECT
    ) -> NameHolder | None:
        rows = await self._api.fetch("name_holder", {"key": key, "project": project})
        return _holder_of(rows[0], self._cipher) if rows else None

    async def held_names(
        self, keys: Collection[str], project: ProjectId = DEFAULT_PROJECT
    ) -> Mapping[str, HeldName]:
        parameters = {"keys": [*keys], "project": project}
        rows = await self._bulk.fetch("held_names", parameters, refuses=True)
        return {row["key"]: _held_of(row) for row in rows}

    async def create_named(
        self, timers: Sequence[NewTimer], before: Mapping[str, TimerId], now: datetime
    ) -> bool:
        parameters = {
            "timers": await json_of_named(timers, before, self._cipher),
            "project": timers[0].project,
            "first": timers[0].id,
            "now": now,
        }
        # Many timers of one request must keep nobody waiting.
        connections = self._bulk if len(timers) > 1 else self._api
        if quota := quota_of(timers):
            return await connections.run(
                lambda connection: _create_named_counted(
                    connection, quota, timers, parameters, now
                ),
                verb="create_named",
                refuses=True,
            )
        return await connections.run(
            lambda connection: _create_named(connection, parameters),
            verb="create_named",
            refuses=True,
        )


def _create(
    connection: Connection, creates: Sequence[KeyedCreate], parameters: Mapping[str, object]
) -> Sequence[FirstAnswer]:
    rows = rows_of(connection, "create_keyed", parameters)
    return _answers(connection, creates, _taken(rows), parameters)


def _create_counted(
    connection: Connection, creates: Sequence[KeyedCreate], parameters: Mapping[str, object]
) -> Counted[Sequence[FirstAnswer]]:
    taken = _taken(rows_of(connection, "create_keyed_counted", parameters))
    more = sum(len(each.timers) for each in creates if (each.project, each.key) in taken)
    return Counted(_answers(connection, creates, taken, parameters), more)


def _taken(rows: Sequence[DictRow]) -> AbstractSet[ProjectKey]:
    return {(row["project"], row["key"]) for row in rows}


def _answers(
    connection: Connection,
    creates: Sequence[KeyedCreate],
    taken: AbstractSet[ProjectKey],
    parameters: Mapping[str, object],
) -> Sequence[FirstAnswer]:
    """Return what each key stands for, once those that were free are taken."""
    lost = [key for each in creates if (key := (each.project, each.key)) not in taken]
    earlier: Mapping[ProjectKey, FirstAnswer] = {}
    if lost:
        rows = rows_of(connection, "first_answers", asked_for(lost, parameters["now"]))
        earlier = {(row["project"], row["key"]): answer_of(row) for row in rows}
        if len(earlier) < len(lost):
            # Who prunes has a later clock. What has been written is found by the next call.
            raise ContentionError("a key has just expired")
    return [earlier.get((each.project, each.key), each.answer) for each in creates]


def asked_for(keys: Sequence[tuple[ProjectId, str]], now: object) -> dict[str, object]:
    """Return the parameters of `first_answers` for these keys, each with whose it is."""
    return {
        "projects": [project for project, _ in keys],
        "keys": [key for _, key in keys],
        "now": now,
    }


def _create_named(connection: Connection, parameters: Mapping[str, object]) -> bool:
    try:
        (row,) = rows_of(connection, "create_named", parameters)
    except psycopg.errors.DivisionByZero:
        return False  # some names were free, and are so again
    return bool(row["is_there"])


def _create_named_counted(
    connection: Connection,
    quota: Quota,
    timers: Sequence[NewTimer],
    parameters: Mapping[str, object],
    now: datetime,
) -> bool:
    first = {"id": timers[0].id}

    def write(own: Connection) -> Counted[bool]:
        were_there = bool(rows_of(own, "is_there", first))
        (row,) = rows_of(own, "create_named_counted", parameters)
        is_there = bool(row["is_there"])
        return Counted(is_there, 0 if were_there or not is_there else len(timers))

    try:
        return within_quota(connection, quota, now, write)
    except psycopg.errors.DivisionByZero:
        return False


def _held_of(row: DictRow) -> HeldName:
    return HeldName(TimerId(row["holder"]), row["status"] and Status(row["status"]))


def _holder_of(row: DictRow, cipher: Cipher) -> NameHolder:
    holder = TimerId(row["holder"])
    if row["id"] is None:
        return NameHolder(holder, None)
    try:
        return NameHolder(holder, opened_timer_of(row, cipher))
    except ValueError as error:
        raise StorageError(f"the row of timer {holder} makes no timer: {error}") from None


def answer_of(row: DictRow) -> FirstAnswer:
    return FirstAnswer(
        fingerprint=row["fingerprint"],
        timer_ids=tuple(row["timer_ids"]),
        status=row["status"],
        data=JsonText(row["answer"]),
    )
