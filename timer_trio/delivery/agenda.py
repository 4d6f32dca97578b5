"""What this replica is about to claim: written by many, read by the claimer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from math import inf

import trio

from timer_trio.clock import Clock
from timer_trio.delivery.refill import Refill
from timer_trio.domain.breaker import harms
from timer_trio.domain.cache import Cache
from timer_trio.domain.destination import DestinationNow
from timer_trio.domain.flow import FlowId, flow_shard
from timer_trio.domain.gates import Gates
from timer_trio.domain.outcome import CallbackOutcome, Short, Withheld
from timer_trio.domain.shards import Shards
from timer_trio.domain.slots import TOP_UP_PAUSE_S, Slots
from timer_trio.domain.timer import Claim, DueTimer, Lane, TimerId, shard_of
from timer_trio.telemetry.metrics import Metrics


class Agenda:
    """The due times that are known, the slots and the gates for them, and whose timers they are.

    Loader, hints, intake and firer write into it, and the claimer reads it: none of them knows
    another. `refill` tells the loader what to read.
    """

    def __init__(self, *, cache: Cache, slots: Slots, gates: Gates, shards: Shards) -> None:
        self.cache = cache
        self.slots = slots
        self.gates = gates
        self.shards = shards
        self.refill = Refill()
        self._in_hand: dict[int, Claim] = {}  # by the ids' numbers
        self._changed = trio.Event()
        self._probe_news = trio.Event()
        self._look_by = trio.CancelScope()
        self._wants_any_slot = False
        slots.on_freed = self._look_if_waited_for

    def add(self, timers: Iterable[DueTimer]) -> None:
        """Take note of timers, and have the claimer look if one of them comes first now."""
        self._put(timers, self.cache.put)

    def add_again(self, timers: Iterable[DueTimer]) -> None:
        """Add timers that have a settlement behind them: a change since may be known already."""
        self._put(timers, self.cache.put_reading)

    def add_readings(self, timers: Iterable[DueTimer]) -> None:
        """Add what a statement has read: what was added since it was sent may be newer.

        What is in other replicas' shards is left to them. What this one still has in hand, a sweep
        has freed: its outcome is about to come, and to be written if nobody claims it meanwhile.
        """
        own, in_hand = self.shards.own, self._in_hand
        wanted = [
            timer for timer in timers if shard_of(timer.id) in own and timer.id.int not in in_hand
        ]
        self._put(wanted, self.cache.put_reading)

    def read_anew(self, flow: FlowId) -> None:
        """Forget which timers of a flow are due, and have them read."""
        self.cache.forget(flow)
        self.refill.ask_shards({flow_shard(*flow)})

    def take_in_hand(self, timer_id: TimerId, claim: Claim) -> None:
        """Count a timer as in hand: this process has claimed it, and its outcome is not written."""
        self._in_hand[timer_id.int] = claim

    def let_go(self, timer_id: TimerId, claim: Claim) -> None:
        """Count a timer as out of hand: its outcome is written, or will never be known."""
        held = self._in_hand.pop(timer_id.int, claim)
        if held != claim:  # the claim that is let go was undone, and another one came after it
            self._in_hand[timer_id.int] = held

    def has_in_hand(self, timer_id: TimerId, claim: Claim) -> bool:
        """Whether a timer is in hand under this claim."""
        return self._in_hand.get(timer_id.int) == claim

    def release(self, timer: DueTimer, now_s: float) -> None:
        """Count a timer no more that was to be claimed, and was not sent."""
        self.slots.release(timer.lane, now_s)
        self.release_gates(timer)

    def release_gates(self, timer: DueTimer) -> None:
        """Have who waits behind the gates of a timer looked at, as it was not sent."""
        if self.gates.are_set or timer.flow_key is not None:
            self.gates.release(timer)
            self.note_probes()
        self.note_slot_freed(timer.lane)

    def end(
        self, timer: DueTimer, now_s: float, duration_s: float | None, outcome: CallbackOutcome
    ) -> None:
        """Free the slot of a callback that has ended.

        Without a duration it tells nothing of how fast its destination is. One that was withheld
        counts before its gates until `release_gates`: once it is due again, it goes first.
        """
        self.slots.end(timer.lane, now_s, duration_s)
        if not self.gates.are_set and timer.flow_key is None:
            return
        if isinstance(outcome, Short):
            self.gates.release(timer)
        elif not isinstance(outcome, Withheld):
            self.gates.end(timer, now_s, has_failed=harms(outcome))
        self.note_probes()

    def note_probes(self) -> None:
        """Have it be asked for and told what breakers have to ask for and to tell."""
        if self.gates.breakers.have_news:
            self._probe_news.set()

    async def wait_probe_news(self) -> None:
        """Return when breakers have something to ask for or to tell."""
        while not self.gates.breakers.have_news:
            self._probe_news = trio.Event()
            await self._probe_news.wait()

    def note_slot_freed(self, lane: Lane) -> None:
        """Have who claims for these slots look soon if somebody may have waited for this one."""
        self.slots.tell_freed(lane)

    def note_written(self) -> None:
        """Have the claimer look soon if it waits for room: an outcome has been written."""
        if self._wants_any_slot:
            self.wake()

    def _look_if_waited_for(self, lane: Lane) -> None:
        waiting = self.slots.waiting
        if self._wants_any_slot or lane in waiting or lane.project in waiting:
            self.wake()
        elif self.slots.unproven_wait or self.gates.has_opened:
            # One look serves all the slots that come free until then.
            top_up_s = trio.current_time() + TOP_UP_PAUSE_S
            if top_up_s < self._look_by.deadline:  # noqa: PLR1730 - setting it costs, to the same too
                self._look_by.deadline = top_up_s

    def wake(self) -> None:
        """Have the claimer look again at what is to be claimed."""
        self._changed.set()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is in hand, or claimed before the clock is set or something changes.

        It holds where all tasks are blocked, on a clock that stands.
        """
        is_looked_at = not self._changed.is_set() and self._look_by.deadline == inf
        return is_looked_at and not (self.slots.in_use or self._in_hand)

    def begin_look(self) -> None:
        """Begin a look: what changes from now on is for the next one."""
        self._changed = trio.Event()

    async def wait_changed(self, until_s: float, *, wants_any_slot: bool) -> None:
        """Return when something has changed since `begin_look`, or at `until_s` of trio's clock.

        `wants_any_slot`: whatever slot comes free is waited for.
        """
        self._wants_any_slot = wants_any_slot
        with trio.CancelScope(deadline=until_s) as self._look_by:
            await self._changed.wait()
        if wants_any_slot:
            # Slots come free one by one: one claim serves those of the next few milliseconds.
            await trio.sleep(TOP_UP_PAUSE_S)

    def report(self, metrics: Metrics, clock: Clock) -> None:
        """Show in the metrics what is here."""
        metrics.cached.add(lambda: len(self.cache))
        metrics.oldest_overdue_s.add(lambda: self._oldest_overdue_s(clock))

    def _oldest_overdue_s(self, clock: Clock) -> float:
        first_s = self.cache.first_due_s
        return 0.0 if first_s is None else max(0.0, clock.now().timestamp() - first_s)

    def _put(self, timers: Iterable[DueTimer], put: Callable[[DueTimer], None]) -> None:
        before = self.cache.peek()
        for timer in timers:
            put(timer)
        if self.cache.peek() != before:
            self.wake()


def destinations_now(agendas: Sequence[Agenda], now: datetime) -> Iterable[DestinationNow]:
    """Tell what is in hand of each destination, of agendas that share their slots."""
    waiting: Counter[Lane] = Counter()
    until: dict[Lane, float] = {}
    for agenda in agendas:
        waiting.update(dict(agenda.cache.waiting(now.timestamp())))
        for lane, until_s in agenda.gates.breakers.opened():
            until[lane] = max(until_s, until.get(lane, until_s))
    in_flight = dict(agendas[0].slots.held())
    for lane in waiting.keys() | in_flight.keys() | until.keys():
        until_at = datetime.fromtimestamp(until[lane], UTC) if lane in until else None
        yield DestinationNow(lane, waiting[lane], in_flight.get(lane, 0), until_at)
