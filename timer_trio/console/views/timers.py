"""The timers of a project: which ones, and how they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from timer_trio.api.cursor import cursor_of
from timer_trio.api.query import parse_query
from timer_trio.api.route import Route
from timer_trio.console import filters
from timer_trio.console.desk import Desk
from timer_trio.console.lists import page_of
from timer_trio.console.rendering import ROOT
from timer_trio.console.visit import Data, Visit
from timer_trio.domain.query import Order, Position
from timer_trio.domain.timer import Status, TimerId

PATH: Final = f"{ROOT}/timers"
_ROWS: Final = "50"
_BEHIND_ALL: Final = Position(datetime.max.replace(tzinfo=UTC), TimerId(UUID(int=(1 << 128) - 1)))
_BEFORE_ALL: Final = Position(datetime(1, 1, 1, tzinfo=UTC), TimerId(UUID(int=0)))
_BULK: Final = (("cancel", "Cancel"), ("redrive", "Redrive"), ("delete", "Delete"))


def routes(desk: Desk) -> Sequence[Route]:
    return desk.live_page(PATH, "timers.html", load)


async def load(visit: Visit) -> Mapping[str, Any]:
    given = visit.query
    asked = filters.asked_of(given)
    find = partial(list_uncounted, visit, [*asked, ("limit", _ROWS)])
    return {
        "fields": filters.fields_of(given),
        "statuses": [*Status],
        "is_filtered": bool(filters.filter_of(asked)),
        "bulk": [(name, words, _bulk_link(name, asked)) for name, words in _BULK],
        "live": filters.link(f"{PATH}/live", given),
        **await page_of(PATH, "timers", given, find),
    }


async def list_uncounted(visit: Visit, asked: filters.Pairs) -> Data:
    """Return a page of timers; none of them are counted, of which there may be millions.

    Raises:
        InvalidRequestError, RefusedError: it is not listed.
    """
    if not any(name == "cursor" for name, _ in asked):
        key = visit.context.cursor_key
        query = parse_query(urlencode(asked).encode(), key, visit.by.project)
        # Behind a position nothing is counted: so the first page is what stands behind nothing.
        start = _BEHIND_ALL if query.order is Order.DESC else _BEFORE_ALL
        asked = [*asked, ("cursor", cursor_of(start, query, key))]
    return await visit.get("/timers", asked)


def _bulk_link(action: str, asked: filters.Pairs) -> str:
    return filters.link(f"{PATH}/bulk", filters.filter_of(asked), action=action)
