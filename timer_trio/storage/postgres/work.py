"""What the stages ask for, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import trio
from psycopg.rows import TupleRow, args_row

from timer_trio.domain.errors import ReplicaGoneError, SealedError
from timer_trio.domain.flow import FlowId, Terms
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.sealed import is_sealed
from timer_trio.domain.settlement import Settlement, stands
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    DueTimer,
    ReplicaId,
    Status,
    TimerId,
)
from timer_trio.storage.postgres.connections import Connection, rows_of, tuples_of
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.locks import Locked, LockWatch
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.rows import (
    SEALED_CHARACTERS,
    SLICE_CHARACTERS,
    claimed_of,
    due_of,
    json_of_attempts,
    json_of_results,
    json_of_settlements,
)
from timer_trio.storage.protocols import ClaimReply, HeldClaim, Looked, ShardCursor
from timer_trio.storage.sealing import open_spec

Ask = Callable[[Connection, str, Mapping[str, Any]], list[TupleRow]]
"""How a query is run, and its rows are read."""


class PostgresWork(Database):
    """WorkStorage in PostgreSQL."""

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[BacklogKey, datetime],
    ) -> Sequence[DueTimer]:
        parameters = {
            "shards": [cursor.shard for cursor in cursors],
            "instants": [cursor.due_at for cursor in cursors],
            "ids": [cursor.id for cursor in cursors],
            "until": until,
            "per_shard": per_shard,
            "backlogs": [_named(key) for key in cut_off],
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
        terms: Terms | None = None,
        skip_locked: bool = False,
    ) -> ClaimReply:
        parameters = claim_parameters(replica, claim, timer_ids, until, now)
        rows, locked = await self._claim("claim", parameters, terms=terms, skip_locked=skip_locked)
        return await self._opened(claim_reply(rows, claim, locked))

    async def _opened(self, reply: ClaimReply) -> ClaimReply:
        """Return a reply with its timers as they were asked for; what no key opens is unreadable.

        Cancellation: not before all are opened, since they are claimed.
        """
        if not any(is_sealed(timer.spec) for timer in reply.claimed):
            return reply
        claimed: list[ClaimedTimer] = []
        unreadable = {**reply.unreadable}
        size = 0
        for timer in reply.claimed:
            try:
                claimed.append(replace(timer, spec=open_spec(timer.spec, self._cipher)))
            except SealedError as error:
                unreadable[timer.id] = str(error)
            size += len(timer.spec.callback.payload or "") + SEALED_CHARACTERS
            if size >= SLICE_CHARACTERS:
                size = 0
                await trio.lowlevel.cancel_shielded_checkpoint()
        return replace(reply, claimed=claimed, unreadable=unreadable)

    async def _claim(
        self,
        query: str,
        parameters: Mapping[str, Any],
        *,
        terms: Terms | None,
        skip_locked: bool,
        ask: Ask = tuples_of,
    ) -> tuple[list[TupleRow], Collection[TimerId]]:
        """Run one of the claims; answers what it says of timers, and which of them are locked."""
        if terms is not None:
            query = f"{query}_in_flows"
            parameters = {**parameters, "shards": [*terms], "terms": [*terms.values()]}
        locked: Collection[TimerId] = ()
        if skip_locked:
            rows, locked = await self._stages.run(
                lambda connection: _claim_unlocked(
                    connection, f"{query}_unlocked", parameters, self._locks, ask
                ),
                verb="claim",
                refuses=True,
            )
        else:
            rows = await self._stages.run(
                lambda connection: ask(connection, query, parameters),
                verb="claim",
                tells=False,
                refuses=True,
            )
        if not rows:
            raise ReplicaGoneError
        return [row for row in rows if row[0]], locked

    async def look_again(self, replica: ReplicaId, claims: Mapping[TimerId, Claim]) -> Looked:
        parameters = {"replica": replica, "ids": [*claims], "claims": [*claims.values()]}
        return await self._stages.run(
            lambda connection: _look_again(connection, parameters, self._locks), verb="look_again"
        )

    async def held_claims(
        self, replica: ReplicaId, behind: TimerId | None, limit: int
    ) -> Sequence[HeldClaim]:
        parameters = {"replica": replica, "behind": behind, "limit": limit}
        rows = await self._stages.run(
            lambda connection: tuples_of(connection, "held_claims", parameters), verb="held_claims"
        )
        return [HeldClaim(*row) for row in rows]

    async def free(
        self, replica: ReplicaId, held: Collection[HeldClaim], now: datetime
    ) -> Sequence[DueTimer]:
        parameters = {
            "replica": replica,
            "ids": [one.timer_id for one in held],
            "claims": [one.claim for one in held],
            "now": now,
        }
        rows = await self._stages.run(
            lambda connection: tuples_of(connection, "free", parameters), verb="free"
        )
        return [due_of(*row) for row in rows]

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        parameters = {"settlements": await json_of_settlements(settlements), "now": now}
        query = "settle"
        if not all(map(_is_plain, settlements)):
            query = "settle_whole"
            parameters["attempts"] = await json_of_attempts(settlements, self._cipher)
            parameters["results"] = await json_of_results(settlements, self._cipher)
        if skip_locked:
            return await self._stages.run(
                lambda connection: _settle_unlocked(
                    connection, f"{query}_unlocked", parameters, settlements, self._locks
                ),
                verb="settle",
                refuses=True,
            )
        rows = await self._stages.run(
            lambda connection: rows_of(connection, query, parameters),
            verb="settle",
            tells=False,
            refuses=True,
        )
        places = {row["place"] for row in rows}
        return [place in places for place in range(len(settlements))]


def _is_plain(settlement: Settlement) -> bool:
    """Whether it writes what the row of any timer has, and nothing beside it."""
    return (
        settlement.failures is None
        and settlement.status is not Status.RETRYING
        and not settlement.attempts
        and settlement.result is None
    )


def _load(connection: Connection, parameters: Mapping[str, object]) -> Sequence[DueTimer]:
    # There may be a hundred thousand: they are made in the thread, and without a dict for each.
    with connection.cursor(row_factory=args_row(due_of), binary=True) as cursor:
        return cursor.execute(QUERIES["load"], parameters).fetchall()


def _named(key: BacklogKey) -> str:
    """Name a backlog as the statement does."""
    if isinstance(key, FlowId):
        return f"{key.project} flow {key.key}"
    is_plain = key.project == DEFAULT_PROJECT
    return key.destination if is_plain else f"{key.project} {key.destination}"


def claim_parameters(
    replica: ReplicaId,
    claim: Claim,
    timer_ids: Collection[TimerId],
    until: datetime,
    now: datetime,
) -> dict[str, object]:
    return {
        "replica": replica,
        "claim": claim,
        "ids": list(set(timer_ids)),
        "until": until,
        "now": now,
    }


def _claim_unlocked(
    connection: Connection,
    query: str,
    parameters: Mapping[str, Any],
    locks: LockWatch,
    ask: Ask,
) -> tuple[list[TupleRow], list[TimerId]]:
    rows = ask(connection, query, parameters)
    unanswered = set(parameters["ids"]) - {row[0] for row in rows}
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
            due_of(row["due_at"], row["id"], row["destination"], row["project"], row["flow_key"])
            for row in rows
            if row["due_at"]
        ],
        held=[row["id"] for row in rows if row["is_held"]],
        locked=locked,
    )


def _settle_unlocked(
    connection: Connection,
    query: str,
    parameters: Mapping[str, object],
    settlements: Sequence[Settlement],
    locks: LockWatch,
) -> Sequence[bool | None]:
    rows = rows_of(connection, query, parameters)
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


def claim_reply(rows: Sequence[TupleRow], claim: Claim, locked: Collection[TimerId]) -> ClaimReply:
    claimed: list[ClaimedTimer] = []
    moved: list[DueTimer] = []
    unreadable: dict[TimerId, str] = {}
    foreign: list[TimerId] = []
    for row in rows:
        timer_id, due_at, destination, project, flow_key, is_foreign = row[:6]
        if due_at:
            moved.append(due_of(due_at, timer_id, destination, project, flow_key))
            if is_foreign:
                foreign.append(timer_id)
            continue
        try:
            claimed.append(claimed_of(row, claim))
        except ValueError as error:
            unreadable[timer_id] = f"its row makes no timer: {error}"
    return ClaimReply(
        claimed=claimed, moved=moved, unreadable=unreadable, locked=locked, foreign=foreign
    )
