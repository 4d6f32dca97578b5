"""The writing of an import: chunks of lines, and what has become of each line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from timer_trio.domain.errors import CreatesUnknownError
from timer_trio.domain.timer import NewTimer, TimerId
from timer_trio.intake.intake import Intake
from timer_trio.storage.halving import by_halves


class LineError(NamedTuple):
    line: int
    field: str
    message: str


class LineTimer(NamedTuple):
    line: int
    timer: NewTimer


class UnknownLines(NamedTuple):
    """The lines whose transaction was not answered: all are imported if `timer_id` is there."""

    first_line: int
    last_line: int
    timer_id: TimerId


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was read of the lines up to one."""

    read: Sequence[LineTimer | LineError]
    last_line: int


class ImportWriter:
    """Writes chunks in the order of their lines, and counts.

    Of what is refused it keeps the first `most_errors`; `refusal` is what is said of a timer of
    which the database refuses a value.
    """

    def __init__(self, intake: Intake, *, most_errors: int, refusal: str) -> None:
        self._intake = intake
        self._most_errors = most_errors
        self._refusal = refusal
        self.imported = 0
        self.refused = 0
        self.errors: list[LineError] = []
        """The first of the refused."""
        self.through_line = 0
        """The number of the last line up to which all are imported or refused for certain."""
        self.unknown: UnknownLines | None = None
        """Once it is set, nothing more may be written."""

    async def write(self, chunk: Chunk) -> None:
        """Write a chunk in one transaction, or in several if the database refuses some of it.

        Cancellation: what is being written is written to its end.
        """
        errors = [each for each in chunk.read if isinstance(each, LineError)]
        timers = [each for each in chunk.read if isinstance(each, LineTimer)]
        self.unknown = await self._write_all(timers, errors)
        through_line = self.unknown.first_line - 1 if self.unknown else chunk.last_line
        self._refuse([error for error in errors if error.line <= through_line])
        self.through_line = through_line

    async def _write_all(
        self, timers: Sequence[LineTimer], errors: list[LineError]
    ) -> UnknownLines | None:
        """Write timers, and find those that the database refuses."""

        def on_refused(each: LineTimer, _error: Exception) -> None:
            errors.append(LineError(each.line, "", self._refusal))

        try:
            await by_halves(timers, self._write_some, on_refused)
        except CreatesUnknownError as error:
            return _unknown_lines(timers, error.timer_ids)
        return None

    async def _write_some(self, timers: Sequence[LineTimer]) -> None:
        if timers:
            await self._intake.create_all([each.timer for each in timers])
            self.imported += len(timers)

    def _refuse(self, errors: list[LineError]) -> None:
        self.refused += len(errors)
        self.errors += sorted(errors)[: self._most_errors - len(self.errors)]


def _unknown_lines(timers: Sequence[LineTimer], timer_ids: Sequence[TimerId]) -> UnknownLines:
    unknown = set(timer_ids)
    lines = [each.line for each in timers if each.timer.id in unknown]
    return UnknownLines(lines[0], lines[-1], timer_ids[0])
