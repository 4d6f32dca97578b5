"""The one door to worker threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def run_in_thread(
    function: Callable[..., T],
    *args: object,
    limiter: trio.CapacityLimiter,
    abandon_on_cancel: bool = False,
) -> T:
    """Run a blocking function in a worker thread, as soon as the limiter lets it.

    Cancellation: while it waits for the limiter. Once the function runs, its end is waited for,
    whatever happens; with `abandon_on_cancel` it is left to itself, with its place in the limiter.
    """
    return await trio.to_thread.run_sync(  # noqa: TID251 - this is the door
        function, *args, limiter=limiter, abandon_on_cancel=abandon_on_cancel
    )
