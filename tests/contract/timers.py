"""Timers, replicas and claims to try a storage with."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Final, Unpack
from uuid import UUID

from timer_trio.callback_url import read_url
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.flow import FlowId
from timer_trio.domain.keys import FirstAnswer, KeyedCreate
from timer_trio.domain.rules import FlowRules
from timer_trio.domain.settlement import Completed, Failed, Release, Retry
from timer_trio.domain.timer import (
    ENDED,
    CallbackSpec,
    Claim,
    ClaimedTimer,
    Delivery,
    JsonText,
    Method,
    NewTimer,
    ReplicaId,
    SpecChange,
    Status,
    TimerId,
    TimerSpec,
    new_timer_id,
    shard_of,
)
from timer_trio.storage import ClaimReply, ShardCursor, Storage
from timer_trio.storage.columns import changed

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
SOON: Final = NOW + timedelta(seconds=1)
LATER: Final = NOW + timedelta(hours=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

ALICE: Final = ReplicaId(UUID(int=0xA11CE))
BOB: Final = ReplicaId(UUID(int=0xB0B))
FIRST: Final = Claim(2**62 + 1)
SECOND: Final = Claim(2**62 + 2)
ANSWER: Final = KeptAnswer(headers=(("Server", "x"),), body=b"sorry", is_truncated=False)

TRANSITIONS: Final[Mapping[Status, AbstractSet[Status]]] = {
    # pending again: an update; executing: a claim.
    Status.PENDING: {Status.PENDING, Status.EXECUTING, Status.CANCELED},
    # pending: given back unsent; executing again: re-claimed after its replica died.
    Status.EXECUTING: {
        Status.PENDING,
        Status.EXECUTING,
        Status.RETRYING,
        Status.COMPLETED,
        Status.FAILED,
    },
    Status.RETRYING: {Status.RETRYING, Status.EXECUTING, Status.CANCELED},
    # pending again: a redrive.
    **dict.fromkeys(ENDED, frozenset({Status.PENDING})),
}
"""The ways that a timer may go, whatever is asked of a storage."""

_random: Final = random.Random(7)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def spec(**changes: Unpack[SpecChange]) -> TimerSpec:
    usual = TimerSpec(
        execute_at=NOW,
        callback=CallbackSpec(
            url=read_url("https://example.com/hook"),
            method=Method.POST,
            headers={},
            payload=JsonText('{"n": 1}'),
            timeout_s=30.0,
            delivery=Delivery.AT_LEAST_ONCE,
        ),
        metadata=None,
        misfire_grace_s=300.0,
    )
    return changed(usual, changes)


def new_timer(
    *, shard: int = 0, created_at: datetime = NOW, **changes: Unpack[SpecChange]
) -> NewTimer:
    return NewTimer(
        id=new_timer_id(created_at, shard, _random.getrandbits),
        created_at=created_at,
        spec=spec(**changes),
    )


def keyed(
    key: str, *timers: NewTimer, fingerprint: bytes = b"\0same", data: str = '{"ü": 1}'
) -> KeyedCreate:
    new = timers or (new_timer(),)
    answer = FirstAnswer(
        fingerprint=fingerprint,
        timer_ids=tuple(timer.id for timer in new),
        status=201,
        data=JsonText(data),
    )
    return KeyedCreate(key=key, timers=new, answer=answer)


async def created(storage: Storage, **changes: Unpack[SpecChange]) -> TimerId:
    timer = new_timer(**changes)
    await storage.create([timer], NOW)
    return timer.id


async def took_name(
    storage: Storage, timer: NewTimer, before: TimerId | None, now: datetime
) -> bool:
    """Write a new timer under its name, which `before` is known to have had."""
    known = {} if before is None or timer.key is None else {timer.key: before}
    return await storage.create_named([timer], known, now)


async def claimed(
    storage: Storage, timer_id: TimerId, replica: ReplicaId = ALICE, claim: Claim = FIRST
) -> ClaimedTimer:
    """Claim one timer that is due."""
    await storage.join(replica, NOW)
    reply = await ask(storage, [timer_id], replica, claim)
    (timer,) = reply.claimed
    return timer


async def claimed_in_flow(
    storage: Storage, timer_id: TimerId, replica: ReplicaId = ALICE, claim: Claim = FIRST
) -> ClaimedTimer:
    """Claim one timer that is due and in a flow, by who has the term of its shard."""
    await storage.join(replica, NOW)
    terms = await storage.take_terms(replica, [shard_of(timer_id)])
    reply = await storage.claim(replica, claim, [timer_id], SOON, SOON, terms=terms)
    (timer,) = reply.claimed
    return timer


async def flow_rules(storage: Storage, flows: Collection[FlowId]) -> Mapping[FlowId, FlowRules]:
    """Read what holds these flows back, as replicas are told of changes."""
    known = (await storage.rules_since(1)).flows
    return {flow: known[flow] for flow in flows if flow in known}


async def ask(
    storage: Storage,
    timer_ids: Iterable[TimerId],
    replica: ReplicaId = ALICE,
    claim: Claim = FIRST,
    now: datetime = SOON,
) -> ClaimReply:
    """Claim what is due at `now`."""
    return await storage.claim(replica, claim, list(timer_ids), now, now)


def completed(timer_id: TimerId, claim: Claim = FIRST, sent_at: datetime = SOON) -> Completed:
    return Completed(
        timer_id=timer_id, claim=claim, executed_at=sent_at, http_status=200, duration_ms=1
    )


def retrying(timer_id: TimerId, claim: Claim = FIRST, due_at: datetime = SOON) -> Retry:
    return Retry(
        timer_id=timer_id,
        claim=claim,
        due_at=due_at,
        executed_at=NOW,
        last_error="HTTP 503",
        http_status=503,
        duration_ms=1,
        failures=1,
        first_due_at=None,
        attempts=(),
    )


def failed(timer_id: TimerId, claim: Claim = FIRST, *, is_begun: bool = True) -> Failed:
    return Failed(
        timer_id=timer_id,
        claim=claim,
        is_begun=is_begun,
        executed_at=SOON if is_begun else None,
        last_error="HTTP 503 from https://example.com",
    )


def retried(
    timer_id: TimerId,
    claim: Claim = FIRST,
    *,
    due_at: datetime = LATER,
    failures: int = 1,
    attempts: Sequence[AttemptRecord] = (),
) -> Retry:
    """What becomes of a timer whose attempt has failed, and which is tried again."""
    return Retry(
        timer_id=timer_id,
        claim=claim,
        due_at=due_at,
        executed_at=SOON,
        last_error="HTTP 503 from https://example.com",
        http_status=503,
        duration_ms=7,
        failures=failures,
        first_due_at=NOW,
        attempts=attempts,
    )


def record(attempt: int = 1, *, answer: KeptAnswer | None = None) -> AttemptRecord:
    """What is kept of an attempt that was answered with 503."""
    return AttemptRecord(
        attempt=attempt,
        started_at=NOW,
        ended_at=SOON,
        outcome="rejected",
        http_status=503,
        error="HTTP 503 from https://example.com",
        answer=answer,
    )


def given_back(timer_id: TimerId, claim: Claim = FIRST) -> Release:
    """What becomes of a timer that nothing was ever sent of."""
    return Release(timer_id=timer_id, claim=claim, status=Status.PENDING, due_at=NOW)


def given_back_unknown(timer_id: TimerId, claim: Claim, now: datetime) -> Release:
    """What becomes of a timer of which an earlier attempt may have been sent."""
    return Release(timer_id=timer_id, claim=claim, status=Status.EXECUTING, due_at=now)


def from_the_start(shard: int = 0) -> ShardCursor:
    return ShardCursor(shard, EPOCH, TimerId(UUID(int=0)))


async def due(storage: Storage, until: datetime = LATER, shard: int = 0) -> list[TimerId]:
    """Name what is due in a shard, in its order."""
    return [timer.id for timer in await storage.load([from_the_start(shard)], until, 1000, {})]
