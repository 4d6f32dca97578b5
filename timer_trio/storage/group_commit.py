"""Many callers, one statement: a queue whose rows are written together."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, NoReturn, TypeVar

import structlog
import trio

from timer_trio.domain.errors import (
    ContentionError,
    RowRefusedError,
    RowsFailedError,
    StorageUnavailableError,
)
from timer_trio.domain.paused import Paused, PausedItems
from timer_trio.storage.halving import by_halves
from timer_trio.telemetry.metrics import Metrics

Row = TypeVar("Row")
Reply = TypeVar("Reply")

CONTENTION_PAUSE_S: Final = 0.02
"""Long enough for the transaction in the way to end, short enough not to make a timer late."""
RETRY_PAUSE_S: Final = 0.25
"""Between tries of a database that is away: firing must resume within 2 s of its return."""

log = structlog.get_logger()


class PutOff(Enum):
    """The reply for a row that could not be written now, and kept no other from being written."""

    PUT_OFF = "put off"


async def repeat_until_answered(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """Make the same call until the database answers it; the call must be repeatable."""
    while True:
        try:
            return await call()
        except ContentionError:
            await trio.sleep(CONTENTION_PAUSE_S)
        except StorageUnavailableError:
            await trio.sleep(RETRY_PAUSE_S)


@dataclass(slots=True, eq=False)
class _Entry(Generic[Row, Reply]):
    row: Row
    weight: int
    on_reply: Callable[[Reply | RowRefusedError], None]
    pause: Paused[_Entry[Row, Reply]] | None = None
    """How long it was put off last."""
    is_put_off: bool = False
    """It waits for that time."""
    failed: bool = False
    """The database has failed on this row alone."""
    closed: bool = False
    """Answered, or nobody waits for it any more."""

    @property
    def is_queued_next(self) -> bool:
        """Whether it is written with the next ones if it is not written now."""
        return not (self.closed or self.is_put_off)

    def answer(self, reply: Reply | RowRefusedError) -> None:
        if not self.closed:
            self.closed = True
            self.on_reply(reply)


class GroupCommit(Generic[Row, Reply]):
    """Queues rows, and writes what is queued with one call of `commit`.

    The first row waits `linger_s` for others, unless there are `max_rows` sooner. Rows that weigh
    more than `max_weight` together are not written together. After `answers_at_once` callers have
    been answered, other tasks have their turn.

    A row for which `commit` replies PUT_OFF is written again later, after a pause that grows.
    `commit` must be repeatable with the same rows, since after a lost reply it is called again, and
    work with none. A row that it refuses is found by halving and answered with the RowRefusedError
    alone; so is one on which the database fails, which is put off and then written by itself. While
    the database is away the rows wait.
    """

    def __init__(
        self,
        verb: str,
        commit: Callable[[Sequence[Row]], Awaitable[Sequence[Reply | PutOff]]],
        metrics: Metrics,
        *,
        max_rows: int,
        max_weight: int = 0,
        answers_at_once: int | None = None,
        linger_s: float = 0.0,
    ) -> None:
        self._verb = verb
        self._commit = commit
        self._metrics = metrics
        self._max_rows = max_rows
        self._max_weight = max_weight
        self._answers_at_once = answers_at_once or max_rows
        self._linger_s = linger_s
        self._queue: deque[_Entry[Row, Reply]] = deque()
        self._put_off: PausedItems[_Entry[Row, Reply]] = PausedItems()
        self._was_put_off = trio.Event()
        self._open = 0
        self._is_waiting = False
        self._filled = trio.Event()
        self._full = trio.Event()
        self._emptied = trio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        """How many rows are not answered yet."""
        return self._open

    def submit_nowait(
        self, row: Row, on_reply: Callable[[Reply | RowRefusedError], None], weight: int = 0
    ) -> None:
        """Queue a row; `on_reply` is called once it has committed or was refused."""
        self._enqueue(_Entry(row, weight, on_reply))

    async def submit(self, row: Row, weight: int = 0) -> Reply:
        """Return when the row has committed.

        Raises:
            RowRefusedError: the database refuses it.

        Cancellation: the row is not tried again, but a statement under way may still commit it.
        """
        replied = trio.Event()
        replies: list[Reply | RowRefusedError] = []

        def on_reply(reply: Reply | RowRefusedError) -> None:
            replies.append(reply)
            replied.set()

        entry: _Entry[Row, Reply] = _Entry(row, weight, on_reply)
        self._enqueue(entry)
        try:
            await replied.wait()
        finally:
            self._abandon(entry)
        match replies[0]:
            case RowRefusedError() as refusal:
                raise refusal
            case reply:
                return reply

    async def run(self) -> NoReturn:
        """Write what is queued, for ever. Several of these may run side by side."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._queue_what_was_put_off)
            while True:
                await self._filled.wait()
                with trio.move_on_after(self._linger_s):
                    await self._full.wait()
                await self._write_some()
        raise AssertionError("the loop above never ends")

    def hurry(self) -> None:
        """Write what is queued without waiting for more."""
        if self._queue:
            self._full.set()

    async def wait_empty(self) -> None:
        """Return when every row has been answered."""
        await self._emptied.wait()

    def _enqueue(self, entry: _Entry[Row, Reply]) -> None:
        if not self._open:
            self._emptied = trio.Event()
        self._open += 1
        self._queue.append(entry)
        self._note_filling()

    def _abandon(self, entry: _Entry[Row, Reply]) -> None:
        if not entry.closed:
            entry.closed = True
            self._count_down(1)

    def _count_down(self, count: int) -> None:
        self._open -= count
        if not self._open:
            self._emptied.set()

    async def _queue_what_was_put_off(self) -> NoReturn:
        while True:
            self._was_put_off = trio.Event()
            with trio.move_on_at(self._put_off.next_s):
                await self._was_put_off.wait()
            for one in self._put_off.take(trio.current_time(), self._max_rows):
                one.item.pause, one.item.is_put_off = one, False
                self._queue.append(one.item)
            self._note_filling()

    def _take(self) -> list[_Entry[Row, Reply]]:
        batch: list[_Entry[Row, Reply]] = []
        weight = 0
        while self._queue and len(batch) < self._max_rows:
            weight += self._queue[0].weight
            if batch and (weight > self._max_weight or self._queue[0].failed):
                break
            entry = self._queue.popleft()
            if not entry.closed:
                batch.append(entry)
            if entry.failed:
                break
        self._filled = trio.Event()
        self._full = trio.Event()
        self._note_filling()
        return batch

    def _note_filling(self) -> None:
        if self._queue:
            self._filled.set()
        if len(self._queue) >= self._max_rows:
            self._full.set()

    async def _write_some(self) -> None:
        batch = self._take()
        if not batch:
            return
        try:
            await by_halves(batch, self._write, self._on_failed)
        except ContentionError:
            self._put_back(batch)
            await trio.sleep(CONTENTION_PAUSE_S)
        except StorageUnavailableError as error:
            self._put_back(batch)
            self._note_outage(str(error))
            await trio.sleep(RETRY_PAUSE_S)
        else:
            self._is_waiting = False

    def _note_outage(self, reason: str) -> None:
        if not self._is_waiting:
            log.warning("rows_wait", verb=self._verb, rows=self._open, reason=reason)
        self._is_waiting = True

    def _put_back(self, batch: list[_Entry[Row, Reply]]) -> None:
        self._queue.extendleft(entry for entry in reversed(batch) if entry.is_queued_next)
        self._note_filling()

    async def _write(self, batch: Sequence[_Entry[Row, Reply]]) -> None:
        # Who has left while its row was found to share a statement with a bad one stays out of it.
        entries = [entry for entry in batch if not entry.closed]
        if batch and not entries:
            return
        replies = await self._timed_commit([entry.row for entry in entries])
        for count, (entry, reply) in enumerate(zip(entries, replies, strict=True), 1):
            self._answer(entry, reply)
            if count % self._answers_at_once == 0:
                await trio.lowlevel.checkpoint()

    def _on_failed(
        self, entry: _Entry[Row, Reply], error: RowRefusedError | RowsFailedError
    ) -> None:
        if isinstance(error, RowRefusedError):
            self._answer(entry, error)
            return
        if not entry.failed:
            log.error("row_failed", verb=self._verb, reason=str(error))
        entry.failed = True
        self._answer(entry, PutOff.PUT_OFF)

    def _answer(self, entry: _Entry[Row, Reply], reply: Reply | PutOff | RowRefusedError) -> None:
        if entry.closed:
            return
        if isinstance(reply, PutOff):
            self._put_off_entry(entry)
            return
        entry.answer(reply)
        self._count_down(1)

    def _put_off_entry(self, entry: _Entry[Row, Reply]) -> None:
        now_s = trio.current_time()
        entry.is_put_off = True
        if entry.pause is None:
            self._put_off.add(entry, now_s)
        else:
            self._put_off.again(entry.pause, now_s)
        self._was_put_off.set()

    async def _timed_commit(self, rows: Sequence[Row]) -> Sequence[Reply | PutOff]:
        began = trio.current_time()
        replies = await self._commit(rows)
        self._metrics.flushed(self._verb, len(rows), trio.current_time() - began)
        return replies
