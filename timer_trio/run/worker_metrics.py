"""A worker's side of the metrics: it tells its own, and gets those of all from its parent."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio
from prometheus_client import CollectorRegistry

from timer_trio.run.metrics_line import Kind, Message, MetricsLine
from timer_trio.telemetry.exposition import OthersSilentError, snapshot

PATIENCE_S: Final = 5.0
"""Several times what the parent waits for the slowest worker."""


class _Text:
    """What is shown, once it is known."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.text: bytes | None = None


class WorkerMetrics:
    """Answers the parent's questions, and asks it what all workers show together."""

    def __init__(self, line: MetricsLine, registry: CollectorRegistry) -> None:
        self._line = line
        self._registry = registry
        self._wanted: deque[_Text] = deque()
        self._has_ended = False

    async def run(self) -> None:
        """Tell the parent what it asks for, until it has ended; then the line is closed."""
        try:
            await self._answer()
        finally:
            self._has_ended = True
            self._line.close()
            while self._wanted:
                self._give(self._wanted.popleft(), None)

    async def _answer(self) -> None:
        while (message := await self._line.receive()) is not None:
            if message.kind is Kind.ASK:
                told = await snapshot(self._registry)
                await self._line.send(Message(Kind.TOLD, told))
            elif self._wanted:
                self._give(self._wanted.popleft(), message.body)

    async def text(self) -> bytes:
        """Say in Prometheus' words what all workers show together.

        Raises:
            OthersSilentError: the parent does not answer. What this one shows alone would seem to
                be a fall of all that only rises.
        """
        wanted = _Text()
        if not self._has_ended:
            self._wanted.append(wanted)
            await self._line.send(Message(Kind.WANT))
            with trio.move_on_after(PATIENCE_S):
                await wanted.arrived.wait()
        if wanted.text is None:
            raise OthersSilentError
        return wanted.text

    def _give(self, wanted: _Text, text: bytes | None) -> None:
        wanted.text = text
        wanted.arrived.set()
