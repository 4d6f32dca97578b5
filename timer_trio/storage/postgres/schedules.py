"""What consumers and the planner do with schedules, in PostgreSQL.

A change of a schedule is a transaction of several statements, between which it is decided what the
next one says; `idle_in_transaction_session_timeout` bounds what a process that freezes there holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Literal

from timer_trio.domain.errors import (
    ContentionError,
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
    StorageError,
)
from timer_trio.domain.keys import IDEMPOTENCY_PERIOD, FirstAnswer
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.schedule import (
    Changed,
    NewOccurrence,
    PendingFate,
    Plan,
    Schedule,
    ScheduleChange,
    ScheduleFacts,
    ScheduleId,
    SchedulePage,
    ScheduleQuery,
    ScheduleStatus,
    Standing,
    UnreadableSchedule,
)
from timer_trio.domain.settlement import SKIPPED
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.postgres.connections import Connection, rows_of
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.keys import answer_of, asked_for
from timer_trio.storage.postgres.listing import all_of, has_one
from timer_trio.storage.postgres.quotas import Counted, Quota, quota_of, within_quota
from timer_trio.storage.postgres.rows import array, opened_timer_of
from timer_trio.storage.postgres.schedule_rows import (
    change_of,
    json_of_occurrences,
    parameters_of,
    readable,
    schedule_of,
    sealed_occurrence,
    text_of_occurrence,
    text_of_plan,
)
from timer_trio.storage.sealing import opened_first, sealed_first

Keyed = tuple[str, FirstAnswer]
Decide = Callable[[Schedule, Standing], ScheduleChange]


class _KeyTakenError(Exception):
    """Somebody else's request has the key: nothing is written."""


