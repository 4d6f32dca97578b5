"""One claim asked of the database, until it is answered."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.domain.arming import PLAIN, Armed, Kind, kind_of
from timer_trio.domain.errors import ContentionError, RowRefusedError, RowsFailedError
from timer_trio.domain.flow import Terms
from timer_trio.domain.flows import Flows
from timer_trio.domain.timer import Claim, DueTimer, ReplicaId, shard_of
from timer_trio.storage import ClaimReply, OccurrenceClaimReply, OccurrenceStorage, WorkStorage
from timer_trio.storage.group_commit import repeat_until_answered
from timer_trio.storage.halving import by_halves
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.tracing import Tracing

FAILED_PAUSE: Final = timedelta(seconds=30)
"""Before a timer is claimed again that the database could not claim: somebody must mend its row."""
SENT_WITHIN_S: Final = 0.5
"""Left of the lease when a claim is asked for: ten times what its way to the last send takes."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The timers of one claim, and the right under which they are asked for."""

    replica: ReplicaId
    claim: Claim
    armed: Sequence[Armed]
    until: datetime
    terms: Terms | None
    """In which its timers are claimed, if they are in flows: all of them are, or none."""


class ClaimStorage(WorkStorage, OccurrenceStorage, Protocol):
    """What a claim asks of a storage."""


class ClaimAsker:
    """Asks for timers up to `reach_s` ahead, each time under a number of its own."""

    def __init__(
        self,
        *,
        storage: ClaimStorage,
        clock: Clock,
        heartbeat: Heartbeat,
        metrics: Metrics,
        flows: Flows,
        reach_s: float,
        tracing: Tracing | None = None,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._flows = flows
        self._reach = timedelta(seconds=reach_s)
        self._tracing = tracing
        self._random_bits = random_bits

    def batch(self, armed: Sequence[Armed]) -> Batch:
        """Return a claim of these timers that has not been asked for yet."""
        return Batch(
            replica=self._heartbeat.replica,
            claim=Claim(self._random_bits(63)),
            armed=armed,
            until=self._clock.now() + self._reach,
            terms=self._terms_of(armed),
        )

    async def ask(self, batch: Batch, waits: Callable[[], bool]) -> ClaimReply:
        """Claim until the database answers, whenever this replica may send.

        What alone cannot be claimed is due again later.

        `waits` says whether rows that somebody locks are waited for a moment; where that was in
        vain they are not.

        Raises:
            ReplicaGoneError: the replica's row is gone; it holds no claim.
        """
        return await repeat_until_answered(lambda: self._ask(batch, waits=waits()))

    async def _ask(self, batch: Batch, *, waits: bool) -> ClaimReply:
        # Without a lease all would be given back, and overtaken by what is claimed meanwhile.
        await self._heartbeat.wait_held(SENT_WITHIN_S)
        try:
            return await self._ask_apart(batch, skip_locked=not waits)
        except ContentionError:
            return await self._ask_apart(batch, skip_locked=True)

    async def _ask_apart(self, batch: Batch, *, skip_locked: bool) -> ClaimReply:
        """Claim without those for which alone a claim fails."""
        replies: list[ClaimReply] = []
        later: list[DueTimer] = []

        async def ask(armed: Sequence[Armed]) -> None:
            replies.append(await self._ask_once(batch, armed, skip_locked=skip_locked))

        def on_failed(armed: Armed, error: RowRefusedError | RowsFailedError) -> None:
            log.error("claim_failed", timer_id=str(armed.timer.id), reason=str(error))
            later.append(armed.timer._replace(due_at=self._clock.now() + FAILED_PAUSE))

        await by_halves(batch.armed, ask, on_failed)
        return _joined(*replies, ClaimReply(moved=later))

    async def _ask_once(
        self, batch: Batch, armed: Sequence[Armed], *, skip_locked: bool
    ) -> ClaimReply:
        began, began_at = trio.current_time(), self._clock.now()
        ids = [each.timer.id for each in armed]
        kind = kind_of(armed[0].timer) if armed else PLAIN
        reply = await self._verb_for(kind)(
            batch.replica,
            batch.claim,
            ids,
            batch.until,
            began_at,
            terms=batch.terms,
            skip_locked=skip_locked,
        )
        if isinstance(reply, OccurrenceClaimReply) and reply.skipped:
            self._metrics.skipped.inc(len(reply.skipped))
            log.info("occurrences_skipped", timer_ids=[*map(str, reply.skipped)])
        self._metrics.flushed("claim", len(ids), trio.current_time() - began)
        if self._tracing is not None:
            self._tracing.end_claim(batch.claim, len(ids), len(reply.claimed), began_at)
        return reply

    def _terms_of(self, armed: Sequence[Armed]) -> Terms | None:
        if not armed or armed[0].timer.flow_key is None:
            return None
        return self._flows.terms_of(shard_of(each.timer.id) for each in armed)

    def _verb_for(self, kind: Kind) -> Callable[..., Awaitable[ClaimReply]]:
        """Return what claims timers of this kind."""
        if not kind.is_occurrence:
            return self._storage.claim
        return (
            self._storage.claim_exclusive if kind.is_exclusive else self._storage.claim_occurrences
        )


def _joined(*replies: ClaimReply) -> ClaimReply:
    return ClaimReply(
        claimed=[timer for reply in replies for timer in reply.claimed],
        moved=[timer for reply in replies for timer in reply.moved],
        unreadable={key: words for reply in replies for key, words in reply.unreadable.items()},
        locked=[timer_id for reply in replies for timer_id in reply.locked],
        foreign=[timer_id for reply in replies for timer_id in reply.foreign],
    )
