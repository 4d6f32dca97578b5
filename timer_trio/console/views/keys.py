"""The keys of a project: made, shown once, revoked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from quart import Response

from timer_trio.api.route import Route
from timer_trio.console.desk import Desk
from timer_trio.console.forms import body_of, instant, written
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.visit import Data, Problems, RefusedError, Visit, problems_of
from timer_trio.domain.project import Scope

PATH: Final = f"{ROOT}/keys"
_EMPTY: Final[Mapping[str, str]] = {"name": "", "expires_at": ""}


def routes(desk: Desk) -> Sequence[Route]:
    return (
        desk.page(PATH, show),
        desk.action(PATH, create),
        desk.action(f"{PATH}/{{key_id}}/revoke", revoke),
    )


async def show(visit: Visit) -> Response:
    return await _page(visit)


async def create(visit: Visit) -> Response:
    """Make a key; its page shows it this one time."""
    form, scopes = visit.form, visit.form.all("scopes")
    fields = {name: form.text(name) for name in _EMPTY}
    members = {"name": written(fields["name"]), "scopes": json.dumps(scopes)}
    if fields["expires_at"]:
        members["expires_at"] = written(instant(fields["expires_at"]))
    try:
        made = await visit.do("POST", "/keys", body_of(members))
    except RefusedError as error:
        if not visit.may(Scope.ADMIN):
            raise
        status, problems = problems_of(error)
        return await _page(visit, status, problems=problems, fields=fields, ticked=scopes)
    return await _page(visit, 201, made=made)


async def revoke(visit: Visit, key_id: str) -> Response:
    await visit.do("DELETE", f"/keys/{key_id}")
    return see_other(PATH)


async def _page(
    visit: Visit,
    status: int = 200,
    *,
    problems: Problems = (),
    fields: Mapping[str, str] = _EMPTY,
    ticked: Sequence[str] = (),
    made: Data | None = None,
) -> Response:
    return visit.page(
        "keys.html",
        status,
        keys=(await visit.get("/keys"))["keys"],
        scopes=[*Scope],
        own_scopes=visit.by.scopes,
        own_key=visit.by.key_id,
        problems=problems,
        fields=fields,
        ticked=ticked,
        made=made,
    )
