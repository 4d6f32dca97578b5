"""Claims: what the answer to each says of its timers is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Final, NamedTuple

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.claim_asker import Batch, ClaimAsker
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.launcher import Launcher
from timer_trio.delivery.locked import LockedTimer, LockedTimers
from timer_trio.delivery.signing import SigningKeys
from timer_trio.domain.arming import Armed
from timer_trio.domain.errors import ReplicaGoneError
from timer_trio.domain.flow import FlowId
from timer_trio.domain.lately import Lately
from timer_trio.domain.masking import USUAL, Sensitive
from timer_trio.domain.project import ProjectId
from timer_trio.domain.settlement import judge, unreadable
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    DueTimer,
    ReplicaId,
    TimerId,
    held_until,
    shard_of,
)
from timer_trio.lifecycle import Lifecycle, ended_by
from timer_trio.storage import ClaimReply, WorkStorage

CLAIMS_AT_ONCE: Final = 2
"""While one is on its way the database works on the other; more would only wait there."""
LEND_AFTER_S: Final = 0.25
"""A claim takes 20 ms: which is not answered by then waits for a cell that is away."""
TAKE_SLICE: Final = 50
"""Claimed timers whose requests are made in one go: some milliseconds, then others have a turn."""

log = structlog.get_logger()


class Taken(NamedTuple):
    """A timer that was claimed, what was asked for, and by whom."""

    timer: ClaimedTimer
    armed: Armed
    replica: ReplicaId


class Claims:
    """Asks for timers that hold a slot, and hands those that it gets to the launcher.

    The others give their slots back: what has moved goes on the agenda anew, and what somebody
    locks is looked at again until it can be told. What `lately` knows the outcome of, although the
    database does not, is not made again.
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
        asker: ClaimAsker,
        keys: SigningKeys,
        lately: Lately,
        sensitive: Sensitive = USUAL,
    ) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._agenda = agenda
        self._heartbeat = heartbeat
        self._launcher = launcher
        self._firer = firer
        self._asker = asker
        self._sensitive = sensitive
        self._keys = keys
        self._lately = lately
        self._at_once = trio.CapacityLimiter(CLAIMS_AT_ONCE)
        self._open: Counter[Claim] = Counter()
        self.on_claim: Callable[[], None] = lambda: None
        """Called as one begins."""
        self._locked = LockedTimers(
            storage=storage,
            replica=lambda: heartbeat.replica,
            on_free=self._take_freed,
            on_held=self._claim_again,
        )

    async def watch_locked(self) -> None:
        """Look again at what is locked, until `draining`: what waits then is not claimed."""
        async with ended_by(self._lifecycle.draining):
            await self._locked.run()

    def know(self, claim: Claim) -> bool:
        """Whether timers may be held under this claim that have not been handed on yet."""
        return claim in self._open or self._locked.know(claim)

    async def claim(self, armed: Sequence[Armed]) -> None:
        """Claim timers, each of which holds a slot; from `draining` on, just free the slots."""
        await self._claim(self._asker.batch(armed))

    async def _claim(self, batch: Batch) -> None:
        self.on_claim()
        self._open[batch.claim] += 1
        try:
            await self._take_reply(*await self._asked_in_time(batch))
        finally:
            self._open -= Counter((batch.claim,))

    async def _asked_in_time(self, batch: Batch) -> tuple[Batch, ClaimReply]:
        """Ask; if the answer takes long others may have the slots, if there are others.

        Answers of which timers there is something to be done.
        """
        if not self._agenda.slots.are_shared:
            return batch, await self._asked(batch)
        async with trio.open_nursery() as nursery:
            lent = trio.Event()
            nursery.start_soon(self._lend, batch, lent)
            reply = await self._asked(batch)
            nursery.cancel_scope.cancel()
        return self._take_slots_again(batch, reply) if lent.is_set() else (batch, reply)

    async def _lend(self, batch: Batch, lent: trio.Event) -> None:
        await trio.sleep(LEND_AFTER_S)
        lent.set()
        now_s = self._clock.now().timestamp()
        for armed in batch.armed:
            self._agenda.slots.release(armed.timer.lane, now_s)
        for armed in batch.armed:
            self._agenda.note_slot_freed(armed.timer.lane)

    def _take_slots_again(self, batch: Batch, reply: ClaimReply) -> tuple[Batch, ClaimReply]:
        """Hold the slots of a batch again; what has none any more is given back, and due again."""
        slots, now_s = self._agenda.slots, self._clock.now().timestamp()
        left = {each.timer.id: each for each in batch.armed}
        kept: list[ClaimedTimer] = []
        for timer in reply.claimed:
            due = left[timer.id].timer
            is_full = slots.wait_if_full(due.lane, now_s) is not None
            slots.hold(due.lane)
            if is_full:
                del left[timer.id]
                self._agenda.cache.done(timer.id)
                self._firer.give_back(self._firer.prepare(timer, due, batch.replica))
            else:
                kept.append(timer)
        for each in left.keys() - {timer.id for timer in kept}:
            slots.hold(left[each].timer.lane)
        return replace(batch, armed=[*left.values()]), replace(reply, claimed=kept)

    async def _asked(self, batch: Batch) -> ClaimReply:
        # Nothing is known of what was not asked for: it is due as it was.
        reply = ClaimReply(moved=[armed.timer for armed in batch.armed])
        try:
            async with self._at_once:
                if not self._lifecycle.draining.is_set():
                    self._keys.expect()
                    reply = await self._asker.ask(batch, self._waits)
        except ReplicaGoneError:
            self._heartbeat.lose(batch.replica)
        return reply

    def _waits(self) -> bool:
        """Whether a locked row is waited for: not as long as some are known to be locked."""
        return len(self._locked) == 0

    async def _claim_again(self, held: Sequence[LockedTimer]) -> None:
        """Fetch what a claim took whose answer was lost."""
        for claim in {locked.claim for locked in held}:
            armed = [locked.armed for locked in held if locked.claim == claim]
            for each in armed:
                self._agenda.slots.hold(each.timer.lane)
            await self._claim(replace(self._asker.batch(armed), claim=claim))

    async def _take_reply(self, batch: Batch, reply: ClaimReply) -> None:
        waiting = {armed.timer.id: armed for armed in batch.armed}
        now = self._clock.now()
        unready: list[Taken] = []
        for taken, timer in enumerate(reply.claimed, start=1):
            armed = waiting.pop(timer.id)
            if self._lately.is_recalled and (outcome := self._lately.outcome_of(timer)):
                log.info("outcome_told_again", timer_id=str(timer.id))
                self._firer.tell_again(outcome, armed.timer)
            elif self._keys.are_ready(timer):
                self._take(timer, armed, batch.replica, now)
            else:
                unready.append(Taken(timer, armed, batch.replica))
            if taken % TAKE_SLICE == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()
                now = self._clock.now()
        for timer_id, reason in reply.unreadable.items():
            refused = unreadable(timer_id, batch.claim, reason)
            self._firer.refuse(refused, waiting.pop(timer_id).timer)
        self._put_by(batch, reply, waiting)
        for armed in waiting.values():
            self._agenda.release(armed.timer, now.timestamp())
        self._put_back(waiting, reply.moved)
        if waiting and batch.terms is not None:
            self._note_gone(batch, waiting.keys(), {timer.id for timer in reply.moved})
        if unready:
            async with trio.open_nursery() as nursery:
                for project in dict.fromkeys(each.timer.project for each in unready):
                    own = [each for each in unready if each.timer.project == project]
                    nursery.start_soon(self._take_signed, project, own)

    def _put_by(self, batch: Batch, reply: ClaimReply, waiting: dict[TimerId, Armed]) -> None:
        """Take out of what waits what is locked, and note which flows are ours no more."""
        if batch.terms is not None:
            refused = {*map(shard_of, reply.foreign)}
            self._agenda.gates.lose_terms({shard: batch.terms[shard] for shard in refused})
        for timer_id in reply.locked:
            if self._locked.add_nowait(LockedTimer(waiting[timer_id], batch.claim)):
                # Whether it is claimed is not known: it goes on counting in its flow.
                lane = waiting.pop(timer_id).timer.lane
                self._agenda.slots.release(lane, self._clock.now().timestamp())
                self._agenda.note_slot_freed(lane)

    def _note_gone(
        self, batch: Batch, not_taken: Collection[TimerId], moved: Collection[TimerId]
    ) -> None:
        """Have flows read anew of which claims do not find what is due by what is known here."""
        gone: Counter[FlowId] = Counter()
        taken: set[FlowId] = set()
        for timer in (armed.timer for armed in batch.armed):
            if timer.flow is None or timer.id in moved:
                continue
            if timer.id in not_taken:
                gone[timer.flow] += 1
            else:
                taken.add(timer.flow)
        for flow, count in gone.items():
            if self._agenda.gates.flows.note_claim(flow, count, is_any_taken=flow in taken):
                self._agenda.read_anew(flow)

    async def _take_signed(self, project: ProjectId, unready: Sequence[Taken]) -> None:
        """Take timers of a project once their callbacks can be signed, or give them back."""
        try:
            await self._keys.wait_ready(project)
        except trio.Cancelled:
            for timer, armed, replica in unready:
                self._agenda.cache.done(timer.id)
                self._firer.give_back(self._firer.prepare(timer, armed.timer, replica))
            raise
        now = self._clock.now()
        for timer, armed, replica in unready:
            self._take(timer, armed, replica, now)

    def _take(self, timer: ClaimedTimer, armed: Armed, replica: ReplicaId, now: datetime) -> None:
        if armed.held_until_s > -inf:
            timer = held_until(timer, datetime.fromtimestamp(armed.held_until_s, UTC))
        missed = judge(timer, now, waited_for_slot=armed.waited, sensitive=self._sensitive)
        if missed is None:
            self._agenda.cache.done(timer.id)
            self._launcher.add(timer, armed.timer, replica)
        else:
            self._firer.refuse(missed, armed.timer)

    def _take_freed(self, timers: Sequence[DueTimer], due: Sequence[DueTimer]) -> None:
        """Put what nobody locks any more on the agenda."""
        for timer in timers:
            self._agenda.release_gates(timer)
        self._put_back((timer.id for timer in timers), due)

    def _put_back(self, timer_ids: Iterable[TimerId], moved: Iterable[DueTimer]) -> None:
        """Put what was heard of timers that were not claimed on the agenda."""
        heard = [self._agenda.cache.done(timer_id) for timer_id in timer_ids]
        self._agenda.add(timer for timer in heard if timer is not None)
        self._agenda.add_readings(moved)
