"""One import: its lines are read while the timers of those before are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import trio

from timer_trio.api.body.lines import Line, Lines
from timer_trio.api.body.rate import MIN_BYTES_PER_S, WINDOW_S, ReceiveRate
from timer_trio.api.body.stream import BodyStream
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import MAX_ERRORS, REFUSED_BY_DATABASE, Code, InvalidRequestError
from timer_trio.api.principal import own_project, own_quota
from timer_trio.api.requests import Asked, read_one_of_many, reading_members
from timer_trio.api.run_body import COMPLETE, Ending
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import OlderReplicasError
from timer_trio.domain.timer import NewTimer
from timer_trio.intake.imports import Chunk, ImportWriter, LineError, LineTimer, UnknownLines

MAX_LINES: Final = 1_000_000
"""A minute's work: whoever has more begins anew, and knows how far he came."""
CHUNK_LINES: Final = 2_000
"""In one transaction: beyond it nothing gets faster, and more is in doubt if its reply is lost."""
CHUNK_BYTES: Final = 1024 * 1024
"""Of the lines that wait to be read; as timers they take a few times that."""
PAUSE_S: Final = 1.0
"""What came before its sender pauses for so long is written without waiting for more."""
IDLE_S: Final = 30.0
"""A sender from whom not a byte comes for so long is given up."""


_TOO_MANY: Final = Ending(
    Code.INVALID, f"an import has at most {MAX_LINES:,} lines: send the rest in another"
)
_IDLE: Final = Ending(
    Code.INVALID, f"no byte came for {IDLE_S:g}s: send what follows through_line again"
)
_SLOW: Final = Ending(
    Code.INVALID,
    f"less than {MIN_BYTES_PER_S:,} bytes a second came for {WINDOW_S:g}s, and others wait for the "
    "place: send what follows through_line again, faster",
)
_STOPPING: Final = Ending(Code.INTERNAL, "the service stops: send what follows through_line again")
_AWAY: Final = Ending(
    Code.INTERNAL,
    "the database cannot be reached: send what follows through_line again, but the unknown lines "
    "only if no timer has the id that stands with them",
)


