"""What is done to many timers: how many there are first, and then how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

import trio
from quart import Response, request

from timer_trio.api.body.media import NDJSON
from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.route import Route
from timer_trio.console import filters
from timer_trio.console.desk import Desk
from timer_trio.console.forms import body_of, number, written
from timer_trio.console.rendering import ROOT
from timer_trio.console.visit import Data, RefusedError, Visit, data_of
from timer_trio.domain.bulk import BulkAction

PATH: Final = f"{ROOT}/timers/bulk"
COUNT_S: Final = 3.0
"""How long a page counts: what it has by then is a lower bound."""
_WORDS: Final = {"cancel": "canceled", "redrive": "redriven", "delete": "deleted"}


def routes(desk: Desk) -> Sequence[Route]:
    return desk.page(PATH, show), desk.action(PATH, run)


async def show(visit: Visit) -> Response:
    """Show how many timers a filter finds, and of how many something would be done."""
    action, asked = _action(visit.query.get("action", "")), filters.asked_of(visit.query)
    body = _body(action, asked, dry_run="true")
    counted, is_whole = await _count(await visit.ask("POST", "/timers/bulk", body=body))
    return _page(visit, action, asked, counted=counted, is_whole=is_whole)


async def run(visit: Visit) -> Response:
    """Do it: a script is told how far it is, line by line, and anybody else how it ended."""
    form = {name: value for name, value in visit.form.pairs() if name not in {"csrf", "action"}}
    rate = form.pop("rate_per_second", "").strip()
    action, asked = _action(visit.form.text("action")), filters.asked_of(form)
    more = {"rate_per_second": number(rate, "rate_per_second")} if rate else {}
    response = await visit.ask("POST", "/timers/bulk", body=_body(action, asked, **more))
    if response.mimetype == NDJSON and request.accept_mimetypes.best == NDJSON:
        return response
    told: list[Data] = []
    await _follow(response, told.append)
    return _page(visit, action, asked, result=_result(told[-1]))


def _page(
    visit: Visit,
    action: BulkAction,
    asked: filters.Pairs,
    *,
    result: Data | None = None,
    **counts: Any,
) -> Response:
    chosen = filters.filter_of(asked)
    return visit.page(
        "bulk.html",
        action=action,
        done_words=_WORDS[action],
        chosen=chosen,
        back=filters.link(f"{ROOT}/timers", chosen),
        result=result,
        **counts,
    )


def _action(text: str) -> BulkAction:
    try:
        return BulkAction(text)
    except ValueError:
        words = f"must be one of {', '.join(BulkAction)}"
        raise InvalidRequestError(FieldError("action", words)) from None


def _body(action: BulkAction, asked: filters.Pairs, **more: str) -> bytes:
    wanted = filters.filter_of(asked)
    return body_of({"action": written(action), "filter": json.dumps(wanted), **more})


async def _count(response: Response) -> tuple[Data, bool]:
    """Return what a dry run counts, and whether that is all.

    Raises:
        RefusedError: it is refused.
    """
    told: list[Data] = [{"matched": 0, "done": 0, "skipped": 0}]
    with trio.move_on_after(COUNT_S):
        await _follow(response, told.append)
    last = told[-1]
    if "code" not in last:
        return next(line for line in reversed(told) if "done" in line), False
    return _result(last), True


def _result(last: Data) -> Data:
    """Return what the last line of a bulk action tells.

    Raises:
        RefusedError: it was broken off.
    """
    if last["code"]:
        raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, last["message"])
    data: Data = last["data"]
    return data


async def _follow(response: Response, note: Callable[[Data], object]) -> None:
    """Have noted what a bulk action tells, line by line.

    Raises:
        RefusedError: it does not begin.
    """
    if response.mimetype != NDJSON:
        await data_of(response)
    body: Any = response.response
    async with body as lines:
        async for line in lines:
            note(json.loads(line))
