"""The writing of an import: chunks of lines, and what has become of each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from timer_trio.domain.errors import CreatesUnknownError, QuotaUsedUpError
from timer_trio.domain.keys import HeldName
from timer_trio.domain.timer import NewTimer, TimerId
from timer_trio.intake.names import Names, name_taken
from timer_trio.storage.halving import by_halves


class LineError(NamedTuple):
    line: int
    field: str
    message: str


LineErrors = dict[int, LineError]
"""By line."""


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

    def __init__(self, names: Names, *, most_errors: int, refusal: str) -> None:
        self._names = names
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
        self.used_up: QuotaUsedUpError | None = None
        """Why the lines behind `through_line` are not written: there is no room for them."""
        self._written_through = 0

    async def write(self, chunk: Chunk) -> None:
        """Write a chunk in one transaction, or in several if some of it cannot be written.

        Cancellation: what is being written is written to its end.
        """
        errors = {each.line: each for each in chunk.read if isinstance(each, LineError)}
        timers = [each for each in chunk.read if isinstance(each, LineTimer)]
        self.unknown = await self._write_all(_without_doubles(timers, errors), errors)
        through_line = self._through_line(chunk.last_line)
        self._refuse([error for error in errors.values() if error.line <= through_line])
        self.through_line = through_line

    async def _write_all(
        self, timers: Sequence[LineTimer], errors: LineErrors
    ) -> UnknownLines | None:
        """Write timers, and find those that the database refuses."""

        def on_refused(each: LineTimer, _error: Exception) -> None:
            errors[each.line] = LineError(each.line, "", self._refusal)

        lines = (each.line for each in timers)
        for run in self._names.runs(each.timer for each in timers):
            some = [LineTimer(next(lines), timer) for timer in run]
            try:
                await by_halves(some, partial(self._write_some, errors), on_refused)
            except CreatesUnknownError as error:
                return _unknown_lines(some, error.timer_ids)
            except QuotaUsedUpError as error:
                self.used_up = error
                break
        return None

    def _through_line(self, last_line: int) -> int:
        """Return up to which line all is certain, of what was tried up to `last_line`."""
        if self.unknown is not None:
            return self.unknown.first_line - 1
        return max(self.through_line, self._written_through) if self.used_up else last_line

    async def _write_some(self, errors: LineErrors, timers: Sequence[LineTimer]) -> None:
        """Write timers together, but those whose names live timers have."""
        while rest := [each for each in timers if each.line not in errors]:
            taken = await self._names.create_all([each.timer for each in rest])
            if not taken:
                self.imported += len(rest)
                self._written_through = rest[-1].line
                return
            errors |= _taken_errors(rest, taken)

    def _refuse(self, errors: list[LineError]) -> None:
        self.refused += len(errors)
        self.errors += sorted(errors)[: self._most_errors - len(self.errors)]


def _without_doubles(timers: Sequence[LineTimer], errors: LineErrors) -> Sequence[LineTimer]:
    """Return those whose name no earlier one has; the others become errors."""
    lines: dict[str, int] = {}
    for line, timer in timers:
        if timer.key is not None and (first := lines.setdefault(timer.key, line)) != line:
            errors[line] = LineError(line, "key", f"line {first} has the same key")
    return [each for each in timers if each.line not in errors]


def _taken_errors(timers: Sequence[LineTimer], taken: Mapping[str, HeldName]) -> LineErrors:
    return {
        line: LineError(line, "key", f"{name_taken(held.timer_id, held.status)}: {held.timer_id}")
        for line, timer in timers
        if timer.key is not None and (held := taken.get(timer.key))
    }


def _unknown_lines(timers: Sequence[LineTimer], timer_ids: Sequence[TimerId]) -> UnknownLines:
    unknown = set(timer_ids)
    lines = [each.line for each in timers if each.timer.id in unknown]
    return UnknownLines(lines[0], lines[-1], timer_ids[0])
