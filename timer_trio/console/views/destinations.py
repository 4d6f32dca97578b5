"""Where callbacks go: what waits there, how they ended, and what is held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from quart import Response

from timer_trio.api.route import Route
from timer_trio.console import filters
from timer_trio.console.desk import Desk
from timer_trio.console.forms import body_of, written
from timer_trio.console.lists import given_in, page_of
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.visit import Visit
from timer_trio.domain.destination import RECENT

PATH: Final = f"{ROOT}/destinations"
_ROWS: Final = "50"


def routes(desk: Desk) -> Sequence[Route]:
    return (
        *desk.live_page(PATH, "destinations.html", load),
        desk.action(f"{PATH}/pause", pause),
        desk.action(f"{PATH}/resume", resume),
        desk.action(f"{ROOT}/pause", pause_project),
        desk.action(f"{ROOT}/resume", resume_project),
    )


async def load(visit: Visit) -> Mapping[str, Any]:
    given = given_in(visit.query)
    find = partial(visit.get, "/destinations", [*given.items(), ("limit", _ROWS)])
    paused = await visit.context.storage.project_pause(visit.by.project)
    return {
        "paused_at": paused.paused_at,
        "since": f"{visit.context.clock.now() - RECENT:%Y-%m-%dT%H:%M:00Z}",
        "destination": given.get("destination", ""),
        "live": filters.link(f"{PATH}/live", given),
        **await page_of(PATH, "destinations", given, find),
    }


async def pause(visit: Visit) -> Response:
    return await _changed(visit, "pause")


async def resume(visit: Visit) -> Response:
    return await _changed(visit, "resume")


async def _changed(visit: Visit, what: str) -> Response:
    body = body_of({"destination": written(visit.form.text("destination"))})
    await visit.do("POST", f"/destinations/{what}", body)
    return see_other(PATH)


async def pause_project(visit: Visit) -> Response:
    await visit.do("POST", "/pause")
    return see_other(PATH)


async def resume_project(visit: Visit) -> Response:
    await visit.do("POST", "/resume")
    return see_other(PATH)
