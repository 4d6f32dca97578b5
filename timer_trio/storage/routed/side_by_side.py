"""Several calls at once, as if they were one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from timer_trio.domain.errors import TimerTrioError

T = TypeVar("T")


async def side_by_side(calls: Sequence[Callable[[], Awaitable[T]]]) -> Sequence[T]:
    """Make calls at once, and answer in their order.

    Raises:
        TimerTrioError: what the first of those that failed has raised, as one call would.
    """
    answers: dict[int, T] = {}
    errors: dict[int, TimerTrioError] = {}

    async def make(place: int, call: Callable[[], Awaitable[T]]) -> None:
        try:
            answers[place] = await call()
        except TimerTrioError as error:
            errors[place] = error

    async with trio.open_nursery() as nursery:
        for place, call in enumerate(calls):
            nursery.start_soon(make, place, call)
    if errors:
        raise errors[min(errors)]
    return [answers[place] for place in range(len(calls))]
