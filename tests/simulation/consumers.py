"""Consumers: each has one timer, and creates, changes, cancels and looks at it at odd moments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from json import dumps
from typing import Final

import trio

from tests.simulation.far_end import Behaviour, url_of
from tests.simulation.history import Asked, Request, Sight, TimerLog, Verdict
from tests.simulation.world import ConnectionLostError, World
from timer_trio.callback_url import read_url
from timer_trio.domain.errors import (
    ContentionError,
    NotPendingError,
    RowRefusedError,
    StorageUnavailableError,
    TimerNotFoundError,
)
from timer_trio.domain.flow import FlowId
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import (
    CallbackSpec,
    Delivery,
    JsonText,
    Method,
    SpecChange,
    TimerId,
    TimerSpec,
)
from timer_trio.run.replica import Replica
from timer_trio.storage.columns import changed

REFUSALS: Final = (NotPendingError, RowRefusedError, ContentionError, TimerNotFoundError)
PATIENCE_S: Final = 0.5
"""After a request whose outcome it does not know, a consumer lets the dust settle."""


def spec_of(
    world: World,
    number: int | None,
    version: int,
    *,
    in_s: float,
    behaviour: Behaviour = Behaviour.FAST,
    place: int = 0,
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    timeout_s: float = 3.0,
    grace_s: float | None = 300.0,
    retry: RetryPolicy | None = None,
) -> TimerSpec:
    """Say what a consumer wants; its payload tells the timer and the version."""
    return TimerSpec(
        execute_at=world.now() + timedelta(seconds=in_s),
        callback=CallbackSpec(
            url=read_url(url_of(behaviour, place)),
            method=Method.POST,
            headers={},
            payload=payload_of(number, version),
            timeout_s=timeout_s,
            delivery=delivery,
        ),
        metadata=None,
        misfire_grace_s=grace_s,
        retry=retry,
    )


def payload_of(number: int | None, version: int) -> JsonText:
    return JsonText(dumps({"number": number, "version": version}))


class Consumer:
    """A consumer of one timer; what it asks for, and what it is told, goes into its timer_log."""

    def __init__(self, world: World, flow: FlowId | None = None) -> None:
        self._world = world
        self._flow = flow
        self._project = DEFAULT_PROJECT if flow is None else flow.project
        number = len(world.history.timer_logs)
        self.timer_log = TimerLog(number=number, project=self._project, flow=flow)
        world.history.timer_logs.append(self.timer_log)
        self.timer_id: TimerId | None = None

    async def create(
        self,
        *,
        in_s: float,
        behaviour: Behaviour = Behaviour.FAST,
        place: int = 0,
        delivery: Delivery = Delivery.AT_LEAST_ONCE,
        timeout_s: float = 3.0,
        grace_s: float | None = 300.0,
        retry: RetryPolicy | None = None,
        under_way_s: float | None = None,
    ) -> None:
        """Ask for a timer; `under_way_s`: in an import, that long after it was given its id."""
        spec = spec_of(
            self._world,
            self.timer_log.number,
            0,
            in_s=in_s,
            behaviour=behaviour,
            place=place,
            delivery=delivery,
            timeout_s=timeout_s,
            grace_s=grace_s,
            retry=retry,
        )

        async def create(replica: Replica) -> None:
            now, flow_key = replica._clock.now(), self._flow and self._flow.key
            if under_way_s is None:
                self.timer_id = (
                    await replica._intake.create(spec, now, self._project, flow_key)
                ).id
                return
            timer = replica._intake.new_timer(spec, now, self._project, flow_key=flow_key)
            await trio.sleep(under_way_s)
            await replica._intake.create_all([timer])
            self.timer_id = timer.id

        await self._ask(Asked.CREATE, spec, create)

    async def update(
        self, *, in_s: float | None, behaviour: Behaviour | None = None, place: int = 0
    ) -> None:
        """Ask for another payload, and it may be another time and another receiver.

        `in_s` None leaves the time: only for who `knows` what it is.
        """
        number = self.timer_log.number
        version = len(self.timer_log.requests)
        change: SpecChange = {"callback_payload": payload_of(number, version)}
        if in_s is not None:
            change["execute_at"] = self._world.now() + timedelta(seconds=in_s)
        if behaviour is not None:
            change["callback_url"] = read_url(url_of(behaviour, place))

        async def update(replica: Replica) -> None:
            await replica._intake.update(self._id(), change, self._project)

        spec = changed(self._wanted(), change)
        await self._ask(Asked.UPDATE, spec, update, moves=in_s is not None)

    async def cancel(self) -> None:
        async def cancel(replica: Replica) -> None:
            await replica._intake.cancel(self._id(), self._project)

        await self._ask(Asked.CANCEL, self._wanted(), cancel)

    async def look(self) -> None:
        process = await self._world.any_process()
        asked_s = trio.current_time()
        try:
            timer = await process.request(
                lambda replica: replica._storage.get(self._id(), self._project)
            )
        except (StorageUnavailableError, *REFUSALS, ConnectionLostError):
            return
        answered_s = trio.current_time()
        self.timer_log.sights.append(
            Sight(status=timer.status, asked_s=asked_s, answered_s=answered_s)
        )

    @property
    def knows(self) -> bool:
        """Whether nothing is in doubt of all that was asked for."""
        return all(request.verdict is not Verdict.UNKNOWN for request in self.timer_log.requests)

    async def _ask(
        self,
        asked: Asked,
        spec: TimerSpec,
        call: Callable[[Replica], Awaitable[None]],
        *,
        moves: bool = True,
    ) -> None:
        process = await self._world.any_process()
        version = len(self.timer_log.requests)
        request = Request(
            asked=asked,
            version=version,
            spec=spec,
            asked_s=trio.current_time(),
            process=process.name,
            moves=moves,
        )
        self.timer_log.requests.append(request)
        try:
            await process.request(call)
            request.verdict = Verdict.ACKNOWLEDGED
        except REFUSALS:
            request.verdict = Verdict.REFUSED
        except (StorageUnavailableError, ConnectionLostError):
            await trio.sleep(PATIENCE_S)
        request.answered_s = trio.current_time()

    def _wanted(self) -> TimerSpec:
        """Say what the timer should be now, as far as the consumer knows."""
        return next(
            request.spec
            for request in reversed(self.timer_log.requests)
            if request.verdict is not Verdict.REFUSED
        )

    def _id(self) -> TimerId:
        assert self.timer_id is not None
        return self.timer_id
