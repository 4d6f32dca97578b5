"""The parts of delivery and cluster, wired as in a replica: database and receivers are fakes.

Each test runs one of them, with whatever it calls. Everything else stands still: nothing beats,
loads, claims or starts a callback unless a test has it do so. Only the settler writes.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final, NamedTuple, Unpack
from uuid import UUID

import trio

from tests.contract.timers import new_timer
from tests.unit.fakes import Database, Receivers
from timer_trio.alarm import TrioAlarm
from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.cluster.hints import Hints
from timer_trio.cluster.membership import Membership
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.callback import Caller
from timer_trio.delivery.claim_asker import ClaimAsker
from timer_trio.delivery.claimer import Claimer
from timer_trio.delivery.claims import Claims
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.firing import Firing
from timer_trio.delivery.flow_keeper import FlowKeeper
from timer_trio.delivery.launcher import Launcher
from timer_trio.delivery.leftovers import Leftovers
from timer_trio.delivery.lines import Lines
from timer_trio.delivery.loader import Loader
from timer_trio.delivery.rule_keeper import RuleKeeper
from timer_trio.delivery.settler import Settler
from timer_trio.delivery.signing import SigningKeys
from timer_trio.domain.breaker import Breakers
from timer_trio.domain.cache import Cache
from timer_trio.domain.flows import Flows
from timer_trio.domain.gates import Gates
from timer_trio.domain.lately import Lately
from timer_trio.domain.membership import LeaseTimes
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.project_shares import ProjectShares
from timer_trio.domain.settlement import Failed, unreadable
from timer_trio.domain.shards import Shards
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import (
    SHARDS,
    Claim,
    ClaimedTimer,
    Destination,
    DueTimer,
    Lane,
    ReplicaId,
    SpecChange,
    Status,
    TimerId,
    due_timer,
)
from timer_trio.lifecycle import Lifecycle
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.record import Recorder

AHEAD_S: Final = 0.5
REACH_S: Final = 2.0
INTERVAL_S: Final = 30.0
WINDOW_S: Final = 600.0

PROMPT: Final = Lane(Destination("https://example.com:443"))
"""Where timers go unless a test says otherwise; it has answered in good time before."""
OTHER: Final = ReplicaId(UUID(int=0xB0B))
"""Another replica."""
SOON_S: Final = 0.1
"""So long after something must have happened it has."""


class Sizes(NamedTuple):
    """What a replica holds at most."""

    slots: int = 100
    slots_per_destination: int = 50
    max_timers: int = 2_000


class Parts:
    """All parts of one replica that owns every shard and holds its lease.

    `nursery` is for what a test has run beside it; `offered` is what the firer has given back,
    and `breaks` when the listener has noticed that its connection was lost or is there again.
    """

    def __init__(self, nursery: trio.Nursery, sizes: Sizes) -> None:
        self.nursery = nursery
        self.database = Database()
        self.receivers = Receivers(self.database.tell)
        self.lifecycle = lifecycle = Lifecycle()
        self.clock = clock = Clock(elapsed=trio.current_time)
        self.metrics = metrics = Metrics()
        slots = Slots(sizes.slots, sizes.slots_per_destination)
        cache = Cache(sizes.max_timers, slots.is_unproven)
        gates = Gates(Flows(), Breakers())
        self.agenda = agenda = Agenda(cache=cache, slots=slots, gates=gates, shards=Shards())
        self.rules = RuleKeeper(storage=self.database, agenda=agenda, shares=ProjectShares())
        self.offered: list[DueTimer] = []
        self.breaks: list[float] = []
        self.hints = Hints(
            storage=self.database,
            clock=clock,
            agenda=agenda,
            window_s=WINDOW_S,
            on_break=lambda: self.breaks.append(trio.current_time()),
        )
        self.membership = Membership(
            agenda, self.hints, plan_anew=lambda: None, look_for_leftovers=lambda: None
        )
        self.heartbeat = Heartbeat(
            storage=self.database,
            clock=clock,
            metrics=metrics,
            times=LeaseTimes(fence_s=inf),
            membership=self.membership,
            new_id=lambda: UUID(int=0xA11CE),
            on_rules=self.rules.note_version,
        )
        self.flow_keeper = FlowKeeper(
            storage=self.database,
            clock=clock,
            agenda=agenda,
            heartbeat=self.heartbeat,
            rules=self.rules,
        )
        self.loader = Loader(
            storage=self.database,
            clock=clock,
            agenda=agenda,
            interval_s=INTERVAL_S,
            window_s=WINDOW_S,
        )
        self.lately = Lately()
        self.settler = Settler(
            storage=self.database, clock=clock, metrics=metrics, lately=self.lately
        )
        self.keys = SigningKeys(
            storage=self.database, clock=clock, is_busy=lambda: slots.in_use > 0
        )
        lines = Lines()
        self.firer = Firer(
            lifecycle=lifecycle,
            clock=clock,
            heartbeat=self.heartbeat,
            agenda=agenda,
            settler=self.settler,
            caller=Caller(self.receivers),
            recorder=Recorder(metrics),
            lines=lines,
            keys=self.keys,
            offer=self.offered.extend,
        )
        self.launcher = Launcher(
            lifecycle=lifecycle, clock=clock, firer=self.firer, lines=lines, alarm=TrioAlarm()
        )
        self._random_bits = random.Random(7).getrandbits
        self.claims = Claims(
            lifecycle=lifecycle,
            storage=self.database,
            clock=clock,
            agenda=agenda,
            heartbeat=self.heartbeat,
            launcher=self.launcher,
            firer=self.firer,
            asker=ClaimAsker(
                storage=self.database,
                clock=clock,
                heartbeat=self.heartbeat,
                metrics=metrics,
                flows=agenda.gates.flows,
                reach_s=REACH_S,
                random_bits=self._random_bits,
            ),
            keys=self.keys,
            lately=self.lately,
        )
        self.claimer = Claimer(
            lifecycle=lifecycle,
            clock=clock,
            agenda=agenda,
            heartbeat=self.heartbeat,
            settler=self.settler,
            claims=self.claims,
            rules=self.rules,
            flow_keeper=self.flow_keeper,
            lines=lines,
            ahead_s=AHEAD_S,
            reach_s=REACH_S,
        )

        self.leftovers = Leftovers(
            storage=self.database,
            clock=clock,
            agenda=agenda,
            heartbeat=self.heartbeat,
            claims=self.claims,
            settler=self.settler,
            lately=self.lately,
            offer=self.offered.extend,
        )
        self.claims.on_claim = self.leftovers.note_claim

    async def start(self) -> None:
        """Join, and settle what is to be settled from now on."""
        await self.heartbeat.join(alone=True)
        self.nursery.start_soon(self.settler.run)
        self.nursery.start_soon(self.keys.run)
        self.nursery.start_soon(self.rules.run)
        self.nursery.start_soon(self.flow_keeper.run)
        await self.keys.wait_ready(DEFAULT_PROJECT)
        self.make_prompt(PROMPT)
        while not self.rules.are_current:
            await trio.lowlevel.checkpoint()
        self.agenda.refill.take()
        self.agenda.begin_look()

    def make_prompt(self, lane: Lane) -> None:
        """Let a destination answer in good time once: then it may hold its share of the slots."""
        slots, now_s = self.agenda.slots, self.clock.now().timestamp()
        slots.hold(lane)
        slots.begin(lane, now_s)
        slots.end(lane, now_s, 0.01)
        slots.take_changed()

    def share_shards(self) -> None:
        """Let another replica join."""
        self.membership.divide(self.heartbeat.replica, {self.heartbeat.replica, OTHER})

    @property
    def own_shard(self) -> int:
        return min(self.agenda.shards.own)

    @property
    def foreign_shard(self) -> int:
        return min(set(range(SHARDS)) - self.agenda.shards.own)

    def due(self, in_s: float = 0.0, *, shard: int = 0) -> DueTimer:
        """Make up a timer that no row stands for."""
        due_at = self.clock.now() + timedelta(seconds=in_s)
        return DueTimer(due_at, new_timer(shard=shard).id, PROMPT)

    async def create(
        self, in_s: float = 0.0, *, shard: int = 0, **changes: Unpack[SpecChange]
    ) -> DueTimer:
        """Write a timer's row; nobody knows of it yet."""
        now = self.clock.now()
        changes["execute_at"] = now + timedelta(seconds=in_s)
        timer = new_timer(shard=shard, **changes)
        await self.database.create([timer], now)
        return due_timer(timer)

    async def fire(self, firing: Firing) -> None:
        """Fire a timer, and return when its callback has ended."""
        async with trio.open_nursery() as callbacks:
            self.firer.fire(firing, callbacks)

    async def claim(self, due: DueTimer) -> ClaimedTimer:
        """Claim a timer for this replica, past the claimer; it holds a slot from now on."""
        self.agenda.slots.hold(due.lane)
        claim = Claim(self._random_bits(63))
        now = self.clock.now()
        reply = await self.database.claim(
            self.heartbeat.replica, claim, [due.id], max(now, due.due_at), now
        )
        (timer,) = reply.claimed
        return timer

    async def prepare(self, in_s: float = 0.0, **changes: Unpack[SpecChange]) -> Firing:
        """Make a claimed timer ready to be fired."""
        due = await self.create(in_s, **changes)
        return self.firer.prepare(await self.claim(due), due, self.heartbeat.replica)

    async def failure(self) -> tuple[Failed, DueTimer]:
        """Make a claimed timer that cannot be fired, and what is to be written of it."""
        due = await self.create()
        timer = await self.claim(due)
        return unreadable(timer.id, timer.claim, "no timer"), due

    def on_agenda(self) -> list[DueTimer]:
        """Take all that is to be claimed from the agenda, in its order."""
        cache = self.agenda.cache
        return [cache.take() for _ in range(len(cache)) if cache.peek()]

    async def status(self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT) -> Status:
        return (await self.database.get(timer_id, project)).status

    async def outcome(self, timer_id: TimerId) -> tuple[Status, str | None]:
        """Read how a timer stands once all outcomes are written."""
        await self.settler.wait_empty()
        timer = await self.database.get(timer_id)
        return timer.status, timer.last_error

    def sample(self, name: str, **labels: str) -> float | None:
        """Read a metric."""
        return self.metrics.registry.get_sample_value(f"timer_trio_{name}", labels)


@asynccontextmanager
async def open_parts(sizes: Sizes) -> AsyncIterator[Parts]:
    async with trio.open_nursery() as nursery:
        parts = Parts(nursery, sizes)
        await parts.start()
        yield parts
        nursery.cancel_scope.cancel()


def open_cache(agenda: Agenda) -> None:
    """Let the cache take whatever is due, as after a load of the whole window."""
    agenda.cache.open_until(datetime(2100, 1, 1, tzinfo=UTC))
