"""Claims: due timers are asked for, and what the answer says of each is done."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.launcher import Launcher
from timer_trio.delivery.locked import LockedTimer, LockedTimers
from timer_trio.domain.arming import Armed
from timer_trio.domain.errors import (
    ContentionError,
    ReplicaGoneError,
    RowRefusedError,
    RowsFailedError,
)
from timer_trio.domain.settlement import judge, unreadable
from timer_trio.domain.timer import Claim, ClaimedTimer, Destination, DueTimer, ReplicaId, TimerId
from timer_trio.lifecycle import Lifecycle, ended_by
from timer_trio.storage import ClaimReply, WorkStorage
from timer_trio.storage.group_commit import repeat_until_answered
from timer_trio.storage.halving import by_halves
from timer_trio.telemetry.metrics import Metrics

CLAIMS_AT_ONCE: Final = 2
"""While one is on its way the database works on the other; more would only wait there."""
TAKE_SLICE: Final = 50
"""Claimed timers whose requests are made in one go: some milliseconds, then others have a turn."""
FAILED_PAUSE: Final = timedelta(seconds=30)
"""Before a timer is claimed again that the database could not claim: somebody must mend its row."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The timers of one claim, and the right under which they are asked for."""

    replica: ReplicaId
    claim: Claim
    armed: Sequence[Armed]
    until: datetime


class Claims:
    """Asks for timers that hold a slot, and hands those that it gets to the launcher.

    The others give their slots back: what has moved goes on the agenda anew, and what somebody
    locks is looked at again until it can be told.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        storage: WorkStorage,
        clock: Clock,
        agenda: Agenda,
        heartbeat: Heartbeat,
        launcher: Launcher,
        firer: Firer,
        metrics: Metrics,
        reach_s: float,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._lifecycle = lifecycle
        self._storage = storage
        self._clock = clock
        self._agenda = agenda
        self._heartbeat = heartbeat
        self._launcher = launcher
        self._firer = firer
        self._metrics = metrics
        self._reach = timedelta(seconds=reach_s)
        self._random_bits = random_bits
        self._at_once = trio.CapacityLimiter(CLAIMS_AT_ONCE)
        self._locked = LockedTimers(
            storage=storage,
            replica=lambda: heartbeat.replica,
            on_free=self._put_back,
            on_held=self._claim_again,
        )

    async def watch_locked(self) -> None:
        """Look again at what is locked, until `draining`: what waits then is not claimed."""
        async with ended_by(self._lifecycle.draining):
            await self._locked.run()

    async def claim(self, armed: Sequence[Armed]) -> None:
        """Claim timers, each of which holds a slot; from `draining` on, just free the slots."""
        await self._claim(self._batch(armed))

    def _batch(self, armed: Sequence[Armed]) -> _Batch:
        return _Batch(
            replica=self._heartbeat.replica,
            claim=Claim(self._random_bits(63)),
            armed=armed,
            until=self._clock.now() + self._reach,
        )

    async def _claim(self, batch: _Batch) -> None:
        # Nothing is known of what was not asked for: it is due as it was.
        reply = ClaimReply(moved=[armed.timer for armed in batch.armed])
        try:
            async with self._at_once:
                if not self._lifecycle.draining.is_set():
                    reply = await repeat_until_answered(lambda: self._ask(batch))
        except ReplicaGoneError:
            self._heartbeat.lose(batch.replica)
        await self._take_reply(batch, reply)

    async def _ask(self, batch: _Batch) -> ClaimReply:
        try:
            # As long as some rows are known to be locked, none is waited for.
            return await self._ask_apart(batch, skip_locked=len(self._locked) > 0)
        except ContentionError:
            return await self._ask_apart(batch, skip_locked=True)

    async def _ask_apart(self, batch: _Batch, *, skip_locked: bool) -> ClaimReply:
        """Claim without those for which alone a claim fails: they are due again later."""
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
        self, batch: _Batch, armed: Sequence[Armed], *, skip_locked: bool
    ) -> ClaimReply:
        began = trio.current_time()
        ids = [each.timer.id for each in armed]
        reply = await self._storage.claim(
            batch.replica,
            batch.claim,
            ids,
            batch.until,
            self._clock.now(),
            skip_locked=skip_locked,
        )
        self._metrics.flushed("claim", len(ids), trio.current_time() - began)
        return reply

    async def _claim_again(self, held: Sequence[LockedTimer]) -> None:
        """Fetch what a claim took whose answer was lost."""
        for claim in {locked.claim for locked in held}:
            armed = [locked.armed for locked in held if locked.claim == claim]
            for each in armed:
                self._agenda.slots.hold(each.timer.destination)
            await self._claim(replace(self._batch(armed), claim=claim))

    async def _take_reply(self, batch: _Batch, reply: ClaimReply) -> None:
        waiting = {armed.timer.id: armed for armed in batch.armed}
        now = self._clock.now()
        for taken, timer in enumerate(reply.claimed, start=1):
            self._take(timer, waiting.pop(timer.id), batch.replica, now)
            if taken % TAKE_SLICE == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()
                now = self._clock.now()
        for timer_id, reason in reply.unreadable.items():
            refused = unreadable(timer_id, batch.claim, reason)
            self._firer.refuse(refused, waiting.pop(timer_id).timer)
        for armed in waiting.values():
            self._release(armed.timer.destination)
        for timer_id in reply.locked:
            if self._locked.add_nowait(LockedTimer(waiting[timer_id], batch.claim)):
                del waiting[timer_id]
        self._put_back(waiting, reply.moved)

    def _take(self, timer: ClaimedTimer, armed: Armed, replica: ReplicaId, now: datetime) -> None:
        missed = judge(timer, now, waited_for_slot=armed.waited)
        if missed is None:
            self._agenda.cache.done(timer.id)
            self._launcher.add(timer, armed.timer, replica)
        else:
            self._firer.refuse(missed, armed.timer)

    def _put_back(self, timer_ids: Iterable[TimerId], moved: Iterable[DueTimer]) -> None:
        """Put what was heard of timers that were not claimed on the agenda."""
        heard = [self._agenda.cache.done(timer_id) for timer_id in timer_ids]
        self._agenda.add(timer for timer in heard if timer is not None)
        self._agenda.add_readings(moved)

    def _release(self, destination: Destination) -> None:
        self._agenda.slots.release(destination, self._clock.now().timestamp())
        self._agenda.note_slot_freed(destination)


def _joined(*replies: ClaimReply) -> ClaimReply:
    return ClaimReply(
        claimed=[timer for reply in replies for timer in reply.claimed],
        moved=[timer for reply in replies for timer in reply.moved],
        unreadable={key: words for reply in replies for key, words in reply.unreadable.items()},
        locked=[timer_id for reply in replies for timer_id in reply.locked],
    )
