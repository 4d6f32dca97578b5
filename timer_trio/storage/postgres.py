"""Storage in PostgreSQL: each verb is one statement of queries.sql, or a list's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NoReturn, Self

import psycopg
from psycopg.rows import DictRow, args_row

from timer_trio.domain.errors import (
    NotPendingError,
    ReplicaGoneError,
    RowRefusedError,
    StorageError,
    TimerNotFoundError,
)
from timer_trio.domain.membership import Identity, ReplicaRecord, Vitals
from timer_trio.domain.query import Position, TimerPage, TimerQuery
from timer_trio.domain.settlement import Settlement, stands
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    Destination,
    DueTimer,
    NewTimer,
    ReplicaId,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSummary,
)
from timer_trio.storage import (
    Beat,
    ClaimReply,
    Hint,
    Looked,
    Pruned,
    ShardCursor,
    Swept,
)
from timer_trio.storage.connections import Connection, Connections, bounded, rows_of
from timer_trio.storage.hints import payload_of
from timer_trio.storage.listener import Listener
from timer_trio.storage.listing import page_statement
from timer_trio.storage.locks import Locked, LockWatch
from timer_trio.storage.matching import page_of
from timer_trio.storage.prune import prune_page
from timer_trio.storage.queries import QUERIES
from timer_trio.storage.refusal import UNSTORABLE_TEXT
from timer_trio.storage.rows import (
    claimed_of,
    copy_line_of_new,
    json_of_change,
    json_of_new,
    json_of_settlements,
    record_of,
    summary_of,
    timer_of,
    written,
)
from timer_trio.storage.troubles import Troubles

STAGE_CONNECTIONS: Final = 10
"""Two each for create, load and claim, one each for settle, prune, hint and what is locked; few are
mostly open."""
BULK_CONNECTIONS: Final = 2
"""For batches and imports: what they take of the database's time, claims and creates wait for."""
UNREAD_S: Final = 2.0
"""An answer that a living replica has not read by then it will hardly read within the fence."""
# Each has one good plan, whatever the statistics say: by an index, in its order.
_STAGE_SESSION: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    # Our own statements hold a row for 20 ms at most. Who holds it for longer than this may do so
    # for hours, and meanwhile a claim or a settle has other rows to think of.
    "lock_timeout": "100ms",
}
_API_SESSION: Final[Mapping[str, str]] = {}
# After it the fence is down anyway.
_HEARTBEAT_SESSION: Final = {"statement_timeout": "3s"}


