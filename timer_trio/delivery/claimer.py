"""The stage between cache and fire: what is due is claimed in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from math import inf
from typing import Final

import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.claims import Claims
from timer_trio.delivery.flow_keeper import FlowKeeper
from timer_trio.delivery.lines import Lines
from timer_trio.delivery.rule_keeper import RuleKeeper
from timer_trio.delivery.settler import Settler
from timer_trio.domain.arming import Plan, batches, take_due
from timer_trio.lifecycle import Lifecycle, ended_by

MAX_OPEN: Final = 10_000
"""Timers in flight and unsettled: what an outage may leave unwritten, and memory must hold."""
MAX_CLAIMS: Final = 500
"""Timers in one claim: 14-20 ms, after which the first of many can be sent."""
AWAY_LOOK: Final = timedelta(seconds=0.1)
"""Between looks whether a cell that is away answers again, while it may claim still."""
IN_LINE_PAUSE_S: Final = 0.05
"""While all slots are held and callbacks stand in line: what is claimed then waits for the
processor as well, and fewer, larger claims leave it more of that."""
LAST_CLAIMS_S: Final = 3.0
"""How long a stop waits for claims to be answered: after it nothing of them might be sent."""


class Claimer:
    """Claims what is due on the agenda, in time for it to be fired at its instant.

    `on_held_back` hears of it, at each look, while something waits for a slot or behind a gate.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        clock: Clock,
        agenda: Agenda,
        heartbeat: Heartbeat,
        settler: Settler,
        claims: Claims,
        rules: RuleKeeper,
        flow_keeper: FlowKeeper,
        lines: Lines,
        on_held_back: Callable[[], None] = lambda: None,
        ahead_s: float,
        reach_s: float,
    ) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._agenda = agenda
        self._heartbeat = heartbeat
        self._settler = settler
        self._claims = claims
        self._rules = rules
        self._flow_keeper = flow_keeper
        self._lines = lines
        self._on_held_back = on_held_back
        self._ahead_s = ahead_s
        self._reach_s = reach_s

    async def run(self) -> None:
        """Claim until `draining`; returns once the last claim is answered or given up."""
        async with trio.open_nursery() as claims:
            claims.start_soon(self._claims.watch_locked)
            async with ended_by(self._lifecycle.draining):
                await self._claim_due(claims)
            self._agenda.gates.breakers.stop()
            self._agenda.note_probes()
            claims.cancel_scope.deadline = trio.current_time() + LAST_CLAIMS_S

    async def _claim_due(self, claims: trio.Nursery) -> None:
        while not self._lifecycle.draining.is_set():
            self._agenda.begin_look()
            plan = self._plan()
            for batch in batches(plan.armed, MAX_CLAIMS):
                claims.start_soon(self._claims.claim, batch)
            if self._agenda.gates.flows.are_wanted:
                self._flow_keeper.look()
            self._agenda.note_probes()
            if self._agenda.cache.holds_back:
                self._on_held_back()
            if self._agenda.cache.wants_refill:
                self._agenda.refill.ask_near()
            await self._agenda.wait_changed(self._wakes_s(plan), wants_any_slot=plan.out_of_slots)
            if plan.out_of_slots and self._lines:
                await trio.sleep(IN_LINE_PAUSE_S)

    def _plan(self) -> Plan:
        if not (self._heartbeat.is_held and self._rules.are_current):
            return Plan(armed=(), wake_at=None, out_of_slots=False)
        if self._agenda.slots.are_shared and not self._heartbeat.is_connected:
            # What would be claimed now would hold slots in vain that others have a use for.
            return Plan(armed=(), wake_at=self._clock.now() + AWAY_LOOK, out_of_slots=False)
        return take_due(
            self._agenda.cache,
            self._agenda.slots,
            self._agenda.gates,
            self._clock.now(),
            budget=MAX_OPEN - self._agenda.slots.in_use - len(self._settler),
            ahead_s=self._ahead_s,
            reach_s=self._reach_s,
        )

    def _wakes_s(self, plan: Plan) -> float:
        if plan.wake_at is None:
            return inf
        return trio.current_time() + max(0.0, self._clock.seconds_until(plan.wake_at))
