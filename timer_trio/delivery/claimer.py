"""The stages between cache and fire: arm and claim."""

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
from timer_trio.delivery.launcher import Launcher
from timer_trio.delivery.locked import LockedTimer, LockedTimers
from timer_trio.delivery.settler import Settler
from timer_trio.domain.arm import Armed, Plan, arm
from timer_trio.domain.cache import Cache
from timer_trio.domain.errors import ContentionError, ReplicaGoneError
from timer_trio.domain.outcome import Settlement, judge, unreadable
from timer_trio.domain.shards import Shards
from timer_trio.domain.slots import TOP_UP_PAUSE_S, Slots
from timer_trio.domain.timer import Claim, ClaimedTimer, Destination, DueTimer, ReplicaId, TimerId
from timer_trio.storage import ClaimReply, Storage
from timer_trio.storage.group_commit import repeat_until_answered
from timer_trio.telemetry.metrics import Metrics

MAX_OPEN: Final = 10_000
"""Timers in flight and unsettled: what an outage may leave unwritten, and memory must hold."""
MAX_CLAIMS: Final = 500
"""Timers in one claim: 14-20 ms, after which the first of many can be sent."""
CLAIMS_AT_ONCE: Final = 2
"""While one is on its way the database works on the other; more would only wait there."""
TAKE_SLICE: Final = 50
"""Claimed timers whose requests are made in one go: some milliseconds, then others have a turn."""
LAST_CLAIMS_S: Final = 3.0
"""How long a stop waits for claims to be answered: after it nothing of them might be sent."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The timers of one claim, and the right under which they were asked for."""

    replica: ReplicaId
    claim: Claim
    armed: Sequence[Armed]
    until: datetime


