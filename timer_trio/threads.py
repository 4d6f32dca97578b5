"""The one door to worker threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import trio

T = TypeVar("T")


async def run_in_thread(
    function: Callable[..., T],
    *args: object,
    limiter: trio.CapacityLimiter,
) -> T:
    """Run a blocking function in a worker thread, as soon as the limiter lets it.

    Cancellation: while it waits for the limiter. Once the function runs, its end is waited for,
    whatever happens.
    """
    return await trio.to_thread.run_sync(  # noqa: TID251 - this is the door
        function, *args, limiter=limiter
    )


def start_in_thread(work: Callable[[], T], on_end: Callable[[T], object]) -> None:
    """Start a blocking function in a worker thread without a task that waits for it.

    `on_end` gets its result in the event loop, if that still runs. `work` must not raise, and how
    many threads there are at once is up to the caller.

    Raises:
        RuntimeError: the system gives no thread.
    """
    token = trio.lowlevel.current_trio_token()

    def deliver(result: T) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(on_end, result)

    trio.lowlevel.start_thread_soon(work, lambda ended: deliver(ended.unwrap()))
