"""Schedules: what comes next, what came of the last occurrences, and what another rule would do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from quart import Response

from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.fields.schedule import RULES
from timer_trio.api.route import Route
from timer_trio.console import filters
from timer_trio.console.desk import Desk
from timer_trio.console.forms import Form, body_of, checked_json, instant, number, written
from timer_trio.console.lists import given_in, page_of
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.views.timers import list_uncounted
from timer_trio.console.visit import Data, Problems, RefusedError, Visit, problems_of
from timer_trio.domain.project import Scope
from timer_trio.domain.schedule import ScheduleStatus
from timer_trio.domain.timer import rfc3339

PATH: Final = f"{ROOT}/schedules"
_ONE: Final = f"{PATH}/{{schedule_id}}"
_ROWS: Final = "50"
_PAST_RUNS: Final = "40"
_PREVIEWED: Final = "10"
_FILTERS: Final = ("status", "name", "flow_key")
_TIMING: Final = ("kind", "rule", "timezone", "start_at", "end_at", "max_occurrences")
_MORE: Final = ("name", "callback_url", "callback_payload")


def routes(desk: Desk) -> Sequence[Route]:
    return (
        *desk.live_page(PATH, "schedules.html", load),
        desk.page(f"{PATH}/new", show_new),
        desk.action(f"{PATH}/new", create),
        *desk.live_page(_ONE, "schedule.html", load_one),
        desk.action(f"{_ONE}/pause", pause),
        desk.action(f"{_ONE}/resume", resume),
        desk.action(f"{_ONE}/trigger", trigger),
        desk.action(f"{_ONE}/end", end),
        desk.page(f"{_ONE}/change", show_change),
        desk.action(f"{_ONE}/change", change),
    )


async def load(visit: Visit) -> Mapping[str, Any]:
    given = given_in(visit.query)
    find = partial(visit.get, "/schedules", [*given.items(), ("limit", _ROWS)])
    return {
        "fields": {name: given.get(name, "") for name in _FILTERS},
        "statuses": [*ScheduleStatus],
        "live": filters.link(f"{PATH}/live", given),
        **await page_of(PATH, "schedules", given, find),
    }


async def load_one(visit: Visit, schedule_id: str) -> Mapping[str, Any]:
    schedule = await visit.get(f"/schedules/{schedule_id}")
    return {
        "schedule": schedule,
        "live": f"{PATH}/{schedule['id']}/live",
        "runs": await _past_runs(visit, schedule["id"]),
        "has_ended": schedule["status"] == ScheduleStatus.ENDED,
        "is_paused": schedule["status"] == ScheduleStatus.PAUSED,
    }


async def _past_runs(visit: Visit, schedule_id: str) -> Sequence[Data]:
    """Return the latest occurrences that were due, the oldest first."""
    asked = [
        ("schedule_id", schedule_id),
        ("execute_before", rfc3339(visit.context.clock.now())),
        ("sort", "execute_at"),
        ("limit", _PAST_RUNS),
    ]
    timers: list[Data] = (await list_uncounted(visit, asked))["timers"]
    return timers[::-1]


async def pause(visit: Visit, schedule_id: str) -> Response:
    return await _done(visit, schedule_id, "pause")


async def resume(visit: Visit, schedule_id: str) -> Response:
    return await _done(visit, schedule_id, "resume")


async def _done(visit: Visit, schedule_id: str, what: str) -> Response:
    await visit.do("POST", f"/schedules/{schedule_id}/{what}")
    return see_other(f"{PATH}/{schedule_id}")


async def trigger(visit: Visit, schedule_id: str) -> Response:
    made = await visit.do("POST", f"/schedules/{schedule_id}/trigger")
    return see_other(f"{ROOT}/timers/{made['id']}")


async def end(visit: Visit, schedule_id: str) -> Response:
    await visit.do("DELETE", f"/schedules/{schedule_id}")
    return see_other(f"{PATH}/{schedule_id}")


async def show_new(visit: Visit) -> Response:
    visit.require(Scope.WRITE)
    fields = dict.fromkeys((*_TIMING, *_MORE), "")
    return _form_page(visit, None, {**fields, "kind": "cron", "timezone": "UTC"})


async def create(visit: Visit) -> Response:
    """Show what a rule would do, or create a schedule of it."""
    fields = {name: visit.form.text(name) for name in (*_TIMING, *_MORE)}
    try:
        if visit.form.text("do") == "preview":
            return _form_page(visit, None, fields, instants=await _preview(visit))
        body = body_of({**_timing(visit.form), **_about(visit.form)})
        made = await visit.do("POST", "/schedules", body)
    except (RefusedError, InvalidRequestError) as error:
        status, problems = problems_of(error)
        return _form_page(visit, None, fields, status, problems=problems)
    return see_other(f"{PATH}/{made['id']}")


async def show_change(visit: Visit, schedule_id: str) -> Response:
    visit.require(Scope.WRITE)
    schedule = await visit.get(f"/schedules/{schedule_id}")
    return _form_page(visit, schedule, _fields_of(schedule))


async def change(visit: Visit, schedule_id: str) -> Response:
    """Show what another rule would do, or have the schedule go by it."""
    schedule = await visit.get(f"/schedules/{schedule_id}")
    fields = {name: visit.form.text(name) for name in (*_TIMING, *_MORE)}
    try:
        if visit.form.text("do") == "preview":
            return _form_page(visit, schedule, fields, instants=await _preview(visit))
        body = body_of({**_timing(visit.form, changes=True), **_about(visit.form)})
        await visit.do("PUT", f"/schedules/{schedule_id}", body)
    except (RefusedError, InvalidRequestError) as error:
        status, problems = problems_of(error)
        return _form_page(visit, schedule, fields, status, problems=problems)
    return see_other(f"{PATH}/{schedule_id}")


async def _preview(visit: Visit) -> Sequence[str]:
    body = body_of({**_timing(visit.form), "count": _PREVIEWED})
    instants: Sequence[str] = (await visit.do("POST", "/schedules/preview", body))["next"]
    return instants


def _form_page(
    visit: Visit,
    schedule: Data | None,
    fields: Mapping[str, str],
    status: int = 200,
    *,
    problems: Problems = (),
    instants: Sequence[str] | None = None,
) -> Response:
    return visit.page(
        "schedule_form.html",
        status,
        schedule=schedule,
        fields=fields,
        # What is sent as it was is not asked for anew.
        before={} if schedule is None else _fields_of(schedule),
        kinds=RULES,
        problems=problems,
        instants=instants,
    )


def _fields_of(schedule: Data) -> dict[str, str]:
    kind = next(name for name in RULES if schedule[name] is not None)
    rule, most = schedule[kind], schedule["max_occurrences"]
    return {
        "kind": kind,
        "rule": f"{rule:.12g}" if isinstance(rule, float) else str(rule),
        "timezone": schedule["timezone"] or "",
        "start_at": (schedule["start_at"] or "").removesuffix("Z"),
        "end_at": (schedule["end_at"] or "").removesuffix("Z"),
        "max_occurrences": "" if most is None else str(most),
        "name": schedule["name"] or "",
        "callback_url": schedule["callback_url"],
        "callback_payload": json.dumps(schedule["callback_payload"], ensure_ascii=False, indent=2),
    }


def _timing(form: Form, *, changes: bool = False) -> dict[str, str]:
    """Return when a rule has its instants; of a change also what is taken away.

    Raises:
        InvalidRequestError: naming what is wrong.
    """
    kind, rule = form.text("kind"), form.text("rule")
    if kind not in RULES:
        raise InvalidRequestError(FieldError("kind", f"must be one of {', '.join(RULES)}"))
    members = {kind: _every(rule) if kind == "every" else written(rule)}
    zone = form.text("timezone")
    if zone and kind != "every":
        members["timezone"] = written(zone)
    for name in ("start_at", "end_at"):
        if chosen := instant(form.text(name)):
            members[name] = written(chosen)
        elif changes and form.text(f"before_{name}"):
            members[name] = "null"
    if most := form.text("max_occurrences"):
        members["max_occurrences"] = number(most, "max_occurrences")
    elif changes and form.text("before_max_occurrences"):
        members["max_occurrences"] = "null"
    return members


def _every(rule: str) -> str:
    """Return an interval, which is a number of seconds or a text."""
    return rule if rule.replace(".", "", 1).isdecimal() else written(rule)


def _about(form: Form) -> dict[str, str]:
    """Return what else the form says otherwise than before."""
    members: dict[str, str] = {}
    for name in _MORE:
        value = form.text(name)
        if value == form.text(f"before_{name}"):
            continue
        if name == "callback_payload":
            members[name] = checked_json(value or "null", name)
        else:
            members[name] = written(value) if value else "null"
    return members
