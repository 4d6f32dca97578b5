"""One replica: its parts wired together, and the order in which they start and stop."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from math import inf
from typing import Final

import structlog
import trio
from quart_trio import QuartTrio

from timer_trio.api import ApiContext, create_app
from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import RETRY_INTERVAL_S, Heartbeat
from timer_trio.cluster.hints import DEAF_WARNING, Hints
from timer_trio.cluster.membership import Membership
from timer_trio.config import Settings
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.claimer import Claimer
from timer_trio.delivery.claims import Claims
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.launcher import Launcher
from timer_trio.delivery.loader import Loader
from timer_trio.delivery.settler import Settler
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.cache import Cache
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.membership import Identity, LeaseTimes, Vitals
from timer_trio.domain.shards import HANDOVER_S, Shards
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import ReplicaId
from timer_trio.intake.intake import Intake
from timer_trio.maintenance.retention import Retention
from timer_trio.storage import Storage
from timer_trio.storage.group_commit import repeat_until_answered
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.record import Recorder
from timer_trio.transport import Transport

LAST_WRITES_S: Final = 5.0
"""How long a stop waits for the last outcomes to be written, beyond the callbacks' own grace."""
LEAVE_S: Final = HANDOVER_S + 0.5
"""How long a replica leaves: what is due at the end of the hand-over is sent by then."""
LEAVE_POLL_S: Final = 0.05

Serve = Callable[[trio.Event, "trio.TaskStatus[None]"], Awaitable[None]]
"""A server that takes no more requests once the event is set, and ends with its last answer.

It starts without waiting for anything. Cancelled, it leaves requests unanswered."""

log = structlog.get_logger()


class OutcomesLostError(Exception):
    """The service stopped while outcomes were not written: those callbacks may be made again."""


