"""Projects, and their settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from quart import Response

from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.fields.project import SETTINGS_FIELDS
from timer_trio.api.route import Route
from timer_trio.console.desk import Desk
from timer_trio.console.forms import Form, body_of, checked_json, written
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.visit import Data, Problems, RefusedError, Visit, problems_of

PATH: Final = f"{ROOT}/projects"
_ONE: Final = f"{PATH}/{{name}}"
_HOSTS: Final = "allowed_hosts"


def routes(desk: Desk) -> Sequence[Route]:
    return (
        desk.page(PATH, show),
        desk.action(PATH, create),
        desk.page(_ONE, show_one),
        desk.action(_ONE, change),
        desk.action(f"{_ONE}/delete", delete),
    )


async def show(visit: Visit) -> Response:
    return await _list_page(visit)


async def _list_page(
    visit: Visit, status: int = 200, problems: Problems = (), name: str = ""
) -> Response:
    projects = (await visit.get("/projects"))["projects"]
    return visit.page("projects.html", status, projects=projects, problems=problems, name=name)


async def create(visit: Visit) -> Response:
    name = visit.form.text("name")
    try:
        await visit.do("POST", "/projects", body_of({"name": written(name)}))
    except RefusedError as error:
        if error.status == 403:
            raise
        status, problems = problems_of(error)
        return await _list_page(visit, status, problems, name)
    return see_other(f"{PATH}/{name}")


async def show_one(visit: Visit, name: str) -> Response:
    found = await visit.get(f"/projects/{name}")
    return _one_page(visit, found, _fields_of(found))


async def change(visit: Visit, name: str) -> Response:
    """Change the settings that the form says otherwise than before."""
    found = await visit.get(f"/projects/{name}")
    try:
        members = _changes(visit.form)
        await visit.do("PUT", f"/projects/{found['name']}", body_of(members))
    except (RefusedError, InvalidRequestError) as error:
        status, problems = problems_of(error)
        fields = {field: visit.form.text(field) for field in SETTINGS_FIELDS}
        return _one_page(visit, found, fields, status, problems)
    return see_other(f"{PATH}/{found['name']}")


async def delete(visit: Visit, name: str) -> Response:
    """Delete a project whose name was written once more."""
    found = await visit.get(f"/projects/{name}")
    if visit.form.text("confirmed") != found["name"]:
        raise InvalidRequestError(FieldError("", "write the project's name to have it deleted"))
    force = [("force", "true")] if visit.form.text("force") else []
    await visit.do("DELETE", f"/projects/{found['name']}", query=force)
    return see_other(PATH)


def _one_page(
    visit: Visit,
    project: Data,
    fields: Mapping[str, str],
    status: int = 200,
    problems: Problems = (),
) -> Response:
    return visit.page(
        "project.html",
        status,
        shown_project=project,
        fields=fields,
        before=_fields_of(project),
        problems=problems,
    )


def _fields_of(project: Data) -> dict[str, str]:
    """Return each setting as its field holds it: JSON, and the hosts a line each."""
    fields = {
        name: "" if project[name] is None else json.dumps(project[name]) for name in SETTINGS_FIELDS
    }
    return {**fields, _HOSTS: "\n".join(project[_HOSTS] or ())}


def _changes(form: Form) -> dict[str, str]:
    members: dict[str, str] = {}
    for name in SETTINGS_FIELDS:
        value = form.text(name)
        if value == form.text(f"before_{name}"):
            continue
        if not value:
            members[name] = "null"
        elif name == _HOSTS:
            members[name] = json.dumps(
                [line.strip() for line in value.splitlines() if line.strip()]
            )
        else:
            members[name] = checked_json(value, name)
    return members
