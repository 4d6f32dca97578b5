"""Who has done what."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from quart import Response

from timer_trio.api.route import Route
from timer_trio.console.desk import Desk
from timer_trio.console.forms import instant
from timer_trio.console.lists import given_in, page_of
from timer_trio.console.rendering import ROOT
from timer_trio.console.visit import Visit
from timer_trio.domain.audit import Action
from timer_trio.domain.project import Scope

PATH: Final = f"{ROOT}/audit"
_ROWS: Final = "100"
_FILTERS: Final = ("action", "key_id", "target", "after", "before")
_INSTANTS: Final = ("after", "before")


def routes(desk: Desk) -> Sequence[Route]:
    return (desk.page(PATH, show),)


async def show(visit: Visit) -> Response:
    visit.require(Scope.ADMIN)
    given = given_in(visit.query)
    asked = [
        (name, instant(value) if name in _INSTANTS else value) for name, value in given.items()
    ]
    find = partial(visit.get, "/audit", [*asked, ("limit", _ROWS)])
    fields = {name: given.get(name, "") for name in _FILTERS}
    fields |= {name: fields[name].removesuffix("Z") for name in _INSTANTS}
    found = await page_of(PATH, "audit", given, find)
    status = found.get("status", 200)
    return visit.page("audit.html", status, fields=fields, actions=[*Action], **found)
