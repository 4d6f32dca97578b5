"""The embedded PostgreSQL, for as long as something beside it runs.

python -m benchmarks.database DATA_DIR: runs it alone, until standard input ends.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from timer_trio.embedded import embedded_postgres
from timer_trio.threads import run_in_thread


async def beside_database(data_dir: Path, work: Callable[[str], Awaitable[None]]) -> None:
    """Run a database until what is done beside it, which gets its URL, is done or SIGTERM comes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_told, nursery.cancel_scope)
        async with embedded_postgres(data_dir) as url:
            await work(url)
        nursery.cancel_scope.cancel()


async def _stop_when_told(everything: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await anext(aiter(signals))
    everything.cancel()


async def _wait_told(_database_url: str) -> None:
    print("started", flush=True)
    await run_in_thread(sys.stdin.readline, limiter=trio.CapacityLimiter(1))


if __name__ == "__main__":
    trio.run(beside_database, Path(sys.argv[1]), _wait_told)
