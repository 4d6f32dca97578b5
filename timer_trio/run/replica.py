"""One replica of the service: the stages of all its cells, what they share, and its API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime

import trio
from quart_trio import QuartTrio

from timer_trio import __version__, console
from timer_trio.access.audit_log import AuditLog
from timer_trio.access.key_ring import KeyRing
from timer_trio.access.key_uses import KeyUses
from timer_trio.access.project_end import ProjectEnd
from timer_trio.alarm import Alarm, TrioAlarm
from timer_trio.api import ApiContext, CellHealth, ClockControl, create_app
from timer_trio.calendar import instants, zone_data_version
from timer_trio.clock import Clock, FirstClock
from timer_trio.cluster.hints import HINTS_LOST_WARNING
from timer_trio.cluster.releases import Releases
from timer_trio.config import Settings
from timer_trio.delivery.agenda import destinations_now
from timer_trio.delivery.claimer import MAX_OPEN
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.cells import CellMap, CellNumber
from timer_trio.domain.masking import sensitive_headers
from timer_trio.domain.membership import Identity, LeaseTimes
from timer_trio.domain.planning import Calendar
from timer_trio.domain.project_shares import ProjectShares
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import DueTimer, ReplicaId
from timer_trio.intake.bulk import BulkWriter
from timer_trio.intake.intake import Intake
from timer_trio.intake.places import Places
from timer_trio.intake.redrive import Redriver
from timer_trio.intake.schedules import Schedules
from timer_trio.lifecycle import Lifecycle
from timer_trio.maintenance.cell_union import CellUnion
from timer_trio.run.stages import Chance, Database, Shared, Stages
from timer_trio.run.supervisor import Parts, Serve, Supervisor
from timer_trio.scheduler.replanning import Replanner
from timer_trio.storage import ApiStorage
from timer_trio.storage.routed import FollowingSigning, RoutedStorage
from timer_trio.telemetry.destinations import DestinationReports
from timer_trio.telemetry.exposition import exposed
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.record import Recorder
from timer_trio.telemetry.tracing import Collector, Tracing
from timer_trio.transport import Transport


def _show_limits(metrics: Metrics, settings: Settings) -> None:
    most = settings.max_in_flight_per_destination
    metrics.limit("in_flight", "MAX_IN_FLIGHT, or less", settings.max_in_flight)
    metrics.limit("in_flight_per_destination", "MAX_IN_FLIGHT_PER_DESTINATION, or less", most)
    metrics.limit("unsettled", "In flight and unsettled: beyond it nothing is claimed", MAX_OPEN)
    metrics.limit("cached", "CACHE_MAX_TIMERS", settings.cache_max_timers)
    metrics.limit("request_body_bytes", "MAX_BODY_BYTES", settings.max_body_bytes)
    metrics.limit("response_body_bytes", "RESPONSE_BODY_BYTES", settings.response_body_bytes)


class Replica:
    """The stages of one process over its databases, and the API before them."""

    def __init__(
        self,
        settings: Settings,
        databases: Sequence[Database],
        *,
        transport: Transport,
        new_alarm: Callable[[], Alarm] = TrioAlarm,
        lease: LeaseTimes = LeaseTimes(),  # noqa: B008 - frozen
        identity: Identity = Identity(version=__version__),  # noqa: B008 - frozen
        chance: Chance = Chance(),  # noqa: B008 - frozen
        collector: Collector | None = None,
    ) -> None:
        """Wire the parts together; `databases` are those of all cells, in their order.

        `new_alarm` makes one for each of them.
        """
        self._settings = settings
        self._cells = cells = CellMap([database.cell for database in databases])
        self._lifecycle = lifecycle = Lifecycle()
        self._metrics = metrics = Metrics()
        self._clock = clock = _clock_of(databases)
        first = databases[0].storage
        storage: ApiStorage = first
        self._union = None
        if not cells.is_single:
            storages = [database.storage for database in databases]
            storage = routed = RoutedStorage(cells, storages, self._is_connected, cells.is_known)
            self._union = CellUnion(cells, routed.unite, self._is_connected)
        self._storage = storage
        self._tracing = tracing = (
            None if collector is None else Tracing(collector, clock, chance.bits)
        )
        self._calendar = calendar = Calendar(instants, zone_data_version())
        self._sensitive = sensitive_headers(settings.sensitive_headers)
        self._key_ring = key_ring = KeyRing(storage)
        shares = ProjectShares(lambda: self.living)
        slots = Slots(settings.max_in_flight, settings.max_in_flight_per_destination, shares)
        metrics.in_flight.set_function(lambda: slots.in_use)
        _show_limits(metrics, settings)
        self._destinations = destinations = DestinationReports(
            storage=first,
            clock=databases[0].clock,
            metrics=metrics,
            replica=lambda: self._stages[0].heartbeat.replica,
            gauges=lambda: destinations_now([each.agenda for each in self._stages], clock.now()),
        )
        self._recorder = Recorder(metrics, destinations.count, tracing)
        shared = Shared(
            settings=settings,
            lifecycle=lifecycle,
            metrics=metrics,
            shares=shares,
            transport=transport,
            recorder=self._recorder,
            calendar=calendar,
            sensitive=self._sensitive,
            tracing=tracing,
            on_held_back=destinations.stir,
            on_settings=key_ring.note_default_settings,
            max_cached=settings.cache_max_timers // len(cells),
            new_alarm=new_alarm,
            lease=lease,
            identity=identity,
            chance=chance,
            cells=cells,
        )
        self._stages = [
            Stages(
                CellNumber(number),
                database,
                shared,
                slots.beside() if number else slots,
                FollowingSigning(database.storage, first) if number else first,
            )
            for number, database in enumerate(databases)
        ]
        self._releases = releases = Releases(
            *(database.storage for database in databases),
            is_connected=lambda cell: cells.is_single or self._is_connected(cell),
        )
        places = Places(cells, self._stages, chance.bits)
        self._replanner = Replanner(
            storage=storage, clock=clock, calendar=calendar, offer=self._offer
        )
        self._redriver = Redriver(
            storage=storage, clock=clock, offer=self._offer, releases=releases
        )
        self._bulk_writer = BulkWriter(
            storage=storage, clock=clock, offer=self._offer, metrics=metrics, releases=releases
        )
        self._intake = Intake(
            storage=storage,
            clock=clock,
            offer=self._offer,
            metrics=metrics,
            releases=releases,
            places=places,
            window_s=settings.cache_window_s,
            encrypts=any(database.encrypts for database in databases),
            random_bits=chance.bits,
        )
        self._schedules = Schedules(
            storage=storage,
            clock=clock,
            calendar=calendar,
            offer=self._offer,
            expect=self._expect,
            releases=releases,
            places=places,
            random_bits=chance.bits,
        )
        self._key_uses = KeyUses(storage)
        self._project_end = ProjectEnd(storage=storage, clock=clock, key_ring=key_ring)
        self._audit_log = AuditLog(
            storage=storage,
            clock=clock,
            is_kept=settings.audit_days > 0,
            new_id=chance.new_id,
        )

    @property
    def database_connected(self) -> bool:
        """Whether a database answers."""
        return any(stages.is_connected for stages in self._stages)

    @property
    def cells(self) -> Sequence[CellHealth]:
        """How each cell is, if there are several."""
        if self._cells.is_single:
            return ()
        return [CellHealth(str(each.database.cell), each.is_connected) for each in self._stages]

    @property
    def living(self) -> int:
        """How many replicas live, this one included, as the last heartbeats have read it."""
        return max(stages.heartbeat.living for stages in self._stages)

    @property
    def trouble(self) -> str | None:
        """What a database is there for and does not do now, in words for an operator."""
        return next(filter(None, (each.database.trouble() for each in self._stages)), None)

    @property
    def ready(self) -> bool:
        """Whether the first load is done, the database answers and no stop has begun."""
        is_working = self._lifecycle.running.is_set() and not self._lifecycle.handing_over.is_set()
        return is_working and self.database_connected

    @property
    def warnings(self) -> Sequence[str]:
        """What weakens the promises, in words for an operator."""
        told = dict.fromkeys(words for each in self._stages for words in each.database.warnings())
        are_lost = any(stages.hints.are_lost for stages in self._stages)
        return [*told, *([HINTS_LOST_WARNING] if are_lost else []), *self._cell_warnings()]

    @property
    def metrics(self) -> Metrics:
        """The instruments, for those who serve its API."""
        return self._metrics

    @property
    def lifecycle(self) -> Lifecycle:
        """How far it is, for those who stop it."""
        return self._lifecycle

    @property
    def replica_ids(self) -> Sequence[ReplicaId]:
        """Which replica this is, in each cell; another one once it has joined anew."""
        return [stages.heartbeat.replica for stages in self._stages]

    async def wait_loaded(self) -> None:
        """Return when the first load is done."""
        await self._lifecycle.running.wait()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way, and nothing will be until its clock is set or it is asked.

        It holds where all tasks are blocked, on a clock that stands.
        """
        return all(stages.is_at_rest for stages in self._stages)

    def look_anew(self) -> None:
        """Look at all anew: its clock was set."""
        for stages in self._stages:
            stages.membership.resume()

    def hurry(self) -> None:
        """Write outcomes now, without waiting for others that could be written with them."""
        for stages in self._stages:
            stages.settler.hurry()

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
                storage=self._storage,
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
                clock=self._clock,
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
                living=lambda: self.living,
                sensitive=self._sensitive,
                rules_changed=self._look_at_rules,
                on_quota_set=self._mark_counted,
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
            stages=self._stages,
            recorder=self._recorder,
            destinations=self._destinations,
            intake=self._intake,
            key_uses=self._key_uses,
            audit_log=self._audit_log,
            union=self._union,
        )
        grace_s = self._settings.shutdown_grace_s
        await Supervisor(parts, self._lifecycle, grace_s=grace_s).run(serve, task_status)

    def _cell_warnings(self) -> Iterator[str]:
        for number, cell in enumerate(self.cells):
            if number not in self._cells.numbers:
                yield f"cell {cell.name} has no timers yet: timer-trio cells split moves them there"
            elif not cell.is_connected:
                yield f"cell {cell.name} is away"

    def _is_connected(self, cell: CellNumber) -> bool:
        return self._stages[cell].is_connected

    def _offer(self, timers: Iterable[DueTimer]) -> None:
        """Hand on timers that were created or moved, each to the stages of its cell."""
        if self._cells.is_single:
            self._stages[0].hints.offer(timers)
            return
        parts: list[list[DueTimer]] = [[] for _ in self._stages]
        for timer in timers:
            parts[self._cells.of_timer(timer.id)].append(timer)
        for stages, part in zip(self._stages, parts, strict=True):
            if part:
                stages.hints.offer(part)

    def _expect(self, plan_at: datetime) -> None:
        for stages in self._stages:
            stages.planner.expect(plan_at)

    def _look_at_rules(self) -> None:
        for stages in self._stages:
            stages.rules.look()

    def _mark_counted(self) -> None:
        for stages in self._stages:
            stages.quota_marks.look()


def _clock_of(databases: Sequence[Database]) -> Clock:
    clocks = [database.clock for database in databases]
    return clocks[0] if len(clocks) == 1 else FirstClock(clocks)
