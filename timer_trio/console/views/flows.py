"""Flows: what limits and holds back the timers that share a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from quart import Response

from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.route import Route
from timer_trio.console import filters
from timer_trio.console.desk import Desk
from timer_trio.console.forms import Form, body_of, number
from timer_trio.console.lists import given_in, page_of
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.visit import Data, Problems, RefusedError, Visit, problems_of

PATH: Final = f"{ROOT}/flows"
ONE: Final = f"{ROOT}/flow"
"""Its key stands in the query: it may be any text."""
_ROWS: Final = "50"
_FIELDS: Final = ("max_in_flight", "count", "per_seconds")


def routes(desk: Desk) -> Sequence[Route]:
    return (
        *desk.live_page(PATH, "flows.html", load),
        *desk.live_page(ONE, "flow.html", load_one),
        desk.action(ONE, change),
        desk.action(f"{ONE}/pause", pause),
        desk.action(f"{ONE}/resume", resume),
        desk.action(f"{ONE}/delete", delete),
    )


async def load(visit: Visit) -> Mapping[str, Any]:
    given = given_in(visit.query)
    find = partial(visit.get, "/flows", [*given.items(), ("limit", _ROWS)])
    return {
        "paused": given.get("paused", ""),
        "live": filters.link(f"{PATH}/live", given),
        **await page_of(PATH, "flows", given, find),
    }


async def load_one(visit: Visit) -> Mapping[str, Any]:
    return await _shown(visit, visit.query.get("flow_key", ""))


async def _shown(visit: Visit, key: str) -> dict[str, Any]:
    flow = await visit.get(_path(key))
    return {
        "flow": flow,
        "fields": _fields_of(flow),
        "live": filters.link(f"{ONE}/live", {"flow_key": key}),
    }


async def change(visit: Visit) -> Response:
    """Set the limits of a flow to what the form says; an empty field is no limit."""
    key = visit.form.text("flow_key")
    try:
        await visit.do("PUT", _path(key), body_of(_limits(visit.form)))
    except (RefusedError, InvalidRequestError) as error:
        return await _again(visit, key, *problems_of(error))
    return _to(key)


async def _again(visit: Visit, key: str, status: int, problems: Problems) -> Response:
    values = await _shown(visit, key)
    values["fields"] = {name: visit.form.text(name) for name in _FIELDS}
    return visit.page("flow.html", status, **{**values, "problems": problems})


async def pause(visit: Visit) -> Response:
    return await _set_paused(visit, "true")


async def resume(visit: Visit) -> Response:
    return await _set_paused(visit, "false")


async def _set_paused(visit: Visit, paused: str) -> Response:
    key = visit.form.text("flow_key")
    await visit.do("PUT", _path(key), body_of({"paused": paused}))
    return _to(key)


async def delete(visit: Visit) -> Response:
    await visit.do("DELETE", _path(visit.form.text("flow_key")))
    return see_other(PATH)


def _to(key: str) -> Response:
    return see_other(f"{ONE}?{urlencode({'flow_key': key})}")


def _path(key: str) -> str:
    """Return the path of a flow in the API.

    Raises:
        InvalidRequestError: nothing can have this key.
    """
    if not key:
        raise InvalidRequestError(FieldError("flow_key", "must not be empty"))
    return f"/flows/{key}"


def _fields_of(flow: Data) -> dict[str, str]:
    rate = flow["rate"] or {"count": "", "per_seconds": ""}
    most = flow["max_in_flight"]
    return {
        "max_in_flight": "" if most is None else str(most),
        "count": str(rate["count"]),
        "per_seconds": str(rate["per_seconds"]),
    }


def _limits(form: Form) -> dict[str, str]:
    most, count, per_s = (form.text(name) for name in _FIELDS)
    rate = "null"
    if count or per_s:
        rate = (
            f'{{"count": {number(count, "count")}, "per_seconds": {number(per_s, "per_seconds")}}}'
        )
    return {"max_in_flight": number(most, "max_in_flight") if most else "null", "rate": rate}