class PostgresStorage:
    """A Storage in one PostgreSQL database, which it reaches when it is first asked for something.

    The heartbeat, the stages and the API have connections of their own: none can starve another.
    `listen_url` leads to the same database for whoever listens, past a pooler that forgets him.

    Raises:
        ValueError: a URL is no connection string.
    """

    def __init__(self, database_url: str, *, pool_size: int, listen_url: str | None = None) -> None:
        self._session: DictRow = {}
        self._locks = LockWatch()
        self._troubles = Troubles()
        conninfo = bounded(database_url)
        self._heartbeat = self._connections(conninfo, 1, _HEARTBEAT_SESSION)
        self._stages = self._connections(conninfo, STAGE_CONNECTIONS, _STAGE_SESSION)
        self._api = self._connections(conninfo, pool_size, _API_SESSION)
        self._bulk = self._connections(conninfo, BULK_CONNECTIONS, _API_SESSION)
        self._listener = Listener(bounded(listen_url or database_url), self._say)

    def _connections(self, conninfo: str, size: int, settings: Mapping[str, str]) -> Connections:
        return Connections(
            conninfo,
            size=size,
            settings=settings,
            on_connect=self._remember,
            search_path=lambda: self._session.get("search_path"),
            locks=self._locks,
            troubles=self._troubles,
        )

    def _remember(self, session: DictRow) -> None:
        self._session = session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; waits for nothing."""
        for connections in (self._bulk, self._api, self._stages, self._heartbeat):
            connections.close()

    def durability_warnings(self) -> Sequence[str]:
        """Name the settings under which the database may forget what it has committed.

        Empty as long as there was no connection.
        """
        return [
            f"the database runs with {setting} = off: a crash of it can lose acknowledged timers"
            for setting in ("fsync", "synchronous_commit")
            if self._session.get(setting) == "off"
        ]

    def trouble(self) -> str | None:
        """Say what the database is there for and does not do now, as far as is known."""
        return self._troubles.reason

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        parameters = {"timers": await json_of_new(timers), "now": now}
        await self._stages.fetch("create", parameters, refuses=True)

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        lines = await _copy_lines(timers, now.isoformat())
        if timers:
            first = {"id": timers[0].id}
            await self._bulk.run(
                lambda connection: _copy(connection, lines, first),
                verb="create_many",
                refuses=True,
            )

    async def get(self, timer_id: TimerId) -> Timer:
        row = _only(await self._api.fetch("get", {"id": timer_id}), timer_id)
        try:
            return timer_of(row)
        except ValueError as error:
            raise StorageError(f"the row of timer {timer_id} makes no timer: {error}") from None

    async def list(self, query: TimerQuery) -> TimerPage:
        statement = page_statement(query)
        rows = await self._api.run(
            lambda connection: connection.execute(statement, prepare=False, binary=True).fetchall(),
            verb="list",
            refuses=True,
        )
        total = rows[0]["total"] if rows else None
        return page_of([summary_of(row) for row in rows if row["id"]], total, query)

    async def update(self, timer_id: TimerId, change: SpecChange, now: datetime) -> TimerSummary:
        parameters = {"id": timer_id, "change": json_of_change(change), "now": now}
        rows = await self._api.fetch("update", parameters, refuses=True)
        row = _only(rows, timer_id)
        if row["status_before"] != Status.PENDING:
            raise NotPendingError(Status(row["status_before"]))
        return summary_of(row)

    async def cancel(self, timer_id: TimerId, now: datetime) -> TimerSummary:
        row = _only(await self._api.fetch("cancel", {"id": timer_id, "now": now}), timer_id)
        if row["status_before"] not in {Status.PENDING, Status.CANCELED}:
            raise NotPendingError(Status(row["status_before"]))
        return summary_of(row)

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[Destination, datetime],
    ) -> Sequence[DueTimer]:
        parameters = {
            "shards": [cursor.shard for cursor in cursors],
            "instants": [cursor.due_at for cursor in cursors],
            "ids": [cursor.id for cursor in cursors],
            "until": until,
            "per_shard": per_shard,
            "destinations": [*cut_off],
            "cut_offs": [*cut_off.values()],
        }
        return await self._stages.run(lambda connection: _load(connection, parameters), verb="load")

    async def claim(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        skip_locked: bool = False,
    ) -> ClaimReply:
        ids = list(set(timer_ids))
        parameters = {
            "replica": replica,
            "claim": claim,
            "ids": ids,
            "until": until,
            "now": now,
        }
        try:
            return await self._claim(parameters, skip_locked=skip_locked)
        except RowRefusedError as refusal:
            if len(ids) == 1:
                return ClaimReply(unreadable={ids[0]: f"its row cannot be claimed: {refusal}"})
        middle = len(ids) // 2
        halves = [
            await self.claim(replica, claim, half, until, now, skip_locked=skip_locked)
            for half in (ids[:middle], ids[middle:])
        ]
        return _joined(*halves)

    async def _claim(self, parameters: Mapping[str, Any], *, skip_locked: bool) -> ClaimReply:
        locked: Collection[TimerId] = ()
        if skip_locked:
            rows, locked = await self._stages.run(
                lambda connection: _claim_unlocked(connection, parameters, self._locks),
                verb="claim",
                refuses=True,
            )
        else:
            rows = await self._stages.fetch("claim", parameters, tells=False, refuses=True)
        if not rows:
            raise ReplicaGoneError
        return _claim_reply([row for row in rows if row["id"]], parameters["claim"], locked)

    async def look_again(self, replica: ReplicaId, claims: Mapping[TimerId, Claim]) -> Looked:
        parameters = {"replica": replica, "ids": [*claims], "claims": [*claims.values()]}
        return await self._stages.run(
            lambda connection: _look_again(connection, parameters, self._locks), verb="look_again"
        )

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        parameters = {"settlements": await json_of_settlements(settlements), "now": now}
        if skip_locked:
            return await self._stages.run(
                lambda connection: _settle_unlocked(
                    connection, parameters, settlements, self._locks
                ),
                verb="settle",
                refuses=True,
            )
        rows = await self._stages.fetch("settle", parameters, tells=False, refuses=True)
        places = {row["place"] for row in rows}
        return [place in places for place in range(len(settlements))]

    async def prune(self, cutoff: datetime, after: Position | None, limit: int) -> Pruned:
        return await self._stages.run(
            lambda connection: prune_page(connection, cutoff, after, limit), verb="prune"
        )

    async def join(
        self,
        replica: ReplicaId,
        now: datetime,
        identity: Identity = Identity(),  # noqa: B008 - frozen
    ) -> None:
        facts = {"host": identity.host, "pid": identity.pid, "version": identity.version}
        await self._heartbeat.fetch("join", {"replica": replica, "now": now, **facts})

    async def beat(
        self,
        replica: ReplicaId,
        vitals: Vitals = Vitals(),  # noqa: B008 - frozen
    ) -> Beat:
        parameters = {
            "replica": replica,
            "in_flight": vitals.in_flight,
            "cached": vitals.cached,
            "clock_offset_s": vitals.clock_offset_s,
        }
        (row,) = await self._heartbeat.fetch("beat", parameters)
        return Beat(
            now=row["now"],
            counters=dict(zip(row["replicas"], row["counters"], strict=True)),
            leaving=frozenset(row["leaving"]),
        )

    async def leave(self, replica: ReplicaId) -> None:
        await self._heartbeat.fetch("leave", {"replica": replica})

    async def sweep(
        self, replica: ReplicaId | None, counter: int | None, now: datetime
    ) -> Swept | None:
        parameters = {"replica": replica, "counter": counter, "now": now}
        return await self._heartbeat.run(
            lambda connection: _sweep(connection, parameters, self._locks), verb="sweep"
        )

    async def replicas(self) -> Sequence[ReplicaRecord]:
        return [record_of(row) for row in await self._api.fetch("replicas", {})]

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        await self._say(payload_of(timers, shards))

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        await self._listener.run(on_listening, on_hint)

    async def _say(self, payload: str) -> None:
        await self._stages.fetch("hint", {"hint": payload})


async def _copy_lines(timers: Sequence[NewTimer], now: str) -> bytes:
    lines = await written(timers, lambda timer: copy_line_of_new(timer, now))
    try:
        return "".join(lines).encode()
    except UnicodeEncodeError:
        raise RowRefusedError(UNSTORABLE_TEXT) from None


def _copy(connection: Connection, lines: bytes, first: Mapping[str, object]) -> None:
    try:
        with connection.cursor() as cursor, cursor.copy(QUERIES["create_many"]) as copy:
            copy.write(lines)
    except psycopg.errors.UniqueViolation:
        # Ours, from an earlier call whose reply was lost: they came in one transaction.
        if not connection.execute(QUERIES["is_there"], first).fetchone():
            raise


def _load(connection: Connection, parameters: Mapping[str, object]) -> Sequence[DueTimer]:
    # There may be a hundred thousand: they are made in the thread, and without a dict for each.
    with connection.cursor(row_factory=args_row(DueTimer), binary=True) as cursor:
        return cursor.execute(QUERIES["load"], parameters).fetchall()


def _claim_unlocked(
    connection: Connection, parameters: Mapping[str, Any], locks: LockWatch
) -> tuple[list[DictRow], list[TimerId]]:
    rows = rows_of(connection, "claim_unlocked", parameters)
    unanswered = set(parameters["ids"]) - {row["id"] for row in rows}
    if not rows or not unanswered:
        return rows, []
    still_due = rows_of(connection, "still_due", {**parameters, "ids": [*unanswered]})
    locked = [row["id"] for row in still_due]
    _notice(connection, locks, "claim", locked)
    return rows, locked


def _look_again(
    connection: Connection, parameters: Mapping[str, object], locks: LockWatch
) -> Looked:
    rows = rows_of(connection, "look_again", parameters)
    locked = [row["id"] for row in rows if row["is_locked"]]
    _notice(connection, locks, "claim", locked)
    return Looked(
        free=[
            DueTimer(row["due_at"], row["id"], row["destination"]) for row in rows if row["due_at"]
        ],
        held=[row["id"] for row in rows if row["is_held"]],
        locked=locked,
    )


def _settle_unlocked(
    connection: Connection,
    parameters: Mapping[str, object],
    settlements: Sequence[Settlement],
    locks: LockWatch,
) -> Sequence[bool | None]:
    rows = rows_of(connection, "settle_unlocked", parameters)
    places = {row["place"] for row in rows}
    unanswered = [one.timer_id for place, one in enumerate(settlements) if place not in places]
    if not unanswered:
        return [True] * len(settlements)
    rows = rows_of(connection, "still_claimed", {"ids": unanswered})
    claims = {row["id"]: row["claim"] for row in rows}
    answers = [
        place in places or (None if stands(one, claims.get(one.timer_id)) else False)
        for place, one in enumerate(settlements)
    ]
    locked = [
        one.timer_id for one, answer in zip(settlements, answers, strict=True) if answer is None
    ]
    _notice(connection, locks, "settle", locked)
    return answers


def _notice(
    connection: Connection, locks: LockWatch, verb: str, timer_ids: Sequence[TimerId]
) -> None:
    if timer_ids:
        locks.notice(connection, Locked(verb, len(timer_ids), str(timer_ids[0])))


def _sweep(
    connection: Connection, parameters: Mapping[str, object], locks: LockWatch
) -> Swept | None:
    with suppress(psycopg.errors.InsufficientPrivilege):  # else the locks are waited for
        connection.execute(QUERIES["end_unread"], {"unread_s": UNREAD_S})
    # Many statements go in one message only if their values stand in them.
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(QUERIES["sweep"], parameters)
        cursor.nextset()
        freed = cursor.rowcount
        cursor.nextset()
        was_there = cursor.rowcount > 0
        cursor.nextset()
        (left,) = cursor.fetchall()
    if not was_there and parameters["counter"] is not None:
        return None
    if left["count"]:
        locks.notice(connection, Locked("sweep", left["count"]))
    # A replica that ends is freed even of claims that outlived its row.
    return Swept(freed=freed, left=left["count"])


def _only(rows: Sequence[DictRow], timer_id: TimerId) -> DictRow:
    if not rows:
        raise TimerNotFoundError(timer_id)
    return rows[0]


def _claim_reply(rows: Sequence[DictRow], claim: Claim, locked: Collection[TimerId]) -> ClaimReply:
    claimed: list[ClaimedTimer] = []
    moved: list[DueTimer] = []
    unreadable: dict[TimerId, str] = {}
    for row in rows:
        if row["due_at"]:
            moved.append(DueTimer(row["due_at"], row["id"], row["destination"]))
            continue
        try:
            claimed.append(claimed_of(row, claim))
        except ValueError as error:
            unreadable[row["id"]] = f"its row makes no timer: {error}"
    return ClaimReply(claimed=claimed, moved=moved, unreadable=unreadable, locked=locked)


def _joined(one: ClaimReply, other: ClaimReply) -> ClaimReply:
    return ClaimReply(
        claimed=[*one.claimed, *other.claimed],
        moved=[*one.moved, *other.moved],
        unreadable={**one.unreadable, **other.unreadable},
        locked=[*one.locked, *other.locked],
    )