class Claimer:
    """Claims what the cache says is due, and starts a task for each timer to be fired."""

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        cache: Cache,
        slots: Slots,
        heartbeat: Heartbeat,
        settler: Settler,
        launcher: Launcher,
        metrics: Metrics,
        shards: Shards,
        ahead_s: float,
        reach_s: float,
        on_hungry: Callable[[], None],
        is_in_hand: Callable[[TimerId], bool],
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._cache = cache
        self._slots = slots
        self._heartbeat = heartbeat
        self._settler = settler
        self._launcher = launcher
        self._metrics = metrics
        self._shards = shards
        self._ahead_s = ahead_s
        self._reach_s = reach_s
        self._on_hungry = on_hungry
        self._is_in_hand = is_in_hand
        self._random_bits = random_bits
        self._changed = trio.Event()
        self._claiming = trio.CapacityLimiter(CLAIMS_AT_ONCE)
        self._locked = LockedTimers(
            storage=storage,
            replica=lambda: heartbeat.replica,
            on_free=self._hear,
            on_held=self._claim_again,
        )
        self._starved = False
        self._stopping = False
        self._callbacks = trio.CancelScope()
        self._sleep = trio.CancelScope()
        metrics.in_flight.set_function(lambda: slots.in_use)
        metrics.cached.set_function(lambda: len(cache))
        metrics.oldest_overdue_s.set_function(self._oldest_overdue_s)

    def offer(self, timers: Iterable[DueTimer]) -> None:
        """Put timers into the cache, and look at once whether one of them comes first now."""
        self._note(timers, self._cache.put)

    def offer_readings(self, timers: Iterable[DueTimer]) -> None:
        """Offer what a statement has read: offers made since it was sent may be newer.

        What is in other replicas' shards is left to them. What this one still has in hand, a sweep
        has freed: its outcome is about to come, and to be written if nobody claims it meanwhile.
        """
        own = (timer for timer in timers if self._shards.owns(timer.id))
        wanted = (timer for timer in own if not self._is_in_hand(timer.id))
        self._note(wanted, self._cache.put_reading)

    def wake(self) -> None:
        """Look again at what is to be claimed."""
        self._changed.set()

    def slot_freed(self, destination: Destination) -> None:
        """Hear that a callback has ended: somebody may have waited for its slot."""
        if self._starved or destination in self._slots.waiting:
            self.wake()
        elif self._slots.unproven_wait:
            # One look serves all the slots that come free until then.
            top_up_s = trio.current_time() + TOP_UP_PAUSE_S
            if top_up_s < self._sleep.deadline:  # noqa: PLR1730 - setting it costs, to the same too
                self._sleep.deadline = top_up_s

    def stop(self) -> None:
        """Claim nothing more, and give back what has been claimed and not sent."""
        self._stopping = True
        self.wake()

    def interrupt(self) -> None:
        """Wait no longer for answers."""
        self._callbacks.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fire timers until `stop`; returns when the last callback has ended."""
        with self._callbacks:
            async with trio.open_nursery() as callbacks:
                callbacks.start_soon(self._launcher.run, callbacks)
                async with trio.open_nursery() as claims:
                    claims.start_soon(self._locked.run)
                    task_status.started()
                    await self._arm(claims)
                    self._locked.stop()
                    claims.cancel_scope.deadline = trio.current_time() + LAST_CLAIMS_S
                self._launcher.stop()

    async def _arm(self, claims: trio.Nursery) -> None:
        while not self._stopping:
            self._changed = trio.Event()
            plan = self._plan()
            for start in range(0, len(plan.armed), MAX_CLAIMS):
                batch = self._batch(plan.armed[start : start + MAX_CLAIMS])
                claims.start_soon(self._claim, batch)
            if self._cache.is_hungry:
                self._on_hungry()
            await self._wait(plan)

    def _plan(self) -> Plan:
        if not self._heartbeat.is_held:
            return Plan(armed=(), wake_at=None, starved=False)
        return arm(
            self._cache,
            self._slots,
            self._clock.now(),
            budget=MAX_OPEN - self._slots.in_use - len(self._settler),
            ahead_s=self._ahead_s,
            reach_s=self._reach_s,
        )

    async def _wait(self, plan: Plan) -> None:
        self._starved = plan.starved
        with trio.CancelScope() as self._sleep:
            if plan.wake_at is not None:
                wait_s = (plan.wake_at - self._clock.now()).total_seconds()
                self._sleep.deadline = trio.current_time() + max(0.0, wait_s)
            await self._changed.wait()
        if plan.starved:
            # Slots come free one by one: one claim serves those of the next few milliseconds.
            await trio.sleep(TOP_UP_PAUSE_S)

    def _batch(self, armed: Sequence[Armed]) -> _Batch:
        return _Batch(
            replica=self._heartbeat.replica,
            claim=Claim(self._random_bits(63)),
            armed=armed,
            until=self._clock.now() + timedelta(seconds=self._reach_s),
        )

    async def _claim(self, batch: _Batch) -> None:
        reply = ClaimReply(moved=[armed.timer for armed in batch.armed])
        try:
            async with self._claiming:
                if not self._stopping:
                    reply = await repeat_until_answered(lambda: self._ask(batch))
        except ReplicaGoneError:
            self._heartbeat.distrust(batch.replica)
        await self._take_reply(batch, reply)

    async def _ask(self, batch: _Batch) -> ClaimReply:
        try:
            # As long as some rows are known to be locked, none is waited for.
            return await self._ask_once(batch, skip_locked=len(self._locked) > 0)
        except ContentionError:
            return await self._ask_once(batch, skip_locked=True)

    async def _ask_once(self, batch: _Batch, *, skip_locked: bool) -> ClaimReply:
        began = trio.current_time()
        ids = [armed.timer.id for armed in batch.armed]
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
                self._slots.hold(each.timer.destination)
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
            self._refuse(unreadable(timer_id, batch.claim, reason), waiting.pop(timer_id))
        for armed in waiting.values():
            self._release(armed.timer.destination)
        for timer_id in reply.locked:
            if self._locked.add_nowait(LockedTimer(waiting[timer_id], batch.claim)):
                del waiting[timer_id]
        self._hear(waiting, reply.moved)

    def _take(self, timer: ClaimedTimer, armed: Armed, replica: ReplicaId, now: datetime) -> None:
        self._cache.done(timer.id)
        missed = judge(timer, now, waited_for_slot=armed.waited)
        if missed is None:
            self._launcher.add(timer, armed.timer, replica)
        else:
            self._refuse(missed, armed)

    def _hear(self, timer_ids: Iterable[TimerId], moved: Iterable[DueTimer]) -> None:
        """Take note of what became of timers that were not claimed."""
        heard = [self._cache.done(timer_id) for timer_id in timer_ids]
        self.offer(timer for timer in heard if timer is not None)
        self.offer_readings(moved)

    def _note(self, timers: Iterable[DueTimer], put: Callable[[DueTimer], None]) -> None:
        before = self._cache.peek()
        for timer in timers:
            put(timer)
        if self._cache.peek() != before:
            self.wake()

    def _release(self, destination: Destination) -> None:
        self._slots.release(destination, self._clock.now().timestamp())
        self.slot_freed(destination)

    def _refuse(self, settlement: Settlement, armed: Armed) -> None:
        """End a claimed timer that must not or cannot be fired."""
        self._cache.done(armed.timer.id)
        self._release(armed.timer.destination)
        log.warning(
            "not_fired",
            timer_id=str(settlement.timer_id),
            destination=armed.timer.destination,
            reason=settlement.last_error,
        )
        self._metrics.fired.labels("not_fired").inc()
        destination = armed.timer.destination
        self._settler.settle_nowait(settlement, lambda: self.slot_freed(destination))

    def _oldest_overdue_s(self) -> float:
        first_s = self._cache.first_due_s
        return 0.0 if first_s is None else max(0.0, self._clock.now().timestamp() - first_s)
