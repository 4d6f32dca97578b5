"""Consumers of schedules: each creates one, and does to it what consumers do at odd moments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import trio

from tests.simulation.consumers import PATIENCE_S, REFUSALS, payload_of
from tests.simulation.far_end import Behaviour, url_of
from tests.simulation.history import Verdict
from tests.simulation.schedule_history import ScheduleAsked, ScheduleRequest
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.world import ConnectionLostError
from timer_trio.calendar import RuleError
from timer_trio.callback_url import read_url
from timer_trio.domain.errors import (
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
    StorageUnavailableError,
)
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.schedule import ScheduleId, ScheduleSpec, Timing
from timer_trio.domain.timer import CallbackSpec, Delivery, Method, Status, TimerSpec
from timer_trio.intake.schedules import Backfill
from timer_trio.run.replica import Replica

SCHEDULE_REFUSALS: Final = (
    *REFUSALS,
    RuleError,
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
)
Change = Callable[[ScheduleSpec], ScheduleSpec]


def template_of(
    world: ScheduleWorld,
    *,
    behaviour: Behaviour = Behaviour.FAST,
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    timeout_s: float = 3.0,
    grace_s: float | None = 300.0,
    retry: RetryPolicy | None = None,
) -> TimerSpec:
    """Say what each occurrence asks for; its payload tells it from all other templates."""
    return TimerSpec(
        execute_at=world.now(),
        callback=CallbackSpec(
            url=read_url(url_of(behaviour)),
            method=Method.POST,
            headers={},
            payload=payload_of(0, world.next_version()),
            timeout_s=timeout_s,
            delivery=delivery,
        ),
        metadata=None,
        misfire_grace_s=grace_s,
        retry=retry,
    )


class ScheduleConsumer:
    """A consumer of one schedule; what it asks for, and what it is told, goes into `requests`."""

    def __init__(self, world: ScheduleWorld) -> None:
        self._world = world
        self.schedule_id: ScheduleId | None = None

    async def create(self, spec: ScheduleSpec) -> None:
        """Ask for a schedule, under its name where it has one."""

        async def create(replica: Replica, request: ScheduleRequest) -> None:
            now, schedules = replica._clock.now(), replica._schedules
            if spec.name is not None:
                written = await schedules.put_named(spec.name, spec, now, DEFAULT_PROJECT)
                request.schedule_id = written.schedule.id
            else:
                new = schedules.new(spec, now, DEFAULT_PROJECT)
                request.schedule_id = new.schedule.id
                await schedules.create(new)
            self.schedule_id = request.schedule_id

        await self._ask(ScheduleAsked.CREATE, create, spec)

    async def change(self, timing: Timing | None, template: TimerSpec | None) -> None:
        """Ask for another rule, for other fields, or for both."""

        def changed(spec: ScheduleSpec) -> ScheduleSpec:
            wanted = replace(spec, timing=timing or spec.timing)
            return replace(wanted, template=template or spec.template)

        async def change(replica: Replica, request: ScheduleRequest) -> None:
            written = await replica._schedules.change(self._id(), changed, DEFAULT_PROJECT)
            request.spec = written.spec

        await self._ask(ScheduleAsked.CHANGE, change)

    async def pause(self) -> None:
        async def pause(replica: Replica, _: ScheduleRequest) -> None:
            await replica._schedules.pause(self._id(), DEFAULT_PROJECT)

        await self._ask(ScheduleAsked.PAUSE, pause)

    async def resume(self) -> None:
        async def resume(replica: Replica, _: ScheduleRequest) -> None:
            await replica._schedules.resume(self._id(), DEFAULT_PROJECT)

        await self._ask(ScheduleAsked.RESUME, resume)

    async def end(self) -> None:
        async def end(replica: Replica, _: ScheduleRequest) -> None:
            await replica._schedules.end(self._id(), DEFAULT_PROJECT)

        await self._ask(ScheduleAsked.END, end)

    async def trigger(self) -> None:
        async def trigger(replica: Replica, request: ScheduleRequest) -> None:
            request.timer_id = (await replica._schedules.trigger(self._id(), DEFAULT_PROJECT)).id

        await self._ask(ScheduleAsked.TRIGGER, trigger)

    async def backfill(self, *, ago_s: float, limit: int, spacing_s: float) -> None:
        async def backfill(replica: Replica, request: ScheduleRequest) -> None:
            now = replica._clock.now()
            wanted = Backfill(
                first=now - timedelta(seconds=ago_s),
                last=now,
                limit=limit,
                spacing=timedelta(seconds=spacing_s),
            )
            request.written = (
                await replica._schedules.backfill(self._id(), wanted, DEFAULT_PROJECT)
            ).created

        await self._ask(ScheduleAsked.BACKFILL, backfill)

    async def cancel_one(self) -> None:
        """Cancel one of the next occurrences by itself."""
        log = self._world.schedules.get(self._id())
        live = [
            one
            for one in (log.occurrences.values() if log else ())
            if one.statuses[-1].status in {Status.PENDING, Status.EXECUTING, Status.RETRYING}
        ]
        soonest = sorted(live, key=lambda one: (one.row.timer.spec.execute_at, one.id))[:3]
        if not soonest:
            return
        timer_id = self._world.random.choice(soonest).id

        async def cancel(replica: Replica, request: ScheduleRequest) -> None:
            request.timer_id = timer_id
            await replica._storage.cancel(timer_id, replica._clock.now())

        await self._ask(ScheduleAsked.CANCEL, cancel)

    async def _ask(
        self,
        asked: ScheduleAsked,
        call: Callable[[Replica, ScheduleRequest], Awaitable[None]],
        spec: ScheduleSpec | None = None,
    ) -> None:
        process = await self._world.any_process()
        request = ScheduleRequest(
            asked=asked, asked_s=trio.current_time(), schedule_id=self.schedule_id, spec=spec
        )
        self._world.requests.append(request)
        try:
            await process.request(lambda replica: call(replica, request))
            request.verdict = Verdict.ACKNOWLEDGED
        except SCHEDULE_REFUSALS:
            request.verdict = Verdict.REFUSED
        except (StorageUnavailableError, ConnectionLostError):
            await trio.sleep(PATIENCE_S)
        request.answered_s = trio.current_time()

    def _id(self) -> ScheduleId:
        assert self.schedule_id is not None
        return self.schedule_id