class Replica:
    """The stages of one process over one storage.

    `prepare` is called before the storage is used, again and again while the database is away, and
    once more after that;
    `warnings` and `trouble` are for /health. `alone` says that no other replica can be alive, so
    what others still claim is freed at once.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        storage: Storage,
        clock: Clock,
        transport: Transport,
        alone: bool,
        prepare: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        warnings: Callable[[], Sequence[str]] = tuple,
        trouble: Callable[[], str | None] = lambda: None,
        lease: LeaseTimes = LeaseTimes(),  # noqa: B008 - frozen
        identity: Identity = Identity(),  # noqa: B008 - frozen
        random_bits: Callable[[int], int] = secrets.randbits,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._clock = clock
        self._prepare = prepare
        self._warnings = warnings
        self._trouble = trouble
        self._alone = alone
        self._stopping = trio.Event()
        self._closing = trio.Event()
        self._serving = trio.CancelScope()
        self._hurried = trio.Event()
        self._has_joined = False
        self._give_up_s = inf
        self._loaded = trio.Event()
        self._metrics = metrics = Metrics()
        slots = Slots(settings.max_in_flight, settings.max_in_flight_per_destination)
        cache = Cache(settings.cache_max_timers, slots.is_unproven)
        self._agenda = agenda = Agenda(cache=cache, slots=slots, shards=Shards())
        agenda.report(metrics, clock)
        self._hints = Hints(
            storage=storage, clock=clock, agenda=agenda, window_s=settings.cache_window_s
        )
        self._heartbeat = Heartbeat(
            storage=storage,
            clock=clock,
            metrics=metrics,
            times=lease,
            membership=Membership(agenda, self._hints),
            vitals=lambda: Vitals(
                in_flight=slots.in_use, cached=len(cache), clock_offset_s=clock.machine_offset_s
            ),
            identity=identity,
            new_id=new_id,
        )
        self._recorder = Recorder(metrics)
        self._settler = Settler(storage=storage, clock=clock, metrics=metrics)
        firer = Firer(
            clock=clock,
            heartbeat=self._heartbeat,
            agenda=agenda,
            settler=self._settler,
            transport=transport,
            recorder=self._recorder,
            offer=self._hints.offer,
        )
        launcher = Launcher(clock=clock, firer=firer)
        claims = Claims(
            storage=storage,
            clock=clock,
            agenda=agenda,
            heartbeat=self._heartbeat,
            launcher=launcher,
            metrics=metrics,
            reach_s=settings.claim_reach_s,
            random_bits=random_bits,
        )
        self._claimer = Claimer(
            clock=clock,
            agenda=agenda,
            heartbeat=self._heartbeat,
            settler=self._settler,
            claims=claims,
            launcher=launcher,
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
        self._intake = Intake(
            storage=storage,
            clock=clock,
            offer=self._hints.offer,
            metrics=metrics,
            shards=agenda.shards,
            window_s=settings.cache_window_s,
            random_bits=random_bits,
        )
        self._retention = _retention(settings.retention_days, storage, clock, metrics)

    @property
    def database_connected(self) -> bool:
        return self._heartbeat.is_connected

    @property
    def trouble(self) -> str | None:
        """What the database is there for and does not do now, in words for an operator."""
        return self._trouble()

    @property
    def ready(self) -> bool:
        """Whether the first load is done, the database answers and no stop has begun."""
        return self._loaded.is_set() and self.database_connected and not self._stopping.is_set()

    @property
    def warnings(self) -> Sequence[str]:
        """What weakens the promises, in words for an operator."""
        return [*self._warnings(), *([DEAF_WARNING] if self._hints.is_deaf else [])]

    @property
    def metrics(self) -> Metrics:
        """The instruments, for those who serve its API."""
        return self._metrics

    @property
    def replica_id(self) -> ReplicaId:
        """Which replica this is; another one once it has joined anew."""
        return self._heartbeat.replica

    async def wait_loaded(self) -> None:
        """Return when the first load is done."""
        await self._loaded.wait()

    def create_app(self, api_key: str) -> QuartTrio:
        """Make the API of this replica."""
        return create_app(
            ApiContext(
                storage=self._storage,
                intake=self._intake,
                clock=self._clock,
                health=self,
                metrics=self._metrics.registry,
                api_key=api_key,
                max_body_bytes=self._settings.max_body_bytes,
                max_metadata_keys=self._settings.max_metadata_keys,
                default_timeout_s=self._settings.callback_timeout_s,
                default_misfire_grace_s=self._settings.misfire_grace_s,
                guard=AddressGuard(self._settings.callback_allow),
                stopping=self._stopping,
            )
        )

    def stop(self) -> None:
        """Stop in order; called again, wait no longer for others, callbacks or requests."""
        if self._stopping.is_set():
            self._hurried.set()
        self._stopping.set()

    async def run(
        self,
        serve: Serve | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Work until `stop`; started once the first load is done.

        Nesting order is stop order: what is needed longest is outermost.

        Raises:
            OutcomesLostError: the database did not take the last outcomes in time.
        """
        async with trio.open_nursery() as writers:
            writers.start_soon(self._settler.run)
            writers.start_soon(self._recorder.run)
            writers.start_soon(self._intake.run)
            writers.start_soon(self._hints.tell_forever)
            writers.start_soon(self._limit_grace)
            async with trio.open_nursery() as servers:
                if serve is not None:
                    await servers.start(self._serve, serve)
                async with _ended_by(self._stopping):
                    await self._join()
                    self._has_joined = True
                if self._has_joined:
                    await self._work(task_status)
                self._closing.set()
            # Who has joined since the last heartbeat does not know of what was created since.
            self._hints.hand_over(self._agenda.shards.own)
            with trio.move_on_at(self._give_up_s):
                await self._hints.tell()
            writers.cancel_scope.cancel()

    async def _serve(self, serve: Serve, *, task_status: trio.TaskStatus[None]) -> None:
        with self._serving:
            await serve(self._closing, task_status)

    async def _work(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as stages:
            stages.start_soon(self._heartbeat.run)
            stages.start_soon(self._hints.listen_forever)
            async with _ended_by(self._stopping):
                await stages.start(self._loader.run)
                self._loaded.set()
            task_status.started()
            if self._retention is not None:
                stages.start_soon(self._retention.run)
            stages.start_soon(self._hand_over)
            await self._claimer.run()
            self._give_up_s = trio.current_time() + LAST_WRITES_S
            with trio.move_on_at(self._give_up_s):
                await self._settler.wait_empty()
            # No beat may find the row gone after the end: it would write a new one.
            stages.cancel_scope.cancel()
        await self._end()

    async def _hand_over(self) -> None:
        """When a stop begins, let others take the shards over, and fire what they cannot yet.

        Meanwhile requests are served: who sends them has not heard of the stop yet either.
        """
        await self._stopping.wait()
        with trio.move_on_after(min(LEAVE_S, self._settings.shutdown_grace_s)):
            async with _ended_by(self._hurried):
                await self._leave()
                while self._can_be_replaced:  # noqa: ASYNC110 - as each heartbeat tells
                    await trio.sleep(LEAVE_POLL_S)
        self._closing.set()
        self._claimer.stop()

    async def _leave(self) -> None:
        """Tell the others, and learn whether there are any, unless the database is away."""
        while self._heartbeat.is_connected:
            try:
                await self._heartbeat.leave()
            except (StorageUnavailableError, ContentionError):
                await trio.sleep(RETRY_INTERVAL_S)
            else:
                return

    @property
    def _can_be_replaced(self) -> bool:
        """Whether others are there that do not leave as well, as far as the database tells."""
        return self._agenda.shards.has_others and self._heartbeat.is_connected

    async def _join(self) -> None:
        reason = ""
        while True:
            try:
                await self._prepare()
                await self._heartbeat.join(alone=self._alone)
                # What excludes it may have been taken until its row was there to stop that.
                await self._prepare()
            except (StorageUnavailableError, ContentionError) as error:
                if str(error) != reason:
                    reason = str(error)
                    log.warning("waiting_for_database", reason=reason)
                await trio.sleep(RETRY_INTERVAL_S)
            else:
                return

    async def _limit_grace(self) -> None:
        await self._stopping.wait()
        with trio.move_on_after(self._settings.shutdown_grace_s):
            await self._hurried.wait()
        self._claimer.interrupt()
        self._serving.cancel()

    async def _end(self) -> None:
        with trio.move_on_at(self._give_up_s) as leaving:
            await repeat_until_answered(self._heartbeat.end)
        if leaving.cancelled_caught:
            log.warning("left_without_notice", reason="the database is away")
        if lost := len(self._settler):
            raise OutcomesLostError(f"{lost} outcomes could not be written: the database is away")


def _retention(
    days: float | None, storage: Storage, clock: Clock, metrics: Metrics
) -> Retention | None:
    if days is None:
        return None
    return Retention(storage=storage, clock=clock, metrics=metrics, keep=timedelta(days=days))


@asynccontextmanager
async def _ended_by(event: trio.Event) -> AsyncIterator[None]:
    """Leave the block as soon as the event is set."""

    async def end() -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        yield
        nursery.cancel_scope.cancel()
