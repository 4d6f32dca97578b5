"""The root nursery of a replica: what runs, and in which order it ends.

Nesting order is stop order: what is needed longest is outermost. ::

    writers      outcomes, log lines, creates, hints, audit: until all that they are told is written
      server     the API: until the last request is answered
        stages   heartbeat, rules, loader, planner, what is fired: until the last outcome is written
          callbacks  launcher, firer, a task for each callback: until the last answer
            claims     claimer: until the last claim is answered

`timer_trio.lifecycle` tells what each part does in which phase of a stop. Whoever stops the process
begins `handing_over`; then come `draining` in `Supervisor._hand_over`, `giving_back` in `deliver`,
and `closed` if the grace is over before all has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Final

import structlog
import trio

from timer_trio.access.audit_log import AuditLog
from timer_trio.access.key_uses import KeyUses
from timer_trio.cluster.hints import Hints
from timer_trio.delivery.claimer import Claimer
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.flow_keeper import FlowKeeper
from timer_trio.delivery.launcher import Launcher
from timer_trio.delivery.leftovers import Leftovers
from timer_trio.delivery.loader import Loader
from timer_trio.delivery.probe_keeper import ProbeKeeper
from timer_trio.delivery.rule_keeper import RuleKeeper
from timer_trio.delivery.settler import Settler
from timer_trio.delivery.signing import SigningKeys
from timer_trio.domain.shards import HANDOVER_S
from timer_trio.intake.intake import Intake
from timer_trio.lifecycle import Lifecycle, ended_by
from timer_trio.maintenance.attempt_rotation import AttemptRotation
from timer_trio.maintenance.audit_retention import AuditRetention
from timer_trio.maintenance.deleted_projects import DeletedProjects
from timer_trio.maintenance.quota_marks import QuotaMarks
from timer_trio.maintenance.retention import Retention
from timer_trio.run.presence import Presence
from timer_trio.scheduler.planner import Planner
from timer_trio.telemetry.destinations import DestinationReports
from timer_trio.telemetry.record import Recorder

LAST_WRITES_S: Final = 5.0
"""How long a stop waits for the last outcomes to be written, beyond the callbacks' own grace."""
LEAVE_S: Final = HANDOVER_S + 0.5
"""How long a replica leaves: what is due at the end of the hand-over is sent by then."""

Serve = Callable[[trio.Event, "trio.TaskStatus[None]"], Awaitable[None]]
"""A server that takes no more requests once the event is set, and ends with its last answer.

It starts without waiting for anything. Cancelled, it leaves requests unanswered."""

log = structlog.get_logger()


class OutcomesLostError(Exception):
    """The service stopped while outcomes were not written: those callbacks may be made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a replica consists of."""

    settler: Settler
    recorder: Recorder
    intake: Intake
    key_uses: KeyUses
    audit_log: AuditLog
    hints: Hints
    presence: Presence
    loader: Loader
    planner: Planner
    claimer: Claimer
    launcher: Launcher
    firer: Firer
    keys: SigningKeys
    rules: RuleKeeper
    flow_keeper: FlowKeeper
    leftovers: Leftovers
    probe_keeper: ProbeKeeper
    rotation: AttemptRotation
    retention: Retention
    audit_retention: AuditRetention
    deleted_projects: DeletedProjects
    destinations: DestinationReports
    quota_marks: QuotaMarks


async def deliver(claimer: Claimer, launcher: Launcher, firer: Firer, lifecycle: Lifecycle) -> None:
    """Fire timers until a stop: returns when its last callback has ended, or is cut."""
    async with ended_by(lifecycle.closed), trio.open_nursery() as callbacks:
        callbacks.start_soon(firer.give_back_unsent)
        callbacks.start_soon(launcher.run, callbacks)
        await claimer.run()
        lifecycle.give_back()


