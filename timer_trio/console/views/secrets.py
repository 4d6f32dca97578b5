"""What signs the callbacks of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart import Response

from timer_trio.api.route import Route
from timer_trio.console.desk import Desk
from timer_trio.console.forms import body_of, number
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.visit import Visit
from timer_trio.domain.signing import DEFAULT_OVERLAP

PATH: Final = f"{ROOT}/secrets"


def routes(desk: Desk) -> Sequence[Route]:
    return (
        desk.page(PATH, show),
        desk.action(f"{PATH}/rotate", rotate),
        desk.action(f"{PATH}/{{secret_id}}/delete", delete),
    )


async def show(visit: Visit) -> Response:
    return visit.page(
        "secrets.html",
        secrets=(await visit.get("/signing-secrets"))["signing_secrets"],
        overlap_s=f"{DEFAULT_OVERLAP.total_seconds():g}",
    )


async def rotate(visit: Visit) -> Response:
    overlap = visit.form.text("overlap_seconds")
    body = body_of({"overlap_seconds": number(overlap, "overlap_seconds")}) if overlap else b""
    await visit.do("POST", "/signing-secrets/rotate", body)
    return see_other(PATH)


async def delete(visit: Visit, secret_id: str) -> Response:
    await visit.do("DELETE", f"/signing-secrets/{secret_id}")
    return see_other(PATH)
