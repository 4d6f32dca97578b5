"""Projects: all that the keys of one consumer see."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from quart import Response, request

from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import DefaultProjectError
from timer_trio.api.fields.project import CHANGE_PROJECT, CREATE_PROJECT
from timer_trio.api.parameters import (
    invalid_parameter,
    parameters_in,
    refuse_parameters,
    unknown_parameter,
)
from timer_trio.api.principal import principal
from timer_trio.api.project_requests import (
    read_project_name,
    read_settings_change,
    reading_project,
)
from timer_trio.api.project_responses import (
    DeletedData,
    ProjectData,
    ProjectsData,
    project_data,
)
from timer_trio.api.responses import success
from timer_trio.api.route import (
    ON_BODY,
    ON_KEY,
    ON_ONE,
    ON_STORED,
    Body,
    Json,
    Operation,
    Route,
    Success,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import ProjectNotFoundError
from timer_trio.domain.project import (
    DEFAULT_PROJECT,
    NAME_PATTERN,
    Project,
    Scope,
    is_project_name,
)

PATH: Final = "/projects"
_ONE: Final = "/projects/{name}"
_TAG: Final = "projects"
_FORCE: Final = "force"
_NAME: Final[Json] = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The project's name.",
    "schema": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
}
_FORCE_PARAMETER: Final[Json] = {
    "name": _FORCE,
    "in": "query",
    "required": False,
    "description": "Cancel what waits in it, and end its schedules.",
    "schema": {"type": "boolean", "default": False},
}
_SETTINGS: Final = {
    "allowed_hosts": ["example.com", "*.example.com"],
    "default_retry": {"max_attempts": 5},
    "rate_limit": {"requests_per_second": 50, "burst": 100},
    "max_in_flight": 200,
    "breaker": {"failures": 10, "open_seconds": 30},
    "max_live_timers": 100_000,
}


def routes(context: ApiContext) -> Sequence[Route]:
    projects = _Projects(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    return (
        Route(
            method="POST",
            path=PATH,
            handler=projects.create_project,
            body=Body(model=CREATE_PROJECT, example={"name": "shop"}, limits=limits),
            operation=_CREATE,
            scope=Scope.ADMIN,
            is_of_service=True,
        ),
        Route(
            method="GET",
            path=PATH,
            handler=projects.list_projects,
            operation=_LIST,
            scope=Scope.ADMIN,
            is_of_service=True,
        ),
        Route(
            method="GET",
            path=_ONE,
            handler=projects.get_project,
            operation=_GET,
            scope=Scope.ADMIN,
        ),
        Route(
            method="PUT",
            path=_ONE,
            handler=projects.change_project,
            body=Body(model=CHANGE_PROJECT, example=_SETTINGS, limits=limits),
            operation=_CHANGE,
            scope=Scope.ADMIN,
        ),
        Route(
            method="DELETE",
            path=_ONE,
            handler=projects.delete_project,
            operation=_DELETE,
            scope=Scope.ADMIN,
            is_of_service=True,
        ),
    )


class _Projects:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._storage = context.storage
        self._slices = context.slices

    async def create_project(self) -> Response:
        now = self._context.clock.now()
        members = await self._slices.finish(reading_project(await json_body()))
        name = read_project_name(members, self._context.rules)
        project = await self._storage.create_project(name, now)
        self._context.key_ring.forget_project(name)
        self._context.rules_changed()
        self._context.audit.note(Action.PROJECT_CREATED, name)
        return success(project_data(project), HTTPStatus.CREATED)

    async def list_projects(self) -> Response:
        refuse_parameters(request.query_string)
        return success({"projects": [*map(project_data, await self._storage.projects())]})

    async def get_project(self, name: str) -> Response:
        refuse_parameters(request.query_string)
        return success(project_data(await self._visible(name)))

    async def change_project(self, name: str) -> Response:
        members = await self._slices.finish(reading_project(await json_body()))
        change = read_settings_change(members, self._context.rules)
        project = await self._visible(name)
        if change.get("max_in_flight") or change.get("breaker"):
            await self._context.releases.require_all_new()
        changed = await self._storage.change_project(project.id, change)
        if changed.id == DEFAULT_PROJECT:
            self._context.key_ring.note_default_settings(changed.settings)
        self._context.key_ring.forget_project(name)
        self._context.rules_changed()
        if "max_live_timers" in change:
            self._context.on_quota_set()
        told = sorted(change)
        self._context.audit.note(Action.PROJECT_CHANGED, name, project=changed.id, settings=told)
        return success(project_data(changed))

    async def delete_project(self, name: str) -> Response:
        is_forced = _is_forced(request.query_string)
        project = await self._visible(name)
        if project.id == DEFAULT_PROJECT:
            raise DefaultProjectError
        end = self._context.project_end
        await (end.delete_with_all(project) if is_forced else end.delete_empty(project))
        self._context.rules_changed()
        self._context.audit.note(Action.PROJECT_DELETED, name)
        return success({"name": name})

    async def _visible(self, name: str) -> Project:
        """Return a project as it is now, if whoever asks may know of it."""
        asks = principal()
        may_know = asks.is_of_service or asks.project_name == name
        found = None
        if may_know and is_project_name(name):
            found = await self._storage.project_named(name)
        if found is None:
            raise ProjectNotFoundError
        return found


def _is_forced(raw: bytes) -> bool:
    given = parameters_in(raw)
    if unknown := [name for name in given if name != _FORCE]:
        raise invalid_parameter(unknown[0], unknown_parameter(unknown[0]).message)
    force = given.get(_FORCE, "false")
    if force not in {"true", "false"}:
        raise invalid_parameter(_FORCE, "must be true or false")
    return force == "true"


_CREATE: Final = Operation(
    name="createProject",
    tag=_TAG,
    summary="Create a project",
    description="Its keys see nothing of other projects, and those see nothing of it. A name that "
    "is taken answers 409.",
    success=Success(words="The new project.", data=ProjectData, status=201),
    refusals=(*ON_STORED, *ON_BODY, *ON_KEY),
)
_LIST: Final = Operation(
    name="listProjects",
    tag=_TAG,
    summary="List projects",
    description="All of them. `default` is there from the start.",
    success=Success(words="The projects.", data=ProjectsData),
    refusals=ON_STORED,
)
_GET: Final = Operation(
    name="getProject",
    tag=_TAG,
    summary="Get a project",
    description="Its settings. To a key of another project there is none of this name.",
    success=Success(words="The project.", data=ProjectData),
    refusals=ON_ONE,
    parameters=(_NAME,),
)
_CHANGE: Final = Operation(
    name="changeProject",
    tag=_TAG,
    summary="Change the settings of a project",
    description="Any of them, at least one; what is left out stays as it is. They hold on all "
    "replicas within 5 s of this answer, for what is created or changed from then on.",
    success=Success(words="The project as it is now.", data=ProjectData, example=_SETTINGS),
    refusals=(*ON_ONE, *ON_BODY),
    parameters=(_NAME,),
)
_DELETE: Final = Operation(
    name="deleteProject",
    tag=_TAG,
    summary="Delete a project",
    description="With its keys, for good; `default` cannot be deleted. Where timers or schedules "
    "live in it this answers 409 with their numbers, and changes nothing; with `force=true` it "
    "ends them, and answers 409 only for what is executing, or if there was too much for one "
    "request: the project is closed then, and the same request goes on. It takes some six seconds, "
    "for so long what replicas know of its keys holds: once this answers 200, none serves a "
    "request in it. What was under way all the while, such as an import, is canceled within an "
    "hour.",
    success=Success(words="The project is deleted.", data=DeletedData),
    refusals=(*ON_ONE, *ON_KEY),
    parameters=(_NAME, _FORCE_PARAMETER),
)