class Supervisor:
    """Runs the parts of a replica until it is stopped; `grace_s`: what a stop waits for them."""

    def __init__(self, parts: Parts, lifecycle: Lifecycle, *, grace_s: float) -> None:
        self._parts = parts
        self._lifecycle = lifecycle
        self._grace_s = grace_s
        self._give_up_s = inf

    async def run(self, serve: Serve | None, task_status: trio.TaskStatus[None]) -> None:
        """Work until the stop is over; started once the first load is done.

        Raises:
            OutcomesLostError: the database did not take the last outcomes in time.
        """
        parts = self._parts
        async with trio.open_nursery() as writers:
            writers.start_soon(parts.settler.run)
            writers.start_soon(parts.recorder.run)
            writers.start_soon(parts.intake.run)
            writers.start_soon(parts.key_uses.run)
            writers.start_soon(parts.audit_log.run)
            writers.start_soon(parts.hints.tell_forever)
            writers.start_soon(self._lifecycle.close_after, self._grace_s)
            async with trio.open_nursery() as server:
                if serve is not None:
                    await server.start(self._serve, serve)
                if await self._join():
                    await self._work(task_status)
                self._lifecycle.drain()
            await self._tell_last_hints()
            await self._write_last_counts()
            await self._write_last_audit()
            writers.cancel_scope.cancel()

    async def _work(self, task_status: trio.TaskStatus[None]) -> None:
        parts = self._parts
        async with trio.open_nursery() as stages:
            stages.start_soon(parts.presence.keep)
            stages.start_soon(parts.hints.listen_forever)
            stages.start_soon(parts.keys.run)
            stages.start_soon(parts.rules.run)
            stages.start_soon(parts.flow_keeper.run)
            stages.start_soon(parts.leftovers.run)
            stages.start_soon(parts.probe_keeper.run)
            stages.start_soon(parts.rotation.run)
            stages.start_soon(parts.planner.run)
            async with ended_by(self._lifecycle.handing_over):
                await stages.start(parts.loader.run)
                self._lifecycle.running.set()
            task_status.started()
            stages.start_soon(parts.retention.run)
            stages.start_soon(parts.audit_retention.run)
            stages.start_soon(parts.deleted_projects.run)
            stages.start_soon(parts.destinations.run)
            stages.start_soon(parts.quota_marks.run)
            stages.start_soon(self._hand_over)
            await deliver(parts.claimer, parts.launcher, parts.firer, self._lifecycle)
            await self._write_last_outcomes()
            # No beat may find the row gone after the end: it would write a new one.
            stages.cancel_scope.cancel()
        await self._end()

    async def _serve(self, serve: Serve, *, task_status: trio.TaskStatus[None]) -> None:
        async with ended_by(self._lifecycle.closed):
            await serve(self._lifecycle.draining, task_status)

    async def _join(self) -> bool:
        """Join the others; answers whether that came before a stop."""
        async with ended_by(self._lifecycle.handing_over):
            await self._parts.presence.join()
        return self._parts.presence.has_joined

    async def _hand_over(self) -> None:
        """When a stop begins, let others take the shards over, and fire what they cannot yet.

        Meanwhile requests are served: who sends them has not heard of the stop yet either.
        """
        await self._lifecycle.handing_over.wait()
        with trio.move_on_after(min(LEAVE_S, self._grace_s)):
            async with ended_by(self._lifecycle.draining):
                await self._parts.presence.hand_over()
        self._lifecycle.drain()

    async def _write_last_outcomes(self) -> None:
        self._give_up_s = trio.current_time() + LAST_WRITES_S
        with trio.move_on_at(self._give_up_s):
            await self._parts.settler.wait_empty()

    async def _end(self) -> None:
        with trio.move_on_at(self._give_up_s) as leaving:
            await self._parts.presence.end()
        if leaving.cancelled_caught:
            log.warning("left_without_notice", reason="the database is away")
        if lost := len(self._parts.settler):
            raise OutcomesLostError(f"{lost} outcomes could not be written: the database is away")

    async def _write_last_counts(self) -> None:
        self._parts.recorder.flush()
        with trio.move_on_at(self._give_up_s):
            await self._parts.destinations.write_counts()

    async def _write_last_audit(self) -> None:
        with trio.move_on_at(self._give_up_s):
            await self._parts.audit_log.write_last()

    async def _tell_last_hints(self) -> None:
        # Who has joined since the last heartbeat does not know of what was created since.
        self._parts.hints.hand_over(self._parts.presence.shards.own)
        with trio.move_on_at(self._give_up_s):
            await self._parts.hints.tell()
