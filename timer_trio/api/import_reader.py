"""One import: lines to timers, written in chunks while the next lines are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import trio

from timer_trio.api.body.lines import Line, Lines
from timer_trio.api.body.rate import MIN_BYTES_PER_S, WINDOW_S, ReceiveRate
from timer_trio.api.body.stream import BodyStream
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import MAX_ERRORS, REFUSED_BY_DATABASE, Code, InvalidRequestError
from timer_trio.api.requests import read_spec, reading_members
from timer_trio.domain.errors import CreatesUnknownError, RowRefusedError
from timer_trio.domain.timer import NewTimer, TimerId

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


class LineError(NamedTuple):
    line: int
    field: str
    message: str


class _NumberedTimer(NamedTuple):
    line: int
    timer: NewTimer


class Unknown(NamedTuple):
    """The lines whose transaction was not answered: all are imported if `timer_id` is there."""

    first_line: int
    last_line: int
    timer_id: TimerId


class Ending(NamedTuple):
    code: Code
    message: str


_Read = _NumberedTimer | LineError


@dataclass(frozen=True, slots=True)
class _Chunk:
    read: Sequence[_Read]
    last_line: int


COMPLETE: Final = Ending(Code.SUCCESS, "success")
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
BUSY: Final = Ending(Code.INTERNAL, "too many imports are under way: try again when one has ended")
BROKEN: Final = Ending(Code.INTERNAL, "internal error: send what follows through_line again")


class Import:
    """Reads lines from a stream, writes the timers in them, and counts.

    Times are judged as of its making, when the request arrives. At most one chunk is written, one
    waits and one is read, whatever the sender's speed.
    """

    def __init__(self, stream: BodyStream, context: ApiContext) -> None:
        self._stream = stream
        self._intake = context.intake
        self._clock = context.clock
        # A long import must not refuse what fell due while it ran.
        self._arrived_at = context.clock.now()
        self._stopping = context.stopping
        self._rules = context.rules
        self._slices = context.slices
        self._rate = ReceiveRate()
        self._source = Lines(context.max_body_bytes)
        self._too_large = f"the line is too large (at most {context.max_body_bytes:,} bytes)"
        self.lines = 0
        """Lines read, blank ones not counted."""
        self.imported = 0
        self.refused = 0
        self.errors: list[LineError] = []
        """The first of the refused."""
        self.through_line = 0
        """The number of the last line up to which all are imported or refused for certain."""
        self.unknown: Unknown | None = None
        self.ending: Ending | None = None

    async def run(self) -> None:
        """Import until there is nothing more, or it cannot go on: `ending` says which.

        Cancellation: what is being written is written to its end.
        """
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[_Chunk](0)
            nursery.start_soon(self._read_all, send)
            async with receive:
                async for chunk in receive:
                    await self._write(chunk)
                    if self.unknown:
                        nursery.cancel_scope.cancel()

    async def _read_all(self, chunks: trio.MemorySendChannel[_Chunk]) -> None:
        async with chunks:
            while self.ending is None:
                lines = await self._gather()
                for start in range(0, len(lines), CHUNK_LINES):
                    some = lines[start : start + CHUNK_LINES]
                    read: Sequence[_Read] = await self._slices.collect(
                        self._parse(some, self._clock.now())
                    )
                    await chunks.send(_Chunk(read, some[-1].number))

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

    def _parse(self, lines: Sequence[Line], now: datetime) -> Iterator[_Read | None]:
        """Yield what the lines hold, None where it can pause."""
        for number, raw in lines:
            if raw is None:
                yield LineError(number, "", self._too_large)
                continue
            try:
                members = yield from reading_members(raw, self._rules, "the line")
                spec = read_spec(members, self._arrived_at, self._rules)
            except InvalidRequestError as error:
                first = error.errors[0]
                yield LineError(number, first.field, first.message)
            else:
                yield _NumberedTimer(number, self._intake.new_timer(spec, now))

    async def _write(self, chunk: _Chunk) -> None:
        errors = [each for each in chunk.read if isinstance(each, LineError)]
        timers = [each for each in chunk.read if isinstance(each, _NumberedTimer)]
        through_line = chunk.last_line
        if unknown := await self._write_part(timers, errors):
            self.unknown, self.ending = unknown, _AWAY
            through_line = unknown.first_line - 1
        self._refuse([error for error in errors if error.line <= through_line])
        self.through_line = through_line

    async def _write_part(
        self, part: Sequence[_NumberedTimer], errors: list[LineError]
    ) -> Unknown | None:
        """Write timers, and find those that the database refuses by halving."""
        if not part:
            return None
        try:
            await self._intake.create_all([each.timer for each in part])
        except CreatesUnknownError:
            return Unknown(part[0].line, part[-1].line, part[0].timer.id)
        except RowRefusedError:
            if len(part) == 1:
                errors.append(LineError(part[0].line, "", REFUSED_BY_DATABASE))
                return None
            middle = len(part) // 2
            before = await self._write_part(part[:middle], errors)
            return before or await self._write_part(part[middle:], errors)
        self.imported += len(part)
        return None

    def _refuse(self, errors: list[LineError]) -> None:
        self.refused += len(errors)
        self.errors += sorted(errors)[: MAX_ERRORS - len(self.errors)]
