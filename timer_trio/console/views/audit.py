"""Who has done what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from quart import Response

from timer_trio.api.route import Route
from timer_trio.console import filters
from timer_trio.console.desk import Desk
from timer_trio.console.forms import instant
from timer_trio.console.rendering import ROOT
from timer_trio.console.visit import RefusedError, Visit, problems_of
from timer_trio.domain.audit import Action
from timer_trio.domain.project import Scope

PATH: Final = f"{ROOT}/audit"
_ROWS: Final = "100"
_FILTERS: Final = ("action", "key_id", "target", "after", "before")
_INSTANTS: Final = ("after", "before")


def routes(desk: Desk) -> Sequence[Route]:
    return (desk.page(PATH, show),)


async def show(visit: Visit) -> Response:
    given = {name: value for name, value in visit.query.items() if value.strip()}
    asked = [
        (name, instant(value) if name in _INSTANTS else value) for name, value in given.items()
    ]
    fields = {name: given.get(name, "") for name in _FILTERS}
    fields |= {name: fields[name].removesuffix("Z") for name in _INSTANTS}
    common: dict[str, Any] = {
        "fields": fields,
        "actions": [*Action],
        "is_first": "cursor" not in given,
        "first": filters.link(PATH, given, cursor=""),
    }
    try:
        page = await visit.get("/audit", [*asked, ("limit", _ROWS)])
    except RefusedError as error:
        if not visit.may(Scope.ADMIN):
            raise
        status, problems = problems_of(error)
        return visit.page("audit.html", status, **common, problems=problems, entries=[], next=None)
    following = page["next_cursor"]
    link = None if following is None else filters.link(PATH, given, cursor=following)
    return visit.page("audit.html", **common, entries=page["audit"], next=link)
