"""One replica: its parts wired together."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
import trio
from quart_trio import QuartTrio

from timer_trio import __version__, console
from timer_trio.access.audit_log import AuditLog
from timer_trio.access.key_ring import KeyRing
from timer_trio.access.key_uses import KeyUses
from timer_trio.access.project_end import ProjectEnd
from timer_trio.alarm import Alarm, TrioAlarm
from timer_trio.api import ApiContext, ClockControl, create_app
from timer_trio.calendar import instants, zone_data_version
from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.cluster.hints import HINTS_LOST_WARNING, Hints
from timer_trio.cluster.membership import Membership
from timer_trio.cluster.releases import Releases
from timer_trio.config import Settings
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.callback import Caller
from timer_trio.delivery.claim_asker import ClaimAsker
from timer_trio.delivery.claimer import MAX_OPEN, Claimer
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
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.breaker import Breakers
from timer_trio.domain.cache import Cache
from timer_trio.domain.flows import Flows
from timer_trio.domain.gates import Gates
from timer_trio.domain.lately import Lately
from timer_trio.domain.masking import sensitive_headers
from timer_trio.domain.membership import Identity, LeaseTimes, ReplicaStats
from timer_trio.domain.planning import Calendar
from timer_trio.domain.project_shares import ProjectShares
from timer_trio.domain.shards import Shards
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import ReplicaId
from timer_trio.intake.bulk import BulkWriter
from timer_trio.intake.intake import Intake
from timer_trio.intake.redrive import Redriver
from timer_trio.intake.schedules import Schedules
from timer_trio.lifecycle import Lifecycle
from timer_trio.maintenance.attempt_rotation import AttemptRotation
from timer_trio.maintenance.audit_retention import AuditRetention
from timer_trio.maintenance.deleted_projects import DeletedProjects
from timer_trio.maintenance.quota_marks import QuotaMarks
from timer_trio.maintenance.retention import Retention
from timer_trio.run.presence import Presence
from timer_trio.run.start_paused import pause_all
from timer_trio.run.supervisor import Parts, Serve, Supervisor
from timer_trio.scheduler.planner import INTERVAL_S, Planner
from timer_trio.scheduler.replanning import Replanner
from timer_trio.storage import Storage
from timer_trio.telemetry.destinations import DestinationReports
from timer_trio.telemetry.exposition import exposed
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.record import Recorder
from timer_trio.telemetry.tracing import Collector, Tracing
from timer_trio.transport import Transport

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A storage, the clock of its database, and what is known of that.

    `prepare` is called before the replica joins, again and again while the database is away, and
    once more after that; `warnings` and `trouble` are for /health. `alone` says that no other
    replica can be alive, so what others still claim is freed at once. `encrypts`: what is written
    is nothing that replicas of the first release could read.
    """

    storage: Storage
    clock: Clock
    alone: bool
    prepare: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    warnings: Callable[[], Sequence[str]] = tuple
    trouble: Callable[[], str | None] = lambda: None
    encrypts: bool = False


def _show_limits(metrics: Metrics, settings: Settings) -> None:
    most = settings.max_in_flight_per_destination
    metrics.limit("in_flight", "MAX_IN_FLIGHT, or less", settings.max_in_flight)
    metrics.limit("in_flight_per_destination", "MAX_IN_FLIGHT_PER_DESTINATION, or less", most)
    metrics.limit("unsettled", "In flight and unsettled: beyond it nothing is claimed", MAX_OPEN)
    metrics.limit("cached", "CACHE_MAX_TIMERS", settings.cache_max_timers)
    metrics.limit("request_body_bytes", "MAX_BODY_BYTES", settings.max_body_bytes)
    metrics.limit("response_body_bytes", "RESPONSE_BODY_BYTES", settings.response_body_bytes)


@dataclass(frozen=True, slots=True)
class Chance:
    """Where random numbers and ids come from."""

    bits: Callable[[int], int] = secrets.randbits
    new_id: Callable[[], uuid.UUID] = uuid.uuid4


