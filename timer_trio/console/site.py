"""All pages of the console."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from quart import Response

from timer_trio.api.context import ApiContext
from timer_trio.api.inside import Inside
from timer_trio.api.route import Route
from timer_trio.console.desk import Desk
from timer_trio.console.rendering import ROOT, STATIC_MEDIA, static_file
from timer_trio.console.views import (
    audit,
    bulk,
    destinations,
    flows,
    keys,
    login,
    overview,
    projects,
    schedules,
    secrets,
    timer,
    timers,
    trial,
)


def routes(context: ApiContext, inside: Inside) -> Sequence[Route]:
    """Return the routes of all pages, and of what they load."""
    desk = Desk(context, inside)
    subjects = (
        *(login, overview, timers, timer, bulk, schedules, destinations, flows),
        *(projects, keys, secrets, audit, trial),
    )
    pages = [route for subject in subjects for route in subject.routes(desk)]
    return [*pages, *(_static(desk, name) for name in STATIC_MEDIA)]


def _static(desk: Desk, name: str) -> Route:
    return desk.open("GET", f"{ROOT}/static/{name}", partial(_file, name, static_file(name)))


async def _file(name: str, content: bytes) -> Response:
    headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response(content, headers=headers, content_type=STATIC_MEDIA[name])
