"""The stages over one database: made and known to each other, and the order of their end.

A process has such a set for each cell, and they share the slots, the transport, the metrics and the
API: what a database that is away keeps from going on is its own set alone.

Nesting order is stop order: what is needed longest is outermost. ::

    writers    outcomes, hints: until all that they are told is written
      stages   heartbeat, rules, loader, planner, what is fired: until the last outcome is written
        callbacks  launcher, firer, a task for each callback: until the last answer
          claims     claimer: until the last claim is answered
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Final, NoReturn

import structlog
import trio

from timer_trio import __version__
from timer_trio.alarm import Alarm, TrioAlarm
from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.cluster.hints import Hints
from timer_trio.cluster.membership import Membership
from timer_trio.config import Settings
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.callback import Caller
from timer_trio.delivery.claim_asker import ClaimAsker
from timer_trio.delivery.claimer import Claimer
from timer_trio.delivery.claims import Claims
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.flow_keeper import FlowKeeper
from timer_trio.delivery.launcher import Launcher
from timer_trio.delivery.leftovers import Leftovers
from timer_trio.delivery.lines import Lines
from timer_trio.delivery.loader import Loader
from timer_trio.delivery.probe_keeper import ProbeKeeper
from timer_trio.delivery.rule_keeper import RuleKeeper
from timer_trio.delivery.settler import Settler
from timer_trio.delivery.signing import SigningKeys
from timer_trio.domain.breaker import Breakers
from timer_trio.domain.cache import Cache
from timer_trio.domain.cells import ALL, Cell, CellMap, CellNumber
from timer_trio.domain.flows import Flows
from timer_trio.domain.gates import Gates
from timer_trio.domain.lately import Lately
from timer_trio.domain.masking import Sensitive
from timer_trio.domain.membership import Identity, LeaseTimes, ReplicaStats
from timer_trio.domain.planning import Calendar
from timer_trio.domain.project import ProjectSettings
from timer_trio.domain.project_shares import ProjectShares
from timer_trio.domain.shards import Shards
from timer_trio.domain.slots import Slots
from timer_trio.lifecycle import Lifecycle, ended_by
from timer_trio.maintenance.attempt_rotation import AttemptRotation
from timer_trio.maintenance.audit_retention import AuditRetention
from timer_trio.maintenance.deleted_projects import DeletedProjects
from timer_trio.maintenance.quota_marks import QuotaMarks
from timer_trio.maintenance.retention import Retention
from timer_trio.run.holding import Holding
from timer_trio.run.presence import Presence
from timer_trio.run.start_paused import pause_all
from timer_trio.scheduler.planner import INTERVAL_S, Planner
from timer_trio.scheduler.replanning import Replanner
from timer_trio.storage import SigningStorage, Storage
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.record import Recorder
from timer_trio.telemetry.tracing import Tracing
from timer_trio.transport import Transport

LAST_WRITES_S: Final = 5.0
"""How long a stop waits for the last outcomes to be written, beyond the callbacks' own grace."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A storage, the clock of its database, and what is known of that.

    `cell` names the shards that are in it. `prepare` is called before the replica joins, again and
    again while the database is away, and once more after that; `warnings` and `trouble` are for
    /health. `alone` says that no other replica can be alive, so what others still claim is freed at
    once. `encrypts`: what is written is nothing that replicas of the first release could read.
    """

    storage: Storage
    clock: Clock
    alone: bool
    cell: Cell = ALL
    prepare: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    warnings: Callable[[], Sequence[str]] = tuple
    trouble: Callable[[], str | None] = lambda: None
    encrypts: bool = False


@dataclass(frozen=True, slots=True)
class Chance:
    """Where random numbers and ids come from."""

    bits: Callable[[int], int] = secrets.randbits
    new_id: Callable[[], uuid.UUID] = uuid.uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the stages of all cells have in common.

    `on_held_back` hears of it while something waits for a slot or behind a gate, `on_settings` of
    what the default project has. `max_cached` is the part of one cell.
    """

    settings: Settings
    lifecycle: Lifecycle
    metrics: Metrics
    shares: ProjectShares
    transport: Transport
    recorder: Recorder
    calendar: Calendar
    sensitive: Sensitive
    tracing: Tracing | None
    on_held_back: Callable[[], None]
    on_settings: Callable[[ProjectSettings], None]
    max_cached: int
    new_alarm: Callable[[], Alarm] = TrioAlarm
    lease: LeaseTimes = LeaseTimes()  # noqa: RUF009 - frozen
    identity: Identity = Identity(version=__version__)  # noqa: RUF009 - frozen
    chance: Chance = Chance()
    cells: CellMap


