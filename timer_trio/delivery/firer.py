"""The stage that calls back: one task a timer, from its instant to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.callback import Caller, outcome_of, request_of
from timer_trio.delivery.firing import Firing
from timer_trio.delivery.lines import Lines
from timer_trio.delivery.settler import Settler
from timer_trio.delivery.signing import SigningKeys
from timer_trio.domain.masking import USUAL, Sensitive
from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Phase,
    Short,
    TimedOut,
    Unreachable,
    Withheld,
    tells_pace,
)
from timer_trio.domain.settlement import (
    Completed,
    Failed,
    Release,
    Retry,
    Settlement,
    Skipped,
    settlement_of,
)
from timer_trio.domain.timer import ClaimedTimer, DueTimer, Lane, ReplicaId, due_timer
from timer_trio.domain.trace import TraceContext
from timer_trio.lifecycle import Lifecycle
from timer_trio.telemetry.ended_callback import EndedCallback
from timer_trio.telemetry.record import Recorder
from timer_trio.telemetry.tracing import Tracing
from timer_trio.transport import Begun, Request, RequestError, TransportError

SHORTAGE_PAUSE: Final = timedelta(seconds=0.5)
"""Until a callback that this machine had nothing left for is tried again: what others hold comes
free within milliseconds to seconds, and each try costs the database a claim."""

log = structlog.get_logger()


class Sending:
    """A callback from its instant to its outcome, and the permit of its own request.

    `begun` waits for its answer if it has gone out at once. `is_unsent`: no byte of it has gone
    out. `ends_s`: when its timeout does, on trio's clock.
    """

    __slots__ = ("_ask", "begun", "ends_s", "firing", "is_unsent", "phase", "sent_at")

    def __init__(self, firing: Firing, sent_at: datetime, ask: Callable[[Sending], bool]) -> None:
        self.firing = firing
        self.sent_at = sent_at
        self.begun: Begun | None = None
        self.is_unsent = True
        self.phase: Phase | None = None
        self.ends_s = trio.current_time() + firing.timer.spec.callback.timeout_s
        self._ask = ask

    def may_send(self) -> bool:
        return self._ask(self)


class Firer:
    """Fires claimed timers whose instant has come, and hands each outcome to the settler.

    `offer` gets every timer that is to be fired again, for whoever is to do it; results show no
    values of `sensitive` headers.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        clock: Clock,
        heartbeat: Heartbeat,
        agenda: Agenda,
        settler: Settler,
        caller: Caller,
        recorder: Recorder,
        lines: Lines,
        keys: SigningKeys,
        offer: Callable[[Iterable[DueTimer]], None],
        sensitive: Sensitive = USUAL,
        tracing: Tracing | None = None,
    ) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._heartbeat = heartbeat
        self._agenda = agenda
        self._slots = agenda.slots
        self._settler = settler
        self._caller = caller
        self._recorder = recorder
        self._lines = lines
        self._keys = keys
        self._offer = offer
        self._sensitive = sensitive
        self._tracing = tracing
        # What has not sent yet, and what breaks it off; in order, so that a seed replays a stop.
        self._unsent: dict[Sending, trio.CancelScope] = {}

    @property
    def in_hand(self) -> int:
        """How many timers hold a slot."""
        return self._slots.in_use

    async def give_back_unsent(self) -> None:
        """Wait for `giving_back`, and break off what has not been sent by then."""
        await self._lifecycle.giving_back.wait()
        for scope in self._unsent.values():
            scope.cancel()

    def prepare(self, timer: ClaimedTimer, due: DueTimer, replica: ReplicaId) -> Firing:
        """Do what can be done before the instant, and costs less for many timers in a row."""
        self._agenda.take_in_hand(timer.id, timer.claim)
        request = None
        span = None if self._tracing is None else self._tracing.begin_callback(timer)
        with suppress(Exception):  # `fire` tries again, and fails this timer alone
            request = self._request_of(timer, span)
        return Firing(timer, due, replica, request, span)

    def _request_of(self, timer: ClaimedTimer, span: TraceContext | None) -> Request:
        return request_of(timer, self._keys.sign_for(timer), span)

    def give_back(self, firing: Firing) -> None:
        """End a timer that was never fired: pending, as it was."""
        self._end_unsent(firing, Withheld())

    def refuse(self, settlement: Failed | Skipped, due: DueTimer) -> None:
        """Settle a claimed timer that must not or cannot be fired."""
        if isinstance(settlement, Skipped):
            self._recorder.note_skipped(settlement)
        else:
            self._recorder.note_refused(settlement, due.lane.destination)
        self.tell_again(settlement, due)

    def tell_again(self, settlement: Settlement, due: DueTimer) -> None:
        """Settle a claimed timer without firing it: how this attempt ended is known already."""
        self._agenda.take_in_hand(due.id, settlement.claim)
        self._agenda.cache.done(due.id)
        self._agenda.release(due, self._clock.now().timestamp())
        self._settler.settle_nowait(settlement, lambda: self._told(settlement, due))

    def fire(self, firing: Firing, callbacks: trio.Nursery, *, may_wait: bool = False) -> None:
        """Call back: at once if a connection is ready, and in a task that hands on how it ended.

        `may_wait`: it may stand in line for one of the connections that its destination has.

        Cancellation of that task: gives the timer back unless the send has begun; then the outcome
        is unknown.
        """
        lane = firing.due.lane
        if may_wait and lane.destination in self._lines:
            self._lines.join(firing)
            return
        sending = self._begin(firing)
        if sending is None:
            return
        if may_wait and sending.begun is None and self._slots.awaits_answer(lane):
            self._lines.join(firing)
            return
        self._slots.begin(lane, sending.sent_at.timestamp())
        callbacks.start_soon(self._call_back, sending)

    def _begin(self, firing: Firing) -> Sending | None:
        """Send at once if a connection is ready; None: it has ended already."""
        sending = Sending(firing, self._clock.now(), self._may_send)
        try:
            if firing.request is not None:
                sending.begun = self._caller.transport.begin(firing.request, sending)
        except TransportError as error:
            self._end_unsent(firing, outcome_of(error))
        except Exception as error:
            log.exception("callback_broke", timer_id=str(firing.timer.id))
            self._end_unsent(firing, Broken(type(error).__name__))
        else:
            return sending
        return None

    async def _call_back(self, sending: Sending) -> None:
        """End a callback, and then those that stand in line for its connection."""
        following: Sending | None = sending
        while following is not None:
            following = await self._call_back_in_turn(following)

    async def _call_back_in_turn(self, sending: Sending) -> Sending | None:
        """End callbacks until one is broken off, and return the one that has begun after it.

        One scope has the timeout of each in turn: to move its deadline costs a third of another.
        """
        try:
            with trio.CancelScope(deadline=sending.ends_s) as scope:
                while True:
                    self._end(sending, await self._outcome_of(sending, scope))
                    following = self._begin_next(sending.firing.due.lane)
                    if following is None or scope.cancel_called:
                        return following
                    sending = following
                    scope.deadline = sending.ends_s
        except BaseException:  # cancelled, maybe in several attempts to connect at once
            self._end(sending, Withheld() if sending.is_unsent else Interrupted())
            raise
        self._end(sending, self._broken_off(sending))
        return self._begin_next(sending.firing.due.lane)

    def _begin_next(self, lane: Lane) -> Sending | None:
        """Begin the first in line for where a callback has ended; None: nobody stands there."""
        while firing := self._lines.take_next(lane.destination):
            following = self._begin(firing)
            if following is not None:
                self._slots.begin(firing.due.lane, following.sent_at.timestamp())
                return following
        return None

    async def _outcome_of(self, sending: Sending, scope: trio.CancelScope) -> CallbackOutcome:
        """Wait until a callback ends; whatever its receiver can cause is a value.

        Cancellation, of `scope` too: passes through.
        """
        firing = sending.firing
        if sending.begun is None:
            if self._lifecycle.giving_back.is_set():
                return Withheld()
            self._unsent[sending] = scope
        try:
            request = firing.request or self._request_of(firing.timer, firing.span)
            kept = firing.timer.spec.store_response
            outcome = await self._caller.call_back(request, sending, kept, sending.begun)
        except RequestError as error:
            return Unreachable(str(error), is_unsent=True)
        except Exception as error:
            log.exception("callback_broke", timer_id=str(firing.timer.id))
            return Broken(type(error).__name__)
        finally:
            self._unsent.pop(sending, None)
        return self._corrected(outcome, sending)

    def _corrected(self, outcome: CallbackOutcome, sending: Sending) -> CallbackOutcome:
        if isinstance(outcome, Delivered):
            return outcome  # nearly always
        if isinstance(outcome, Unreachable) and sending.is_unsent:
            return replace(outcome, is_unsent=True)
        if isinstance(outcome, Withheld) and not sending.is_unsent:
            # The first try may have arrived, and the second was not allowed.
            return Unreachable("connection closed before an answer came")
        return outcome

    def _broken_off(self, sending: Sending) -> Withheld | TimedOut:
        if sending.is_unsent and self._lifecycle.giving_back.is_set():
            return Withheld()
        return TimedOut(sending.phase, is_unsent=sending.is_unsent)

    def _may_send(self, sending: Sending) -> bool:
        is_held = self._heartbeat.holds(sending.firing.replica)
        if not is_held or self._lifecycle.giving_back.is_set():
            return False
        sending.is_unsent = False
        self._unsent.pop(sending, None)
        return True

    def _end_unsent(self, firing: Firing, outcome: CallbackOutcome) -> None:
        now = self._clock.now()
        self._slots.release(firing.due.lane, now.timestamp())
        if not isinstance(outcome, Withheld):
            self._agenda.release_gates(firing.due)
        self._hand_on(firing, outcome, now, now)

    def _end(self, sending: Sending, outcome: CallbackOutcome) -> None:
        firing, sent_at, ended_at = sending.firing, sending.sent_at, self._clock.now()
        duration_s = (ended_at - sent_at).total_seconds() if tells_pace(outcome) else None
        self._agenda.end(firing.due, ended_at.timestamp(), duration_s, outcome)
        self._hand_on(firing, outcome, sent_at, ended_at)

    def _hand_on(
        self, firing: Firing, outcome: CallbackOutcome, sent_at: datetime, ended_at: datetime
    ) -> None:
        timer, due = firing.timer, firing.due
        settlement = settlement_of(timer, outcome, sent_at, ended_at, self._sensitive)
        if isinstance(outcome, Short):
            self._recorder.note_shortage(outcome.reason)
            due = due._replace(due_at=ended_at + SHORTAGE_PAUSE)
        elif isinstance(outcome, Withheld):
            self._note_withheld(timer)
        else:
            error = settlement.last_error if settlement else None
            self._recorder.note(
                EndedCallback(
                    timer, due.lane.destination, outcome, error, sent_at, ended_at, firing.span
                )
            )
        if settlement is None:
            self._agenda.let_go(timer.id, timer.claim)
        else:
            self._settler.settle_nowait(
                settlement, lambda: self._settled(settlement, due, firing.span, ended_at)
            )
        self._agenda.note_slot_freed(due.lane)

    def _settled(
        self, settlement: Settlement, due: DueTimer, span: TraceContext | None, ended_at: datetime
    ) -> None:
        self._agenda.let_go(settlement.timer_id, settlement.claim)
        if self._tracing is not None and span is not None:
            self._tracing.end_settlement(span, settlement.status, ended_at)
        if not isinstance(settlement, Completed):  # as nearly always
            self._not_completed(settlement, due)
        self._written(settlement)

    def _not_completed(self, settlement: Settlement, due: DueTimer) -> None:
        if isinstance(settlement, Release):
            self._offer([due])
            self._agenda.release_gates(due)
        elif isinstance(settlement, Retry):
            self._recorder.count_retry()
            self._offer([due._replace(due_at=settlement.due_at)])
        elif isinstance(settlement, Failed):
            self._recorder.count_failed(settlement)

    def _told(self, settlement: Settlement, due: DueTimer) -> None:
        self._agenda.let_go(settlement.timer_id, settlement.claim)
        if isinstance(settlement, Retry):
            self._offer([due._replace(due_at=settlement.due_at)])
        self._written(settlement)

    def _written(self, settlement: Settlement) -> None:
        if settlement.result is not None:
            self._offer([due_timer(settlement.result)])
        self._agenda.note_written()

    def _note_withheld(self, timer: ClaimedTimer) -> None:
        if not self._lifecycle.giving_back.is_set():
            self._recorder.count_fenced()
        log.info("withheld", timer_id=str(timer.id))
