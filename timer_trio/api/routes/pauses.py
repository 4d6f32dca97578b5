"""Pauses: of a destination, and of all that a project sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart import Response

from timer_trio.api.body.media import json_body
from timer_trio.api.body.nothing import refuse_fields
from timer_trio.api.context import ApiContext
from timer_trio.api.fields.flow import NAME_DESTINATION
from timer_trio.api.principal import own_project, principal
from timer_trio.api.responses import success
from timer_trio.api.route import ON_BODY, ON_STORED, Body, Operation, Route, Success
from timer_trio.api.routes.flows import TAG
from timer_trio.api.rule_requests import read_destination, reading_rule
from timer_trio.api.rule_responses import (
    DestinationPauseData,
    PauseData,
    destination_pause_data,
    pause_data,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.rules import MAX_PAUSED_DESTINATIONS, RESUMPTIONS_KEPT
from timer_trio.domain.timer import Destination

PATH: Final = "/destinations"
_EXAMPLE: Final = {"destination": "https://api.example.com"}


def routes(context: ApiContext) -> Sequence[Route]:
    pauses = _Pauses(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    body = Body(model=NAME_DESTINATION, example=_EXAMPLE, limits=limits)
    return (
        Route(
            method="POST",
            path=f"{PATH}/pause",
            handler=pauses.pause_destination,
            body=body,
            operation=_PAUSE_DESTINATION,
        ),
        Route(
            method="POST",
            path=f"{PATH}/resume",
            handler=pauses.resume_destination,
            body=body,
            operation=_RESUME_DESTINATION,
        ),
        Route(method="POST", path="/pause", handler=pauses.pause_project, operation=_PAUSE),
        Route(method="POST", path="/resume", handler=pauses.resume_project, operation=_RESUME),
    )


class _Pauses:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._storage = context.storage
        self._clock = context.clock

    async def pause_destination(self) -> Response:
        project, destination = own_project(), await self._destination()
        await self._context.releases.require_all_new()
        now = self._clock.now()
        paused = await self._storage.pause_destination(project, destination, now)
        self._note(Action.DESTINATION_PAUSED, destination)
        return success(destination_pause_data(paused))

    async def resume_destination(self) -> Response:
        project, destination = own_project(), await self._destination()
        now = self._clock.now()
        resumed = await self._storage.resume_destination(project, destination, now)
        self._note(Action.DESTINATION_RESUMED, destination)
        return success(destination_pause_data(resumed))

    async def pause_project(self) -> Response:
        await refuse_fields(self._context.slices)
        await self._context.releases.require_all_new()
        paused = await self._storage.pause_project(own_project(), self._clock.now())
        self._note(Action.PROJECT_PAUSED, principal().project_name)
        return success(pause_data(paused))

    async def resume_project(self) -> Response:
        await refuse_fields(self._context.slices)
        resumed = await self._storage.resume_project(own_project(), self._clock.now())
        self._note(Action.PROJECT_RESUMED, principal().project_name)
        return success(pause_data(resumed))

    async def _destination(self) -> Destination:
        members = await self._context.slices.finish(reading_rule(await json_body()))
        return read_destination(members, self._context.rules)

    def _note(self, action: Action, target: str) -> None:
        self._context.rules_changed()
        self._context.audit.note(action, target)


_HOLDS: Final = "It holds on all replicas within 5 s of this answer. Again: the same answer."
_WAITS: Final = (
    "What is due meanwhile stays `pending` or `retrying` and can be changed and canceled; its "
    "misfire grace begins with the resumption."
)
_PAUSED: Final = {"paused": True, "paused_since": "2030-01-31T09:25:00Z"}
_PAUSE_DESTINATION: Final = Operation(
    name="pauseDestination",
    tag=TAG,
    summary="Pause a destination",
    description=f"Holds back all callbacks of the project that go there. {_WAITS} {_HOLDS} More "
    f"than {MAX_PAUSED_DESTINATIONS:,} destinations, those resumed within the last "
    f"{RESUMPTIONS_KEPT.days} days among them, are a 409.",
    success=Success(words="It is paused.", data=DestinationPauseData, example=_PAUSED),
    refusals=(*ON_STORED, *ON_BODY, 409),
)
_RESUME_DESTINATION: Final = Operation(
    name="resumeDestination",
    tag=TAG,
    summary="Resume a destination",
    description=f"What waits is sent, unless the project or its flow is paused. {_HOLDS}",
    success=Success(words="It is not paused.", data=DestinationPauseData),
    refusals=(*ON_STORED, *ON_BODY),
)
_PAUSE: Final = Operation(
    name="pauseProject",
    tag=TAG,
    summary="Pause the project",
    description=f"Holds back all of its callbacks. {_WAITS} {_HOLDS}",
    success=Success(words="It is paused.", data=PauseData, example=_PAUSED),
    refusals=(*ON_STORED, *ON_BODY),
)
_RESUME: Final = Operation(
    name="resumeProject",
    tag=TAG,
    summary="Resume the project",
    description="What waits is sent, unless its destination or its flow is paused by itself: those "
    f"stay so. {_HOLDS}",
    success=Success(words="It is not paused.", data=PauseData),
    refusals=(*ON_STORED, *ON_BODY),
)
