"""An empty database for statements alone: no service runs on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import psycopg
import trio

from benchmarks.programs import temporary_folder
from timer_trio.embedded import embedded_postgres
from timer_trio.threads import run_in_thread

Connection = psycopg.Connection[tuple[Any, ...]]
Result = TypeVar("Result")


def in_scratch_database(work: Callable[[Connection], Result]) -> Result:
    """Return what `work` returns, which gets a session in autocommit mode; then all is deleted."""

    async def main() -> Result:
        async with embedded_postgres(folder / "data") as url:
            limiter = trio.CapacityLimiter(1)
            return await run_in_thread(partial(_with_session, url, work), limiter=limiter)

    with temporary_folder() as folder:
        return trio.run(main)


def _with_session(url: str, work: Callable[[Connection], Result]) -> Result:
    with psycopg.connect(url, autocommit=True) as connection:
        return work(connection)
