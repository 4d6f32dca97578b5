"""A page of what the API lists in pages: what is found, and where the others are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from timer_trio.api.errors import InvalidRequestError
from timer_trio.console import filters
from timer_trio.console.visit import Data, RefusedError, problems_of


def given_in(query: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a page that ask for something."""
    return {name: value for name, value in query.items() if value.strip()}


async def page_of(
    path: str, name: str, given: Mapping[str, str], find: Callable[[], Awaitable[Data]]
) -> dict[str, Any]:
    """Return what a template shows of a list: what `find` has found by its `name`, or why nothing.

    `path` is that of the page, and `given` are its parameters.
    """
    pages = {"is_first": "cursor" not in given, "first": filters.link(path, given, cursor="")}
    try:
        page = await find()
    except (RefusedError, InvalidRequestError) as error:
        status, problems = problems_of(error)
        return {**pages, "status": status, "problems": problems, name: [], "next": None}
    following = page["next_cursor"]
    link = None if following is None else filters.link(path, given, cursor=following)
    return {**pages, name: page[name], "next": link}
