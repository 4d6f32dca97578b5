"""A PostgreSQL of the test's own, to be stopped, killed and brought back."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from timer_trio.embedded import EmbeddedUnavailableError, PostgresServer

FAST, IMMEDIATE, KILLED = signal.SIGINT, signal.SIGQUIT, signal.SIGKILL
"""The ways a server ends: its transactions rolled back, all dropped, as by a power failure."""


class Database:
    def __init__(self, server: PostgresServer, url: str) -> None:
        self._server = server
        self.url = url

    async def end(self, how: signal.Signals) -> None:
        """Take it away."""
        process = self._server._process
        assert process is not None
        process.send_signal(how)
        await self._server.wait_ended()

    async def launch(self) -> None:
        """Bring it back; what a killed server leaves behind takes a moment to end."""
        with trio.fail_after(30):
            while True:
                try:
                    await self._server.launch()
                except EmbeddedUnavailableError:
                    await trio.sleep(0.1)
                else:
                    return


@asynccontextmanager
async def own_database(folder: Path) -> AsyncIterator[Database]:
    server = PostgresServer(folder / "database")
    url = await server.start()
    try:
        yield Database(server, url)
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()
