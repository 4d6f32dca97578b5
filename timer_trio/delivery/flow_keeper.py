"""The stage that learns of flows before anything of them is claimed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from math import inf
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.rule_keeper import RuleKeeper
from timer_trio.domain.errors import ContentionError, ReplicaGoneError, StorageUnavailableError
from timer_trio.domain.flows import FlowNow, Wanted
from timer_trio.storage import FlowStorage
from timer_trio.storage.group_commit import RETRY_PAUSE_S

MAX_FLOWS: Final = 500
"""In one reading: some milliseconds of the database's time."""
LOOK_ELSEWHERE_S: Final = 0.25
"""Between looks at what others had in flight when a flow became ours: each costs one query."""
NEAR: Final = timedelta(seconds=1)
"""What others have held was due, or claimed a little ahead."""

log = structlog.get_logger()


class FlowKeeper:
    """Takes the terms of shards in which flows have timers due, and reads these flows."""

    def __init__(
        self,
        *,
        storage: FlowStorage,
        clock: Clock,
        agenda: Agenda,
        heartbeat: Heartbeat,
        rules: RuleKeeper,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._agenda = agenda
        self._gates = agenda.gates
        self._flows = agenda.gates.flows
        self._heartbeat = heartbeat
        self._rules = rules
        self._asked = trio.Event()

    def look(self) -> None:
        """Have flows read that are wanted."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Read what is wanted, for ever."""
        while True:
            pause_s = LOOK_ELSEWHERE_S if self._flows.ending_elsewhere else inf
            with trio.move_on_after(pause_s):
                await self._asked.wait()
            self._asked = trio.Event()
            try:
                await self._look_elsewhere()
                await self._read_wanted()
            except (StorageUnavailableError, ContentionError) as error:
                log.debug("flows_put_off", reason=str(error))
                self._asked.set()
                await trio.sleep(RETRY_PAUSE_S)

    async def _look_elsewhere(self) -> None:
        """Ask what of others' callbacks has ended, or is due again."""
        flows = self._flows.ending_elsewhere[:MAX_FLOWS]
        if not flows:
            return
        read = await self._storage.flows_now(flows)
        self._add_first(read.values())
        now_s = self._clock.now().timestamp()
        for flow in flows:
            if self._flows.note_executing(flow, read[flow].executing, now_s):
                self._gates.open(flow)
        self._agenda.wake()

    async def _read_wanted(self) -> None:
        while self._flows.are_wanted:
            wanted = self._flows.take_wanted(self._agenda.shards.own, MAX_FLOWS)
            try:
                await self._read(wanted)
            except (StorageUnavailableError, ContentionError):
                self._flows.want(wanted.flows)
                raise

    async def _read(self, wanted: Wanted) -> None:
        if wanted.shards:
            replica = self._heartbeat.replica
            try:
                terms = await self._storage.take_terms(replica, wanted.shards)
            except ReplicaGoneError:
                self._heartbeat.lose(replica)
                self._flows.want(wanted.flows)
                await trio.sleep(RETRY_PAUSE_S)
                return
            own = self._agenda.shards.own
            self._flows.take_terms({shard: terms[shard] for shard in wanted.shards & own})
        if not wanted.flows:
            return
        readings = await self._storage.flow_readings(wanted.flows, self._clock.now())
        if readings.version < self._rules.version:
            self._flows.want(wanted.flows)  # a change was told meanwhile, of what nobody knew here
            return
        self._add_first(reading.now for reading in readings.flows.values())
        for flow in wanted.flows:
            self._flows.know(flow, readings.flows[flow])
            self._gates.open(flow)
        self._agenda.wake()

    def _add_first(self, read: Iterable[FlowNow]) -> None:
        """Learn of what others have given back, before its flow opens since they hold it no more.

        It goes before what waits there: a hint, or the loader's next look, may tell of it later.
        """
        by = self._clock.now() + NEAR
        firsts = (each.first for each in read if each.first is not None)
        self._agenda.add_readings(first for first in firsts if first.due_at <= by)
