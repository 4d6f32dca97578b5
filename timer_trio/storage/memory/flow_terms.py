"""What a replica asks for before it claims of flows, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from math import inf

import trio

from timer_trio.domain.errors import ReplicaGoneError
from timer_trio.domain.flow import NO_TERM, FlowId, Terms
from timer_trio.domain.flows import FlowNow, FlowReading, FlowReadings
from timer_trio.domain.rules import NO_FLOW_RULES, FlowRules
from timer_trio.domain.timer import ReplicaId, Status, TimerId
from timer_trio.storage.memory.database import Database, Row


class MemoryFlowTerms(Database):
    """FlowStorage in memory."""

    async def take_terms(self, replica: ReplicaId, shards: Collection[int]) -> Terms:
        await trio.lowlevel.checkpoint()
        if replica not in self._counters:
            raise ReplicaGoneError
        for shard in shards:
            _, number = self._terms.get(shard, (replica, NO_TERM))
            self._terms[shard] = (replica, number + 1)
        return {shard: self._terms[shard][1] for shard in shards}

    async def flow_readings(self, flows: Collection[FlowId], now: datetime) -> FlowReadings:
        await trio.lowlevel.checkpoint()
        return FlowReadings(
            version=self._rules_version,
            flows={flow: self._reading(flow, now) for flow in flows},
        )

    async def flows_now(self, flows: Collection[FlowId]) -> Mapping[FlowId, FlowNow]:
        await trio.lowlevel.checkpoint()
        return {flow: self._flow_now(flow) for flow in flows}

    def _reading(self, flow: FlowId, now: datetime) -> FlowReading:
        known = self._flows.get(flow)
        rules = NO_FLOW_RULES if known is None else known.flow.rules
        if rules.max_in_flight is None and rules.rate is None:
            return FlowReading(rules=rules)
        ends = sorted(self._ends(flow, now))
        return FlowReading(
            rules=rules,
            now=self._flow_now(flow),
            ends_s=_within(ends, rules, now),
            last_end_s=ends[-1].timestamp() if ends else -inf,
        )

    def _flow_now(self, flow: FlowId) -> FlowNow:
        due = [
            self._due_timer(row, row.due_at)
            for row in self._rows_of(flow)
            if row.due_at is not None
        ]
        return FlowNow(frozenset(self._executing(flow)), min(due, default=None))

    def _executing(self, flow: FlowId) -> Iterator[TimerId]:
        for row in self._rows_of(flow):
            if row.timer.status is Status.EXECUTING and row.claimed_by is not None:
                yield row.timer.id

    def _ends(self, flow: FlowId, now: datetime) -> Iterator[datetime]:
        """Yield when callbacks have ended, as their timers and attempts tell.

        Of those that a sweep has freed nobody knows: they may have been sent until `now`.
        """
        for row in self._rows_of(flow):
            timer = row.timer
            if timer.status is Status.EXECUTING and row.due_at is not None:
                yield now
            if timer.executed_at is not None:
                yield timer.executed_at + timedelta(milliseconds=timer.duration_ms or 0)
            for attempt in self._attempts.get(timer.id, ()):
                if attempt.started_at != timer.executed_at:
                    yield attempt.ended_at

    def _rows_of(self, flow: FlowId) -> Iterator[Row]:
        for row in self._rows.values():
            if row.project == flow.project and row.timer.flow_key == flow.key:
                yield row


def _within(ends: list[datetime], rules: FlowRules, now: datetime) -> tuple[float, ...]:
    if rules.rate is None:
        return ()
    begin = now - timedelta(seconds=rules.rate.per_s)
    return tuple(end.timestamp() for end in ends if end > begin)[-rules.rate.count :]
