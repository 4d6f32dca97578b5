"""The root nursery of a process: what runs, and in which order it ends.

Nesting order is stop order: what is needed longest is outermost. ::

    writers      outcomes, log lines, creates, hints, audit: until all that they are told is written
      server     the API: until the last request is answered
        cells    the stages over each database, as `run/stages.py` nests them, until all have ended

`timer_trio.lifecycle` tells what each part does in which phase of a stop. Whoever stops the process
begins `handing_over`; then come `draining` in `Supervisor._hand_over`, `giving_back` when the last
cell claims nothing any more, and `closed` if the grace is over before all has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from timer_trio.access.audit_log import AuditLog
from timer_trio.access.key_uses import KeyUses
from timer_trio.domain.shards import HANDOVER_S
from timer_trio.intake.intake import Intake
from timer_trio.lifecycle import Lifecycle, ended_by
from timer_trio.maintenance.cell_union import CellUnion
from timer_trio.run.stages import Stages
from timer_trio.telemetry.destinations import DestinationReports
from timer_trio.telemetry.record import Recorder

LEAVE_S: Final = HANDOVER_S + 0.5
"""How long a replica leaves: what is due at the end of the hand-over is sent by then."""

Serve = Callable[[trio.Event, "trio.TaskStatus[None]"], Awaitable[None]]
"""A server that takes no more requests once the event is set, and ends with its last answer.

It starts without waiting for anything. Cancelled, it leaves requests unanswered."""


class OutcomesLostError(Exception):
    """The service stopped while outcomes were not written: those callbacks may be made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a process consists of."""

    stages: Sequence[Stages]
    recorder: Recorder
    destinations: DestinationReports
    intake: Intake
    key_uses: KeyUses
    audit_log: AuditLog
    union: CellUnion | None


class Supervisor:
    """Runs the parts of a process until it is stopped; `grace_s`: what a stop waits for them."""

    def __init__(self, parts: Parts, lifecycle: Lifecycle, *, grace_s: float) -> None:
        self._parts = parts
        self._lifecycle = lifecycle
        self._grace_s = grace_s
        self._claiming = len(parts.stages)
        self._lost = 0

    async def run(self, serve: Serve | None, task_status: trio.TaskStatus[None]) -> None:
        """Work until the stop is over; started once a first load is done.

        Raises:
            OutcomesLostError: a database did not take the last outcomes in time.
        """
        parts = self._parts
        async with trio.open_nursery() as writers:
            writers.start_soon(parts.recorder.run)
            writers.start_soon(parts.intake.run)
            writers.start_soon(parts.key_uses.run)
            writers.start_soon(parts.audit_log.run)
            for stages in parts.stages:
                writers.start_soon(stages.write)
            writers.start_soon(self._lifecycle.close_after, self._grace_s)
            async with trio.open_nursery() as server:
                if serve is not None:
                    await server.start(self._serve, serve)
                await self._work(task_status)
                self._lifecycle.drain()
            await self._write_last()
            writers.cancel_scope.cancel()
        if self._lost:
            raise OutcomesLostError(
                f"{self._lost} outcomes could not be written: the database is away"
            )

    async def _serve(self, serve: Serve, *, task_status: trio.TaskStatus[None]) -> None:
        async with ended_by(self._lifecycle.closed):
            await serve(self._lifecycle.draining, task_status)

    async def _work(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as beside:
            beside.start_soon(self._report_loaded, task_status)
            beside.start_soon(self._hand_over)
            beside.start_soon(self._parts.destinations.run)
            if self._parts.union is not None:
                beside.start_soon(self._parts.union.run)
            async with trio.open_nursery() as cells:
                for stages in self._parts.stages:
                    cells.start_soon(self._work_in, stages)
            beside.cancel_scope.cancel()

    async def _work_in(self, stages: Stages) -> None:
        self._lost += await stages.work(self._end_claims)

    def _end_claims(self) -> None:
        self._claiming -= 1
        if not self._claiming:
            self._lifecycle.give_back()

    async def _report_loaded(self, task_status: trio.TaskStatus[None]) -> None:
        await self._lifecycle.running.wait()
        task_status.started()

    async def _hand_over(self) -> None:
        """When a stop begins, let others take the shards over, and fire what they cannot yet.

        Meanwhile requests are served: who sends them has not heard of the stop yet either.
        """
        await self._lifecycle.handing_over.wait()
        with trio.move_on_after(min(LEAVE_S, self._grace_s)):
            async with ended_by(self._lifecycle.draining), trio.open_nursery() as leaving:
                for stages in self._parts.stages:
                    leaving.start_soon(stages.hand_over)
        self._lifecycle.drain()

    async def _write_last(self) -> None:
        """Write the hints, counts and audit that the last requests and callbacks have left."""
        parts = self._parts
        parts.recorder.flush()
        with trio.move_on_at(min(stages.give_up_s for stages in parts.stages)):
            async with trio.open_nursery() as nursery:
                for stages in parts.stages:
                    nursery.start_soon(stages.tell_last_hints)
                nursery.start_soon(parts.destinations.write_counts)
                nursery.start_soon(parts.audit_log.write_last)