class ImportRun:
    """Reads lines from a stream, writes the timers in them, and counts.

    Times are judged as of its making, when the request arrives. At most one chunk is written, one
    waits and one is read, whatever the sender's speed.
    """

    failed, ended = "import_failed", "import_ended"
    busy = Ending(Code.INTERNAL, "too many imports are under way: try again when one has ended")
    broken = Ending(Code.INTERNAL, "internal error: send what follows through_line again")
    opening = None

    def __init__(self, stream: BodyStream, context: ApiContext) -> None:
        self._stream = stream
        self._intake = context.intake
        self._project, self._quota = own_project(), own_quota()
        self._clock = context.clock
        # A long import must not refuse what fell due while it ran.
        self._arrived_at = context.clock.now()
        self._stopping = context.stopping
        self._rules = context.rules
        self._slices = context.slices
        self._audit = context.audit
        self._rate = ReceiveRate()
        self._source = Lines(context.max_body_bytes)
        self._too_large = f"the line is too large (at most {context.max_body_bytes:,} bytes)"
        self.lines = 0
        """Lines read, blank ones not counted."""
        self.writer = ImportWriter(
            context.names, most_errors=MAX_ERRORS, refusal=REFUSED_BY_DATABASE
        )
        self.ending: Ending | None = None

    async def run(self) -> None:
        """Import until there is nothing more, or it cannot go on: `ending` says which.

        Cancellation: what is being written is written to its end.
        """
        async with trio.open_nursery() as nursery:
            # With a place for the one that waits, reading goes on while the database writes.
            send, receive = trio.open_memory_channel[Chunk](1)
            nursery.start_soon(self._read_all, send)
            async with receive:
                async for chunk in receive:
                    if cause := await self._write(chunk):
                        self.ending = cause
                        nursery.cancel_scope.cancel()

    @property
    def counts(self) -> Mapping[str, int]:
        imported, refused = self.writer.imported, self.writer.refused
        return {"lines": self.lines, "imported": imported, "refused": refused}

    @property
    def progress(self) -> Mapping[str, object]:
        return {**self.counts, "through_line": self.writer.through_line}

    def result(self, ending: Ending) -> Mapping[str, object]:
        writer = self.writer
        result = {**self.counts, "errors": [error._asdict() for error in writer.errors]}
        if ending.code is Code.SUCCESS:
            return result
        return result | {
            "through_line": writer.through_line,
            "unknown": None if writer.unknown is None else _unknown_data(writer.unknown),
        }

    async def _write(self, chunk: Chunk) -> Ending | None:
        """Write a chunk; answer with why nothing more can be written, if that is so."""
        before = self.writer.imported
        try:
            await self.writer.write(chunk)
        except OlderReplicasError as error:
            return Ending(Code.INTERNAL, f"{error}; send what follows through_line again")
        finally:
            if count := self.writer.imported - before:
                self._audit.note(Action.TIMER_CREATED, count=count)
        if self.writer.used_up is not None:
            words = f"{self.writer.used_up}; then send what follows through_line again"
            return Ending(Code.RATE_LIMITED, words)
        return _AWAY if self.writer.unknown else None

    async def _read_all(self, chunks: trio.MemorySendChannel[Chunk]) -> None:
        async with chunks:
            while self.ending is None:
                lines = await self._gather()
                for start in range(0, len(lines), CHUNK_LINES):
                    some = lines[start : start + CHUNK_LINES]
                    read: Sequence[LineTimer | LineError] = await self._slices.collect(
                        self._parse(some, self._clock.now())
                    )
                    await chunks.send(Chunk(read, some[-1].number))

    async def _gather(self) -> Sequence[Line]:
        """Read lines until they fill a chunk, or their sender pauses, or `ending` is set."""
        lines: list[Line] = []
        size = 0
        gives_up_at = trio.current_time() + IDLE_S
        while self.ending is None and len(lines) < CHUNK_LINES and size < CHUNK_BYTES:
            data: bytes | None = None
            began_s = trio.current_time()
            with trio.move_on_after(PAUSE_S):
                data = await self._stream.receive()
            is_slow = self._rate.is_too_slow(trio.current_time() - began_s, len(data or b""))
            if data:
                size += len(data)
                gives_up_at = trio.current_time() + IDLE_S
                lines += await self._slices.collect(self._source.feed(data))
            elif data is not None:
                lines += self._source.end()
                self.ending = COMPLETE
            self._look_for_an_end(gives_up_at, is_slow=is_slow)
            if data is None and lines:
                break
        if self._source.count > MAX_LINES:
            lines = [line for line in lines if line.number <= MAX_LINES]
        self.lines += len(lines)
        return lines

    def _look_for_an_end(self, gives_up_at: float, *, is_slow: bool) -> None:
        if self._source.count > MAX_LINES:
            self.ending = _TOO_MANY
        elif self.ending is None and self._stopping.is_set():
            self.ending = _STOPPING
        elif self.ending is None and trio.current_time() >= gives_up_at:
            self.ending = _IDLE
        elif self.ending is None and is_slow:
            self.ending = _SLOW

    def _parse(
        self, lines: Sequence[Line], now: datetime
    ) -> Iterator[LineTimer | LineError | None]:
        """Yield what the lines hold, None where it can pause."""
        for number, raw in lines:
            if raw is None:
                yield LineError(number, "", self._too_large)
                continue
            try:
                members = yield from reading_members(raw, self._rules, "the line")
                asked = read_one_of_many(members, self._arrived_at, self._rules)
            except InvalidRequestError as error:
                first = error.errors[0]
                yield LineError(number, first.field, first.message)
            else:
                yield LineTimer(number, self._new_timer(asked, now))

    def _new_timer(self, asked: Asked, now: datetime) -> NewTimer:
        spec, flow_key, key, _ = asked
        return self._intake.new_timer(
            spec, now, self._project, key, flow_key=flow_key, max_live=self._quota
        )


def _unknown_data(unknown: UnknownLines) -> Mapping[str, object]:
    first_line, last_line, timer_id = unknown
    return {"first_line": first_line, "last_line": last_line, "id": str(timer_id)}
