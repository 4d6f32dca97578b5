"""A queue of creates, in which light ones never wait for heavy ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NoReturn, TypeVar

import trio

from timer_trio.domain.create_cost import create_cost_us
from timer_trio.domain.timer import TimerSpec
from timer_trio.storage.group_commit import GroupCommit
from timer_trio.telemetry.metrics import Metrics

Row = TypeVar("Row")
Reply = TypeVar("Reply")

MAX_CREATES: Final = 500
"""Rows in one INSERT: beyond it a bigger batch gains nothing and its first caller waits longer."""
MAX_CREATES_US: Final = 15_000
"""The database's time for one INSERT, as estimated: a claim may have to wait for it."""
LIGHT_US: Final = 1_000
"""What is estimated to take longer has a queue of its own, so that others do not wait for it."""
ANSWERS_AT_ONCE: Final = 8
"""Each caller then writes its answer, half a millisecond's work, and callbacks go in between."""


class CreateQueue(Generic[Row, Reply]):
    """Queues creates, and writes what is queued with one call of `commit`, as a GroupCommit."""

    def __init__(
        self,
        verb: str,
        commit: Callable[[Sequence[Row]], Awaitable[Sequence[Reply]]],
        metrics: Metrics,
    ) -> None:
        self._light, self._heavy = (
            GroupCommit[Row, Reply](
                verb,
                commit,
                metrics,
                max_rows=MAX_CREATES,
                max_weight=MAX_CREATES_US,
                answers_at_once=ANSWERS_AT_ONCE,
            )
            for _ in range(2)
        )

    async def run(self) -> NoReturn:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._light.run)
            nursery.start_soon(self._heavy.run)
        raise AssertionError("neither of them ends")

    async def submit(self, row: Row, spec: TimerSpec) -> Reply:
        """Return when the create of a timer with this spec has committed.

        Raises:
            RowRefusedError: the database refuses it.
        """
        cost_us = create_cost_us(spec, at_most=MAX_CREATES_US)
        queue = self._light if cost_us <= LIGHT_US else self._heavy
        return await queue.submit(row, cost_us)