class Replica:
    """The stages of one process over one database: its parts, made and known to each other."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        transport: Transport,
        alarm: Alarm | None = None,
        lease: LeaseTimes = LeaseTimes(),  # noqa: B008 - frozen
        identity: Identity = Identity(version=__version__),  # noqa: B008 - frozen
        chance: Chance = Chance(),
        collector: Collector | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        storage, clock = database.storage, database.clock
        self._lifecycle = lifecycle = Lifecycle()
        self._metrics = metrics = Metrics()
        self._tracing = tracing = (
            None if collector is None else Tracing(collector, clock, chance.bits)
        )
        shares = ProjectShares(lambda: self._heartbeat.living)
        slots = Slots(settings.max_in_flight, settings.max_in_flight_per_destination, shares)
        cache = Cache(settings.cache_max_timers, slots.is_unproven)
        self._agenda = agenda = Agenda(
            cache=cache, slots=slots, gates=Gates(Flows(), Breakers()), shards=Shards()
        )
        agenda.report(metrics, clock)
        _show_limits(metrics, settings)
        self._hints = Hints(
            storage=storage,
            clock=clock,
            agenda=agenda,
            window_s=settings.cache_window_s,
            on_break=self._look_for_leftovers,
        )
        self._calendar = calendar = Calendar(instants, zone_data_version())
        self._replanner = Replanner(
            storage=storage, clock=clock, calendar=calendar, offer=self._hints.offer
        )
        self._planner = Planner(
            storage=storage,
            clock=clock,
            calendar=calendar,
            replanner=self._replanner,
            shards=agenda.shards,
            offer=self._hints.offer,
            metrics=metrics,
            interval_s=max(INTERVAL_S, settings.loader_interval_s),
        )
        self._rules = rules = RuleKeeper(storage=storage, agenda=agenda, shares=shares)
        self._key_ring = KeyRing(storage)
        self._membership = Membership(
            agenda, self._hints, self._planner.look, self._look_for_leftovers
        )
        self._heartbeat = Heartbeat(
            storage=storage,
            clock=clock,
            metrics=metrics,
            times=lease,
            membership=self._membership,
            stats=lambda: ReplicaStats(
                in_flight=slots.in_use, cached=len(cache), clock_offset_s=clock.machine_offset_s
            ),
            identity=identity,
            new_id=chance.new_id,
            on_settings=self._key_ring.note_default_settings,
            on_rules=rules.note_version,
        )
        self._flow_keeper = flow_keeper = FlowKeeper(
            storage=storage, clock=clock, agenda=agenda, heartbeat=self._heartbeat, rules=rules
        )
        self._probe_keeper = ProbeKeeper(
            storage=storage, clock=clock, agenda=agenda, heartbeat=self._heartbeat
        )
        self._destinations = DestinationReports(
            storage=storage,
            clock=clock,
            metrics=metrics,
            replica=lambda: self._heartbeat.replica,
            gauges=lambda: agenda.destinations(clock),
        )
        self._recorder = Recorder(metrics, self._destinations.count, tracing)
        self._sensitive = sensitive_headers(settings.sensitive_headers)
        lately = Lately()
        self._settler = Settler(
            storage=storage,
            clock=clock,
            metrics=metrics,
            lately=lately,
            on_superseded=self._note_superseded,
        )
        self._keys = keys = SigningKeys(
            storage=storage,
            clock=clock,
            is_busy=lambda: slots.in_use > 0,
            random_bits=chance.bits,
        )
        lines = Lines()
        self._firer = firer = Firer(
            lifecycle=lifecycle,
            clock=clock,
            heartbeat=self._heartbeat,
            agenda=agenda,
            settler=self._settler,
            caller=Caller(transport, settings.response_body_bytes),
            recorder=self._recorder,
            lines=lines,
            keys=keys,
            offer=self._hints.offer_again,
            sensitive=self._sensitive,
            tracing=tracing,
        )
        self._launcher = launcher = Launcher(
            lifecycle=lifecycle,
            clock=clock,
            firer=firer,
            lines=lines,
            alarm=alarm or TrioAlarm(),
            together_s=settings.fire_together_s,
        )
        claims = Claims(
            lifecycle=lifecycle,
            storage=storage,
            clock=clock,
            agenda=agenda,
            heartbeat=self._heartbeat,
            launcher=launcher,
            firer=firer,
            asker=ClaimAsker(
                storage=storage,
                clock=clock,
                heartbeat=self._heartbeat,
                metrics=metrics,
                flows=agenda.gates.flows,
                reach_s=settings.claim_reach_s,
                tracing=tracing,
                random_bits=chance.bits,
            ),
            sensitive=self._sensitive,
            keys=keys,
            lately=lately,
        )
        self._claimer = Claimer(
            lifecycle=lifecycle,
            clock=clock,
            agenda=agenda,
            heartbeat=self._heartbeat,
            settler=self._settler,
            claims=claims,
            rules=rules,
            flow_keeper=flow_keeper,
            on_held_back=self._destinations.stir,
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
            heartbeat=self._heartbeat,
            claims=claims,
            settler=self._settler,
            lately=lately,
            offer=self._hints.offer_again,
        )
        self._releases = releases = Releases(storage)
        self._redriver = Redriver(
            storage=storage, clock=clock, offer=self._hints.offer, releases=releases
        )
        self._bulk_writer = BulkWriter(
            storage=storage,
            clock=clock,
            offer=self._hints.offer,
            metrics=metrics,
            releases=releases,
        )
        self._intake = Intake(
            storage=storage,
            clock=clock,
            offer=self._hints.offer,
            metrics=metrics,
            releases=releases,
            shards=agenda.shards,
            window_s=settings.cache_window_s,
            encrypts=database.encrypts,
            random_bits=chance.bits,
        )
        self._schedules = Schedules(
            storage=storage,
            clock=clock,
            calendar=calendar,
            offer=self._hints.offer,
            expect=self._planner.expect,
            releases=releases,
            shards=agenda.shards,
            random_bits=chance.bits,
        )
        self._key_uses = KeyUses(storage)
        self._project_end = ProjectEnd(storage=storage, clock=clock, key_ring=self._key_ring)
        self._deleted_projects = DeletedProjects(storage=storage, clock=clock)
        self._quota_marks = QuotaMarks(storage=storage)
        self._rotation = AttemptRotation(
            storage=storage,
            clock=clock,
            keep=timedelta(days=settings.attempt_retention_days),
        )
        self._audit_log = AuditLog(
            storage=storage,
            clock=clock,
            is_kept=settings.audit_days > 0,
            new_id=chance.new_id,
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
    def database_connected(self) -> bool:
        return self._heartbeat.is_connected

    @property
    def trouble(self) -> str | None:
        """What the database is there for and does not do now, in words for an operator."""
        return self._database.trouble()

    @property
    def ready(self) -> bool:
        """Whether the first load is done, the database answers and no stop has begun."""
        is_working = self._lifecycle.running.is_set() and not self._lifecycle.handing_over.is_set()
        return is_working and self.database_connected

    @property
    def warnings(self) -> Sequence[str]:
        """What weakens the promises, in words for an operator."""
        return [*self._database.warnings(), *([HINTS_LOST_WARNING] if self._hints.are_lost else [])]

    @property
    def metrics(self) -> Metrics:
        """The instruments, for those who serve its API."""
        return self._metrics

    @property
    def lifecycle(self) -> Lifecycle:
        """How far it is, for those who stop it."""
        return self._lifecycle

    @property
    def replica_id(self) -> ReplicaId:
        """Which replica this is; another one once it has joined anew."""
        return self._heartbeat.replica

    async def wait_loaded(self) -> None:
        """Return when the first load is done."""
        await self._lifecycle.running.wait()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way, and nothing will be until its clock is set or it is asked.

        It holds where all tasks are blocked, on a clock that stands.
        """
        return self._agenda.is_at_rest and not len(self._settler)

    def look_anew(self) -> None:
        """Look at all anew: its clock was set."""
        self._membership.resume()

    def hurry(self) -> None:
        """Write outcomes now, without waiting for others that could be written with them."""
        self._settler.hurry()

    async def metrics_text(self) -> bytes:
        """Say in Prometheus' words what this replica has to show."""
        return await exposed(self._metrics.registry.collect())

    def create_app(
        self,
        api_key: str,
        clock_control: ClockControl | None = None,
        metrics_text: Callable[[], Awaitable[bytes]] | None = None,
    ) -> QuartTrio:
        """Make the API of this replica.

        `clock_control`: that can be asked for as well. `metrics_text` tells of others, too.
        """
        return create_app(
            ApiContext(
                storage=self._database.storage,
                intake=self._intake,
                redriver=self._redriver,
                bulk_writer=self._bulk_writer,
                schedules=self._schedules,
                replanner=self._replanner,
                calendar=self._calendar,
                key_ring=self._key_ring,
                key_uses=self._key_uses,
                audit_log=self._audit_log,
                project_end=self._project_end,
                clock=self._database.clock,
                health=self,
                metrics=self._metrics,
                metrics_text=metrics_text or self.metrics_text,
                api_key=api_key,
                root_path=self._settings.root_path,
                max_body_bytes=self._settings.max_body_bytes,
                max_metadata_keys=self._settings.max_metadata_keys,
                default_timeout_s=self._settings.callback_timeout_s,
                default_misfire_grace_s=self._settings.misfire_grace_s,
                guard=AddressGuard(self._settings.callback_allow),
                releases=self._releases,
                living=lambda: self._heartbeat.living,
                sensitive=self._sensitive,
                rules_changed=self._rules.look,
                on_quota_set=self._quota_marks.look,
                stopping=self._lifecycle.handing_over,
                tracing=self._tracing,
                clock_control=clock_control,
                front_page=console.ROOT if self._settings.console else None,
            ),
            console.routes if self._settings.console else None,
        )

    def stop(self) -> None:
        """Stop in order; called again, wait no longer for others, callbacks or requests."""
        self._lifecycle.stop()

    async def run(
        self,
        serve: Serve | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Work until `stop`; started once the first load is done.

        Raises:
            OutcomesLostError: the database did not take the last outcomes in time.
        """
        parts = Parts(
            settler=self._settler,
            recorder=self._recorder,
            intake=self._intake,
            key_uses=self._key_uses,
            audit_log=self._audit_log,
            hints=self._hints,
            presence=self._presence(),
            loader=self._loader,
            planner=self._planner,
            claimer=self._claimer,
            launcher=self._launcher,
            firer=self._firer,
            keys=self._keys,
            rules=self._rules,
            flow_keeper=self._flow_keeper,
            leftovers=self._leftovers,
            probe_keeper=self._probe_keeper,
            rotation=self._rotation,
            retention=self._retention,
            audit_retention=self._audit_retention,
            deleted_projects=self._deleted_projects,
            destinations=self._destinations,
            quota_marks=self._quota_marks,
        )
        grace_s = self._settings.shutdown_grace_s
        await Supervisor(parts, self._lifecycle, grace_s=grace_s).run(serve, task_status)

    def _look_for_leftovers(self) -> None:
        self._leftovers.look()

    def _note_superseded(self) -> None:
        """Look what became of timers whose claims have been found not to stand any more."""
        self._leftovers.look()
        self._agenda.refill.ask_near()

    def _presence(self) -> Presence:
        return Presence(
            heartbeat=self._heartbeat,
            shards=self._agenda.shards,
            prepare=self._database.prepare,
            alone=self._database.alone,
            begin=self._pause_all if self._settings.start_paused else trio.lowlevel.checkpoint,
        )

    async def _pause_all(self) -> None:
        await pause_all(self._database.storage, self._database.clock.now())