class PostgresSchedules(Database):
    """ScheduleStorage in PostgreSQL."""

    async def create_schedule(
        self,
        schedule: Schedule,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        keyed: Keyed | None = None,
    ) -> FirstAnswer | None:
        texts = await json_of_occurrences(occurrences, self._cipher)
        return await self._api.run(
            lambda connection: _create(connection, self._cipher, schedule, texts, keyed, now),
            verb="create_schedule",
            refuses=True,
        )

    async def schedule(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> Schedule:
        rows = await self._api.fetch("schedule", {"id": schedule_id, "project": project})
        return _only(rows, self._cipher)

    async def schedule_facts(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleFacts:
        parameters = {"id": schedule_id, "project": project, "skipped": SKIPPED}
        (row,) = await self._api.fetch("schedule_facts", parameters)
        try:
            last = None if row["id"] is None else opened_timer_of(row, self._cipher)
        except ValueError as error:
            raise StorageError(f"the row of timer {row['id']} makes no timer: {error}") from None
        return ScheduleFacts(last_occurrence=last, pending=row["pending"], skipped=row["skipped"])

    async def schedule_named(
        self, name: str, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleId | None:
        parameters = {"name": name, "project": project}
        rows = await self._api.fetch("schedule_named", parameters, refuses=True)
        return ScheduleId(rows[0]["id"]) if rows else None

    async def schedules(self, query: ScheduleQuery) -> SchedulePage:
        statement = _page_statement(query)
        rows = await self._api.run(
            lambda connection: connection.execute(statement, prepare=False, binary=True).fetchall(),
            verb="schedules",
            refuses=True,
        )
        page = rows[: query.limit]
        has_more = len(rows) > len(page)
        last = Position(page[-1]["created_at"], TimerId(page[-1]["id"])) if has_more else None
        known = [readable(row, self._cipher) for row in page]
        found = [each for each in known if isinstance(each, Schedule)]
        return SchedulePage(schedules=found, next=last)

    async def change_schedule(
        self,
        schedule_id: ScheduleId,
        decide: Decide,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Changed:
        asked = {"id": schedule_id, "project": project}
        return await self._api.run(
            lambda connection: _change(connection, self._cipher, asked, decide, now),
            verb="change_schedule",
            refuses=True,
        )

    async def next_plan_at(self, shards: Collection[int]) -> datetime | None:
        (row,) = await self._stages.fetch("next_plan_at", {"shards": sorted(shards)})
        plan_at: datetime | None = row["plan_at"]
        return plan_at

    async def due_schedules(
        self, shards: Collection[int], until: datetime, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        parameters = {"shards": sorted(shards), "until": until, "limit": limit}
        rows = await self._stages.fetch("due_schedules", parameters)
        return [readable(row, self._cipher) for row in rows]

    async def outdated_schedules(
        self, shards: Collection[int], zone_data: str, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        parameters = {"shards": sorted(shards), "zone_data": zone_data, "limit": limit}
        rows = await self._api.fetch("outdated_schedules", parameters)
        return [readable(row, self._cipher) for row in rows]

    async def plan(self, plans: Sequence[Plan], now: datetime) -> Sequence[bool]:
        occurrences = [each for one in plans for each in one.occurrences]
        parameters = {
            "plans": array([text_of_plan(place, one) for place, one in enumerate(plans)]),
            "occurrences": await json_of_occurrences(occurrences, self._cipher),
            "now": now,
        }
        rows = await self._stages.fetch("plan", parameters, refuses=True)
        held = {row["place"] for row in rows}
        return [place in held for place in range(len(plans))]

    async def break_schedule(
        self, schedule_id: ScheduleId, version: int, reason: str, now: datetime
    ) -> bool:
        parameters = {"id": schedule_id, "version": version, "reason": reason, "now": now}
        return bool(await self._api.fetch("break_schedule", parameters))

    async def add_occurrences(
        self,
        schedule_id: ScheduleId,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Sequence[TimerId]:
        texts = await json_of_occurrences(occurrences, self._cipher)
        asked = {"id": schedule_id, "project": project}
        quota = quota_of([each.timer for each in occurrences])
        return await self._api.run(
            lambda connection: _add(connection, asked, texts, quota, now),
            verb="add_occurrences",
            refuses=True,
        )

    async def count_schedules(self) -> Mapping[str, int]:
        rows = await self._api.fetch("count_schedules", {})
        counts = {row["name"]: row["count"] for row in rows}
        return {name: counts.get(name, 0) for name in (*ScheduleStatus, "broken")}

    async def prune_schedules(self, cutoff: datetime, limit: int) -> int:
        parameters = {"cutoff": cutoff, "limit": limit}
        (row,) = await self._api.fetch("prune_schedules", parameters)
        return int(row["deleted"])


def _create(  # noqa: PLR0917 - what one transaction writes
    connection: Connection,
    cipher: Cipher,
    schedule: Schedule,
    texts: str,
    keyed: Keyed | None,
    now: datetime,
) -> FirstAnswer | None:
    try:
        with connection.transaction():
            if keyed is not None:
                key, answer = keyed
                _take_key(connection, schedule.project, key, sealed_first(answer, cipher), now)
            if rows_of(connection, "create_schedule", parameters_of(schedule, cipher)):
                rows_of(connection, "new_occurrences", {"occurrences": texts, "now": now})
    except _KeyTakenError:
        key = keyed[0] if keyed else ""
        return opened_first(_first_answer(connection, schedule.project, key, now), cipher)
    except psycopg.errors.UniqueViolation as error:
        raise _name_taken(connection, schedule, error) from None
    return keyed[1] if keyed else None


def _take_key(
    connection: Connection, project: ProjectId, key: str, answer: FirstAnswer, now: datetime
) -> None:
    parameters = {
        "project": project,
        "key": key,
        "timer_ids": [*answer.timer_ids],
        "fingerprint": answer.fingerprint,
        "status": answer.status,
        "answer": answer.data,
        "expires_at": now + IDEMPOTENCY_PERIOD,
        "now": now,
    }
    if not rows_of(connection, "take_key", parameters):
        raise _KeyTakenError


def _first_answer(
    connection: Connection, project: ProjectId, key: str, now: datetime
) -> FirstAnswer:
    rows = rows_of(connection, "first_answers", asked_for([(project, key)], now))
    if not rows:
        raise ContentionError("the key has just expired")
    return answer_of(rows[0])


def _name_taken(
    connection: Connection, schedule: Schedule, error: psycopg.errors.UniqueViolation
) -> Exception:
    """Say what a name that is not free means, by who has it now."""
    if error.diag.constraint_name != "schedules_name":
        return error
    parameters = {"name": schedule.spec.name, "project": schedule.project}
    rows = rows_of(connection, "schedule_named", parameters)
    if not rows:
        return ContentionError("the name has just come free")
    return ScheduleNameTakenError(ScheduleId(rows[0]["id"]))


def _change(
    connection: Connection,
    cipher: Cipher,
    asked: Mapping[str, object],
    decide: Decide,
    now: datetime,
) -> Changed:
    change: ScheduleChange | None = None
    try:
        with connection.transaction():
            known = _only(rows_of(connection, "lock_schedule", asked), cipher)
            waiting = rows_of(connection, "lock_waiting", asked)
            (begun,) = rows_of(connection, "begun", {**asked, "now": now})
            change = decide(known, _standing(waiting, begun, now))
            removed = _settle_pending(connection, cipher, waiting, change, now)
            sealed = [sealed_occurrence(each, cipher) for each in change.occurrences]
            texts = array([text_of_occurrence(each) for each in sealed])
            rows_of(connection, "new_occurrences", {"occurrences": texts, "now": now})
            if change.schedule != known:
                rows_of(connection, "write_schedule", parameters_of(change.schedule, cipher))
    except psycopg.errors.UniqueViolation as error:
        if change is None:
            raise
        raise _name_taken(connection, change.schedule, error) from None
    return Changed(change, removed)


def _standing(waiting: Sequence[DictRow], begun: DictRow, now: datetime) -> Standing:
    pending = [row["occurs_at"] for row in waiting if _is_planned(row)]
    return Standing(
        last_begun=begun["last_begun"],
        first_overdue=min((each for each in pending if each <= now), default=None),
        pending=len(pending),
        canceled=frozenset(begun["canceled"]),
    )


def _settle_pending(
    connection: Connection,
    cipher: Cipher,
    waiting: Sequence[DictRow],
    change: ScheduleChange,
    now: datetime,
) -> int:
    """Do with what waits as a change says; answers how many it has deleted."""
    match change.pending:
        case PendingFate.KEPT:
            pass
        case PendingFate.REPLACED:
            stay = {each.timer.id for each in change.occurrences}
            gone = [row["id"] for row in waiting if _is_planned(row) and row["id"] not in stay]
            rows_of(connection, "delete_occurrences", {"ids": gone})
            return len(gone)
        case PendingFate.CHANGED:
            pending = [row["id"] for row in waiting if row["status"] == Status.PENDING]
            template = change_of(change.schedule.spec.template, cipher)
            parameters = {"ids": pending, "change": template, "now": now}
            rows_of(connection, "change_occurrences", parameters)
        case PendingFate.CANCELED:
            parameters = {"ids": [row["id"] for row in waiting], "now": now}
            rows_of(connection, "cancel_occurrences", parameters)
    return 0


def _is_planned(row: DictRow) -> bool:
    """Whether it has not begun, and is of the rule."""
    return bool(row["is_planned"]) and row["status"] == Status.PENDING


def _add(
    connection: Connection,
    asked: Mapping[str, object],
    texts: str,
    quota: Quota | None,
    now: datetime,
) -> Sequence[TimerId]:
    if quota is None:
        with connection.transaction():
            return _write_beside(connection, asked, "new_occurrences", texts, now)

    def write(own: Connection) -> Counted[Sequence[TimerId]]:
        new = _write_beside(own, asked, "new_occurrences_counted", texts, now)
        return Counted(new, len(new))

    return within_quota(connection, quota, now, write)


def _write_beside(
    connection: Connection, asked: Mapping[str, object], query: str, texts: str, now: datetime
) -> Sequence[TimerId]:
    rows = rows_of(connection, "share_schedule", asked)
    if not rows:
        raise ScheduleNotFoundError
    if rows[0]["status"] == ScheduleStatus.ENDED:
        raise ScheduleEndedError
    rows = rows_of(connection, query, {"occurrences": texts, "now": now})
    return [row["id"] for row in rows]


def _only(rows: Sequence[DictRow], cipher: Cipher) -> Schedule:
    if not rows:
        raise ScheduleNotFoundError
    try:
        return schedule_of(rows[0], cipher)
    except ValueError as error:
        words = f"the row of schedule {rows[0]['id']} makes no schedule: {error}"
        raise StorageError(words) from None


def _page_statement(query: ScheduleQuery) -> Composed:
    return SQL(
        "SELECT * FROM schedules WHERE {} ORDER BY created_at DESC, id DESC LIMIT {}"
    ).format(all_of([*_conditions(query)]), Literal(query.limit + 1))


def _conditions(query: ScheduleQuery) -> Iterable[Composed]:
    yield SQL("project = {}").format(Literal(query.project))
    if query.status is not None:
        yield SQL("status = {}").format(Literal(query.status.value))
    if query.name is not None:
        yield SQL("name = {}").format(Literal(query.name))
    if query.flow_key is not None:
        yield SQL("flow_key = {}").format(Literal(query.flow_key))
    if query.after is not None:
        yield SQL("(created_at, id) < ({}, {})").format(
            Literal(query.after.instant), Literal(query.after.id)
        )
    metadata = SQL("(template ->> 'metadata')::jsonb")
    for key, asked in query.metadata.items():
        yield has_one(metadata, key, asked)
