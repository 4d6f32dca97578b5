"""The stage that calls back: one task a timer, from its claim to its outcome."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import httpx
import structlog
import trio

from timer_trio.callback import call_back
from timer_trio.clock import Clock
from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Rejected,
    Settlement,
    Unreachable,
    Withheld,
    settlement_of,
)
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import (
    ClaimedTimer,
    Destination,
    DueTimer,
    ReplicaId,
    Status,
    destination_of,
    rfc3339,
)
from timer_trio.heartbeat import Heartbeat
from timer_trio.metrics import Metrics
from timer_trio.settle import Settler

log = structlog.get_logger()


class Firer:
    """Fires claimed timers at their instants, and hands each outcome to the settler.

    `on_slot_free` hears of every slot that came free, `on_given_back` of every timer that was given
    back to pending.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        heartbeat: Heartbeat,
        slots: Slots,
        settler: Settler,
        transport: httpx.AsyncBaseTransport,
        metrics: Metrics,
        on_slot_free: Callable[[Destination], None],
        on_given_back: Callable[[DueTimer], None],
    ) -> None:
        self._clock = clock
        self._heartbeat = heartbeat
        self._slots = slots
        self._settler = settler
        self._transport = transport
        self._metrics = metrics
        self._on_slot_free = on_slot_free
        self._on_given_back = on_given_back
        self._stopping = False
        # What has not sent yet; in order, so that a seed replays a stop.
        self._unsent: dict[trio.CancelScope, None] = {}

    def stop(self) -> None:
        """Begin no send any more: what has not been sent is given back."""
        self._stopping = True
        for unsent in self._unsent:
            unsent.cancel()

    async def fire(self, timer: ClaimedTimer, due: DueTimer, replica: ReplicaId) -> None:
        """Sleep until the timer's instant, call back, and hand on how that ended.

        Cancellation: gives the timer back unless the send has begun; then the outcome is unknown.
        """
        sent_at = self._clock.now()
        outcome: CallbackOutcome = Withheld()
        unsent = trio.CancelScope()
        self._unsent[unsent] = None
        if self._stopping:
            unsent.cancel()
        try:
            with unsent:
                await self._clock.sleep_until(timer.spec.execute_at)
                sent_at = self._clock.now()
                outcome = await call_back(
                    self._transport, timer, lambda: self._may_send(replica, unsent)
                )
            if isinstance(outcome, Withheld) and unsent not in self._unsent:
                outcome = Unreachable("connection closed before an answer came")
        except trio.Cancelled:
            if unsent not in self._unsent:
                outcome = Interrupted()
            raise
        except Exception as error:
            log.exception("callback_broke", timer_id=str(timer.id))
            outcome = Broken(type(error).__name__)
        finally:
            self._unsent.pop(unsent, None)
            self._end(timer, due, outcome, sent_at)

    def _may_send(self, replica: ReplicaId, unsent: trio.CancelScope) -> bool:
        may_send = not self._stopping and self._heartbeat.holds(replica)
        if may_send:
            self._unsent.pop(unsent, None)
        return may_send

    def _end(
        self, timer: ClaimedTimer, due: DueTimer, outcome: CallbackOutcome, sent_at: datetime
    ) -> None:
        self._slots.release(due.destination, self._clock.now().timestamp())
        settlement = settlement_of(timer, outcome, sent_at)
        self._record(timer, outcome, sent_at, settlement.last_error if settlement else None)
        if settlement is not None:
            self._settler.settle_nowait(settlement, lambda: self._settled(settlement, due))
        self._on_slot_free(due.destination)

    def _settled(self, settlement: Settlement, due: DueTimer) -> None:
        if settlement.status is Status.PENDING:
            self._on_given_back(due)
        self._on_slot_free(due.destination)

    def _record(
        self, timer: ClaimedTimer, outcome: CallbackOutcome, sent_at: datetime, error: str | None
    ) -> None:
        """Write the one canonical line of a firing, and count it."""
        if isinstance(outcome, Withheld):
            if not self._stopping:
                self._metrics.fenced.inc()
            log.info("withheld", timer_id=str(timer.id))
            return
        late_s = (sent_at - timer.expected_at).total_seconds()
        self._metrics.lateness_s.observe(late_s)
        self._metrics.fired.labels(outcome.name).inc()
        log.info(
            "fired",
            timer_id=str(timer.id),
            scheduled=rfc3339(timer.spec.execute_at),
            late_ms=round(late_s * 1000, 1),
            destination=destination_of(timer.spec.callback_url),
            outcome=outcome.name,
            status=outcome.http_status if isinstance(outcome, Delivered | Rejected) else None,
            error=error,
            duration_ms=round((self._clock.now() - sent_at).total_seconds() * 1000, 1),
            attempt=timer.attempt,
        )
