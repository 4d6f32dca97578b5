"""`timer-trio serve` as a process."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from tests.acceptance.client import Consumer
from tests.acceptance.processes import PATIENCE_S, Program, running

API_KEY: Final = "an-api-key-of-the-acceptance-tests"
SERVE: Final = ("-m", "timer_trio", "serve")
POLL_S: Final = 0.02


class Service:
    """A service that has been started, and a consumer of it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.consumer = Consumer(API_KEY)
        self._log: list[dict[str, Any]] = []
        self._lines_read = 0

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = self.program.err[self._lines_read :]
        self._lines_read += len(lines)
        self._log += [json.loads(line) for line in lines if line.startswith("{")]
        return self._log

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == event]

    async def wait_logged(self, event: str) -> dict[str, Any]:
        """Wait for a line of the log."""
        return await self.program.eventually(lambda: next(iter(self.logged(event)), None))

    async def wait_listening(self) -> None:
        started = await self.wait_logged("starting")
        self.consumer.port = int(started["listening"][0].rpartition(":")[2])

    async def wait_status(self, path: str, status: int) -> float:
        """Wait until a route answers so; tells how many seconds that took."""
        began = trio.current_time()
        with trio.fail_after(PATIENCE_S):
            while (await self.consumer.ask("GET", path)).status != status:  # noqa: ASYNC110 - a probe
                await trio.sleep(POLL_S)
        return trio.current_time() - began

    async def stop(self) -> None:
        """Stop it in good order: what it has not sent by now it never sends."""
        self.program.send_signal(signal.SIGTERM)
        assert await self.program.wait_ended() == 0, self.program.err[-20:]

    async def assert_degraded(self) -> None:
        """Claim that the service lives, and refuses work as long as the database is away."""
        assert (await self.consumer.ask("GET", "/health/live")).status == 200
        for path in ("/health", "/health/ready", "/timers", "/replicas"):
            answer = await self.consumer.ask("GET", path)
            assert (path, answer.status, answer.body["code"]) == (path, 503, 1)
            assert "retry-after" in answer.headers

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.consumer.port)


@asynccontextmanager
async def service(
    *options: str, ready: bool = True, program: Sequence[str] = SERVE, **environ: str
) -> AsyncIterator[Service]:
    """Run `timer-trio serve` until the block ends; `ready`: wait until it has loaded."""
    here = {"CALLBACK_ALLOW": "127.0.0.0/8"}
    defaults = here | {"PORT": "0", "LOG_FORMAT": "json", "API_KEY": API_KEY}
    async with running(*program, *options, environ=defaults | environ) as started:
        served = Service(started)
        await served.wait_listening()
        if ready:
            await served.wait_logged("ready")
        try:
            yield served
        finally:
            served.consumer.close()
