from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.contract.timers import new_timer
from timer_trio.domain.errors import CreatesUnknownError, QuotaUsedUpError, RowRefusedError
from timer_trio.domain.keys import HeldName
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.quota import LiveCount
from timer_trio.domain.timer import NewTimer, Status, TimerId
from timer_trio.intake.imports import Chunk, ImportWriter, LineError, LineTimer, UnknownLines


class FaultyNames:
    """Refuses what holds one of the `poisoned`, and is silent where one of the `lost` is.

    Live timers have the names in `taken`.
    """

    def __init__(self) -> None:
        self.taken: dict[str | None, HeldName] = {}
        self.poisoned: set[TimerId] = set()
        self.lost: set[TimerId] = set()
        self.written: list[TimerId] = []
        self.room: int | None = None

    def runs(self, timers: Iterable[NewTimer]) -> Iterator[Sequence[NewTimer]]:
        yield [*timers]

    async def create_all(self, timers: Sequence[NewTimer]) -> Mapping[str | None, HeldName]:
        timer_ids = [timer.id for timer in timers]
        if taken := {t.key: self.taken[t.key] for t in timers if t.key in self.taken}:
            return taken
        if self.poisoned.intersection(timer_ids):
            raise RowRefusedError
        if self.room is not None and len(self.written) + len(timer_ids) > self.room:
            raise QuotaUsedUpError(DEFAULT_PROJECT, LiveCount(0), self.room, len(timer_ids))
        if self.lost.intersection(timer_ids):
            raise CreatesUnknownError(timer_ids)
        self.written += timer_ids
        return {}


def writer_over(names: FaultyNames, most_errors: int = 100) -> ImportWriter:
    double: Any = names
    return ImportWriter(double, most_errors=most_errors, refusal="refused")


def timers_on(*lines: int) -> list[LineTimer]:
    return [LineTimer(line, new_timer()) for line in lines]


async def test_refused_timer_keeps_out_itself_alone() -> None:
    names = FaultyNames()
    writer = writer_over(names)
    timers = timers_on(1, 2, 4, 5, 6)
    names.poisoned = {timers[0].timer.id, timers[3].timer.id}
    await writer.write(Chunk([*timers, LineError(3, "delay", "no")], last_line=7))
    assert names.written == [timers[i].timer.id for i in (1, 2, 4)]
    assert (writer.imported, writer.refused, writer.through_line) == (3, 3, 7)
    refused = [LineError(line, "", "refused") for line in (1, 5)]
    assert writer.errors == [refused[0], LineError(3, "delay", "no"), refused[1]]
    assert writer.unknown is None


async def test_lines_for_which_there_is_no_room_are_those_behind_what_is_written() -> None:
    names = FaultyNames()
    writer = writer_over(names)
    await writer.write(Chunk(timers_on(1, 2), last_line=3))
    assert (writer.through_line, writer.used_up) == (3, None)
    timers = timers_on(4, 5, 7, 8, 9)
    # One that is refused has them written by halves: the first one fits.
    names.poisoned, names.room = {timers[4].timer.id}, 4
    await writer.write(Chunk([*timers, LineError(6, "", "no")], last_line=9))
    assert writer.used_up is not None
    assert names.written[2:] == [timers[0].timer.id, timers[1].timer.id]
    assert (writer.imported, writer.refused, writer.through_line) == (4, 0, 5)
    writer = writer_over(names)
    await writer.write(Chunk(timers_on(1), last_line=1))
    assert (writer.imported, writer.refused, writer.through_line) == (0, 0, 0)


def named(line: int, key: str) -> LineTimer:
    return LineTimer(line, replace(new_timer(), key=key))


async def test_lines_whose_names_live_timers_have_are_refused_and_no_others() -> None:
    names = FaultyNames()
    writer = writer_over(names)
    holder = new_timer().id
    names.taken = {key: HeldName(holder, Status.EXECUTING) for key in ("a", "b")}
    timers = [named(1, "a"), *timers_on(2), named(3, "b"), named(4, "c")]
    await writer.write(Chunk(timers, last_line=4))
    assert names.written == [timers[1].timer.id, timers[3].timer.id]
    words = f"a timer with this key is there already, and executing: {holder}"
    assert writer.errors == [LineError(line, "key", words) for line in (1, 3)]
    assert (writer.imported, writer.refused, writer.through_line) == (2, 2, 4)


async def test_a_taken_name_is_told_once_where_others_are_refused() -> None:
    names = FaultyNames()
    writer = writer_over(names)
    names.taken = {"a": HeldName(new_timer().id, Status.PENDING)}
    timers = [named(1, "a"), *timers_on(2, 3), named(4, "b")]
    names.poisoned = {timers[2].timer.id}
    await writer.write(Chunk(timers, last_line=4))
    assert names.written == [timers[1].timer.id, timers[3].timer.id]
    assert [error.line for error in writer.errors] == [1, 3]
    assert (writer.imported, writer.refused) == (2, 2)


async def test_of_lines_with_one_name_the_first_has_it() -> None:
    names = FaultyNames()
    writer = writer_over(names)
    timers = [*timers_on(1), named(2, "a"), named(3, "b"), named(5, "a"), named(6, "a")]
    await writer.write(Chunk(timers, last_line=6))
    assert names.written == [each.timer.id for each in timers[:3]]
    assert writer.errors == [LineError(line, "key", "line 2 has the same key") for line in (5, 6)]
    assert (writer.imported, writer.refused) == (3, 2)


async def test_what_stands_before_unknown_lines_is_certain() -> None:
    names = FaultyNames()
    writer = writer_over(names)
    timers = timers_on(1, 2, 5, 6)
    names.poisoned, names.lost = {timers[0].timer.id}, {timers[3].timer.id}
    errors = [LineError(4, "", "no"), LineError(7, "", "no")]
    await writer.write(Chunk([*timers, *errors], last_line=7))
    assert writer.unknown == UnknownLines(5, 6, timers[2].timer.id)
    assert (writer.imported, writer.refused, writer.through_line) == (1, 2, 4)
    assert [error.line for error in writer.errors] == [1, 4]


async def test_first_errors_are_kept_and_all_are_counted() -> None:
    writer = writer_over(FaultyNames(), most_errors=3)
    for first in (1, 3):
        errors = [LineError(line, "", "no") for line in (first + 1, first)]
        await writer.write(Chunk(errors, last_line=first + 1))
    assert [error.line for error in writer.errors] == [1, 2, 3]
    assert (writer.refused, writer.through_line) == (4, 4)