async def deliver(
    claimer: Claimer,
    launcher: Launcher,
    firer: Firer,
    lifecycle: Lifecycle,
    on_claims_ended: Callable[[], None],
) -> None:
    """Fire timers until a stop: returns when its last callback has ended, or is cut.

    `on_claims_ended` is called when the last claim is answered; then begins `giving_back`.
    """
    async with ended_by(lifecycle.closed), trio.open_nursery() as callbacks:
        callbacks.start_soon(firer.give_back_unsent)
        callbacks.start_soon(launcher.run, callbacks)
        await claimer.run()
        on_claims_ended()


class Stages:
    """The stages over one database, from the table to the receiver and back.

    It is that of a cell, by its `number`. `slots` are the shared ones, as this claimer sees them.
    `signing` has what signs.
    """

    def __init__(
        self,
        number: CellNumber,
        database: Database,
        shared: Shared,
        slots: Slots,
        signing: SigningStorage,
    ) -> None:
        self.database = database
        self.give_up_s = inf
        """Until when the end waits for the database, by trio's clock, once it has come to that."""
        self._lifecycle = lifecycle = shared.lifecycle
        storage, clock = database.storage, database.clock
        settings, metrics, chance = shared.settings, shared.metrics, shared.chance
        cache = Cache(shared.max_cached, slots.is_unproven)
        shards = Shards(database.cell.shards)
        self.agenda = agenda = Agenda(
            cache=cache, slots=slots, gates=Gates(Flows(), Breakers()), shards=shards
        )
        agenda.report(metrics, clock)
        self.hints = Hints(
            storage=storage,
            clock=clock,
            agenda=agenda,
            window_s=settings.cache_window_s,
            on_break=self._look_for_leftovers,
        )
        self.planner = Planner(
            storage=storage,
            clock=clock,
            calendar=shared.calendar,
            replanner=Replanner(
                storage=storage, clock=clock, calendar=shared.calendar, offer=self.hints.offer
            ),
            shards=shards,
            offer=self.hints.offer,
            metrics=metrics,
            interval_s=max(INTERVAL_S, settings.loader_interval_s),
        )
        self.rules = rules = RuleKeeper(storage=storage, agenda=agenda, shares=shared.shares)
        self.membership = Membership(
            agenda, self.hints, self.planner.look, self._look_for_leftovers
        )
        self._holding = Holding(
            storage=storage, cells=shared.cells, number=number, membership=self.membership
        )
        self.heartbeat = heartbeat = Heartbeat(
            storage=storage,
            clock=clock,
            metrics=metrics,
            times=shared.lease,
            membership=self.membership,
            stats=lambda: ReplicaStats(
                in_flight=slots.in_use, cached=len(cache), clock_offset_s=clock.machine_offset_s
            ),
            identity=shared.identity,
            new_id=chance.new_id,
            on_settings=shared.on_settings,
            on_rules=rules.note_version,
        )
        self._flow_keeper = flow_keeper = FlowKeeper(
            storage=storage, clock=clock, agenda=agenda, heartbeat=heartbeat, rules=rules
        )
        self._probe_keeper = ProbeKeeper(
            storage=storage, clock=clock, agenda=agenda, heartbeat=heartbeat
        )
        lately = Lately()
        self.settler = settler = Settler(
            storage=storage,
            clock=clock,
            metrics=metrics,
            lately=lately,
            on_superseded=self._note_superseded,
        )
        self._keys = keys = SigningKeys(
            storage=signing,
            clock=clock,
            is_busy=lambda: slots.in_use > 0,
            random_bits=chance.bits,
        )
        lines = Lines()
        self._firer = firer = Firer(
            lifecycle=lifecycle,
            clock=clock,
            heartbeat=heartbeat,
            agenda=agenda,
            settler=settler,
            caller=Caller(shared.transport, settings.response_body_bytes),
            recorder=shared.recorder,
            lines=lines,
            keys=keys,
            offer=self.hints.offer_again,
            sensitive=shared.sensitive,
            tracing=shared.tracing,
        )
        self._launcher = launcher = Launcher(
            lifecycle=lifecycle,
            clock=clock,
            firer=firer,
            lines=lines,
            alarm=shared.new_alarm(),
            together_s=settings.fire_together_s,
        )
        claims = Claims(
            lifecycle=lifecycle,
            storage=storage,
            clock=clock,
            agenda=agenda,
            heartbeat=heartbeat,
            launcher=launcher,
            firer=firer,
            asker=ClaimAsker(
                storage=storage,
                clock=clock,
                heartbeat=heartbeat,
                metrics=metrics,
                flows=agenda.gates.flows,
                reach_s=settings.claim_reach_s,
                tracing=shared.tracing,
                random_bits=chance.bits,
            ),
            sensitive=shared.sensitive,
            keys=keys,
            lately=lately,
        )
        self._claimer = Claimer(
            lifecycle=lifecycle,
            clock=clock,
            agenda=agenda,
            heartbeat=heartbeat,
            settler=settler,
            claims=claims,
            rules=rules,
            flow_keeper=flow_keeper,
            lines=lines,
            on_held_back=shared.on_held_back,
            ahead_s=settings.claim_ahead_s,
            reach_s=settings.claim_reach_s,
        )
        self._loader = Loader(
            storage=storage,
            clock=clock,
            agenda=agenda,
            interval_s=settings.loader_interval_s,
            window_s=settings.cache_window_s,
        )
        self._leftovers = Leftovers(
            storage=storage,
            clock=clock,
            agenda=agenda,
            heartbeat=heartbeat,
            claims=claims,
            settler=settler,
            lately=lately,
            offer=self.hints.offer_again,
        )
        claims.on_claim = self._leftovers.note_claim
        self._presence = Presence(
            heartbeat=heartbeat,
            shards=shards,
            prepare=self._prepare,
            alone=database.alone,
            begin=self._pause_all if settings.start_paused else trio.lowlevel.checkpoint,
        )
        self.quota_marks = QuotaMarks(storage=storage)
        self._deleted_projects = DeletedProjects(storage=storage, clock=clock)
        self._rotation = AttemptRotation(
            storage=storage, clock=clock, keep=timedelta(days=settings.attempt_retention_days)
        )
        self._audit_retention = AuditRetention(
            storage=storage, clock=clock, keep=timedelta(days=settings.audit_days)
        )
        days = settings.retention_days
        self._retention = Retention(
            storage=storage,
            clock=clock,
            metrics=metrics,
            keep=None if days is None else timedelta(days=days),
        )

    @property
    def shards(self) -> Shards:
        """Those of its cell, and which of them are its own."""
        return self.agenda.shards

    @property
    def is_connected(self) -> bool:
        """Whether the database answers."""
        return self.heartbeat.is_connected

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way, and nothing will be until its clock is set or it is asked.

        It holds where all tasks are blocked, on a clock that stands.
        """
        return self.agenda.is_at_rest and not len(self.settler)

    async def write(self) -> NoReturn:
        """Write outcomes and hints, until cancelled: after all that makes any has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.settler.run)
            nursery.start_soon(self.hints.tell_forever)
        raise AssertionError("neither of them ends")

    async def work(self, on_claims_ended: Callable[[], None]) -> int:
        """Work until a stop is over; answers how many outcomes the database did not take in time.

        `on_claims_ended` is called when nothing is claimed any more.
        """
        if not await self._join():
            on_claims_ended()
            return 0
        async with trio.open_nursery() as stages:
            stages.start_soon(self._presence.keep)
            stages.start_soon(self._holding.follow)
            stages.start_soon(self.hints.listen_forever)
            stages.start_soon(self._keys.run)
            stages.start_soon(self.rules.run)
            stages.start_soon(self._flow_keeper.run)
            stages.start_soon(self._leftovers.run)
            stages.start_soon(self._probe_keeper.run)
            stages.start_soon(self._rotation.run)
            stages.start_soon(self.planner.run)
            async with ended_by(self._lifecycle.handing_over):
                await stages.start(self._loader.run)
                self._lifecycle.running.set()
            stages.start_soon(self._retention.run)
            stages.start_soon(self._audit_retention.run)
            stages.start_soon(self._deleted_projects.run)
            stages.start_soon(self.quota_marks.run)
            await deliver(
                self._claimer, self._launcher, self._firer, self._lifecycle, on_claims_ended
            )
            await self._write_last_outcomes()
            # No beat may find the row gone after the end: it would write a new one.
            stages.cancel_scope.cancel()
        await self._leave()
        return len(self.settler)

    async def hand_over(self) -> None:
        """Own no shard any more, and stay as long as others are there to take them over."""
        if self._presence.has_joined:
            await self._presence.hand_over()

    async def tell_last_hints(self) -> None:
        """Tell the others of what was created last, and what to read."""
        # Who has joined since the last heartbeat does not know of what was created since.
        self.hints.hand_over(self.agenda.shards.own)
        await self.hints.tell()

    def _look_for_leftovers(self) -> None:
        self._leftovers.look()

    def _note_superseded(self) -> None:
        """Look what became of timers whose claims have been found not to stand any more."""
        self._leftovers.look()
        self.agenda.refill.ask_near()

    async def _prepare(self) -> None:
        await self.database.prepare()
        await self._holding.begin()

    async def _join(self) -> bool:
        """Join the others; answers whether that came before a stop."""
        async with ended_by(self._lifecycle.handing_over):
            await self._presence.join()
        return self._presence.has_joined

    async def _write_last_outcomes(self) -> None:
        self.give_up_s = trio.current_time() + LAST_WRITES_S
        with trio.move_on_at(self.give_up_s):
            await self.settler.wait_empty()

    async def _leave(self) -> None:
        with trio.move_on_at(self.give_up_s) as leaving:
            await self._presence.end()
        if leaving.cancelled_caught:
            log.warning("left_without_notice", reason="the database is away")

    async def _pause_all(self) -> None:
        await pause_all(self.database.storage, self.database.clock.now())
