"""One timer: all that is known of it, and what can be done to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from quart import Response

from timer_trio.api.errors import InvalidRequestError
from timer_trio.api.route import Route
from timer_trio.console.desk import Desk
from timer_trio.console.forms import Form, body_of, checked_json, instant, number, written
from timer_trio.console.rendering import ROOT, see_other
from timer_trio.console.visit import Data, Problems, RefusedError, Visit, problems_of
from timer_trio.domain.project import Scope
from timer_trio.domain.timer import ENDED, WAITING, Method, Status

_ONE: Final = f"{ROOT}/timers/{{timer_id}}"
_JSON_FIELDS: Final = ("callback_payload", "callback_headers", "metadata", "retry")
_TEXT_FIELDS: Final = ("callback_url", "callback_method")


def routes(desk: Desk) -> Sequence[Route]:
    return (
        *desk.live_page(_ONE, "timer.html", load),
        desk.action(f"{_ONE}/cancel", cancel),
        desk.action(f"{_ONE}/run-now", run_now),
        desk.action(f"{_ONE}/redrive", redrive),
        desk.page(f"{_ONE}/change", show_change),
        desk.action(f"{_ONE}/change", change),
    )


async def load(visit: Visit, timer_id: str) -> Mapping[str, Any]:
    timer = await visit.get(f"/timers/{timer_id}")
    kept = await visit.get(f"/timers/{timer_id}/attempts")
    return {
        "timer": timer,
        "attempts": kept["attempts"],
        "live": f"{ROOT}/timers/{timer['id']}/live",
        "waits": timer["status"] in WAITING,
        "has_ended": timer["status"] in ENDED,
        "is_under_way": timer["status"] == Status.EXECUTING,
    }


async def cancel(visit: Visit, timer_id: str) -> Response:
    await visit.do("DELETE", f"/timers/{timer_id}")
    return see_other(f"{ROOT}/timers/{timer_id}")


async def run_now(visit: Visit, timer_id: str) -> Response:
    await visit.do("PUT", f"/timers/{timer_id}", body_of({"delay": "0"}))
    return see_other(f"{ROOT}/timers/{timer_id}")


async def redrive(visit: Visit, timer_id: str) -> Response:
    due_at = instant(visit.form.text("execute_at"))
    body = body_of({"execute_at": written(due_at)}) if due_at else b""
    await visit.do("POST", f"/timers/{timer_id}/redrive", body)
    return see_other(f"{ROOT}/timers/{timer_id}")


async def show_change(visit: Visit, timer_id: str) -> Response:
    visit.require(Scope.WRITE)
    timer = await visit.get(f"/timers/{timer_id}")
    return _change_page(visit, timer, _fields_of(timer))


async def change(visit: Visit, timer_id: str) -> Response:
    """Change what the form says otherwise than the timer did when the form was made."""
    timer = await visit.get(f"/timers/{timer_id}")
    try:
        members = _changes(visit.form)
        await visit.do("PUT", f"/timers/{timer_id}", body_of(members))
    except (RefusedError, InvalidRequestError) as error:
        status, problems = problems_of(error)
        shown = {name: visit.form.text(name) for name in _fields_of(timer)}
        return _change_page(visit, timer, shown, status, problems)
    return see_other(f"{ROOT}/timers/{timer_id}")


def _change_page(
    visit: Visit,
    timer: Data,
    fields: Mapping[str, str],
    status: int = 200,
    problems: Problems = (),
) -> Response:
    return visit.page(
        "timer_change.html",
        status,
        timer=timer,
        fields=fields,
        # What is sent as it was stays as it is, masked values among it.
        before=_fields_of(timer),
        methods=[*Method],
        problems=problems,
    )


def _fields_of(timer: Data) -> dict[str, str]:
    """Return what the form holds of a timer."""
    fields = {name: json.dumps(timer[name], ensure_ascii=False, indent=2) for name in _JSON_FIELDS}
    fields |= {name: timer[name] for name in _TEXT_FIELDS}
    return {
        **fields,
        "execute_at": timer["execute_at"].removesuffix("Z"),
        "timeout_seconds": f"{timer['timeout_seconds']:g}",
    }


def _changes(form: Form) -> dict[str, str]:
    """Return the members of the body that asks for what the form says.

    Raises:
        InvalidRequestError: naming the first field that is wrong.
    """
    members: dict[str, str] = {}
    for name in (*_JSON_FIELDS, *_TEXT_FIELDS, "execute_at", "timeout_seconds"):
        value = form.text(name)
        if value == form.text(f"before_{name}"):
            continue
        if name in _JSON_FIELDS:
            members[name] = checked_json(value or "null", name)
        elif name == "timeout_seconds":
            members[name] = number(value, name)
        else:
            members[name] = written(instant(value) if name == "execute_at" else value)
    return members
