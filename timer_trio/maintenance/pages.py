"""Rows deleted page by page, with pauses in which the database works for others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from timer_trio.storage.postgres.retention import PAGE_ROWS, pause_s


async def delete_in_pages(delete: Callable[[int], Awaitable[int]]) -> int:
    """Call `delete` with the size of a page until one is not full; answers how many rows went.

    After each full page it pauses for as long as that took.
    """
    total = 0
    while True:
        began_s = trio.current_time()
        count = await delete(PAGE_ROWS)
        total += count
        if count < PAGE_ROWS:
            return total
        await trio.sleep(pause_s(trio.current_time() - began_s))
