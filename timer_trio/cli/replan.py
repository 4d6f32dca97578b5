"""Has a running service plan its schedules anew, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import click

from timer_trio.cli.asking import Api
from timer_trio.cli.errors import CommandError, NotAnsweredError, RefusedError
from timer_trio.cli.service import NO_TIMER_SERVICE
from timer_trio.cli.terminal import shows_progress

MAX_PAGE = "200"
_ERASE = "\r\x1b[K"


def replan_all(api: Api, cursor: str | None) -> tuple[int, int]:
    """Plan all active schedules anew, from a cursor on; returns how many, and what has moved.

    Raises:
        CommandError: it came not to the end; the words say how to go on.
    """
    count = moved = 0
    at = cursor
    try:
        for following, ids in _pages(api, cursor):
            for schedule_id in ids:
                moved += _replan(api, schedule_id)
                count += 1
            at = following
            _show(f"{count:,} planned anew, {moved:,} moved")
    except CommandError as error:
        how = f"--cursor {at}" if at else "the same command"
        words = f"{error} ({count:,} were planned anew; go on with {how})"
        raise type(error)(words) from error
    finally:
        _show("")
    return count, moved


def _replan(api: Api, schedule_id: str) -> int:
    try:
        moved: int = api.ask("POST", f"/schedules/{schedule_id}/replan")["moved"]
    except RefusedError as error:
        if str(error) == "no schedule has this id":
            return 0  # it was there when it was listed
        raise
    return moved


def _pages(api: Api, cursor: str | None) -> Iterator[tuple[str | None, list[str]]]:
    """Yield the ids of active schedules page by page, with the cursor behind each."""
    at = cursor
    while True:
        asked = {"status": "active", "limit": MAX_PAGE} | ({"cursor": at} if at else {})
        match api.ask("GET", "/schedules", asked):
            case {"schedules": [*page], "next_cursor": str() | None as following}:
                yield following, [str(each["id"]) for each in page]
            case _:
                raise NotAnsweredError(f"what answered lists no schedules: {NO_TIMER_SERVICE}")
        if following is None:
            return
        at = following


def _show(words: str) -> None:
    if shows_progress():
        click.echo(f"{_ERASE}{words}", nl=False, err=True)
