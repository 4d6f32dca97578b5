from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.contract.timers import new_timer
from timer_trio.domain.errors import CreatesUnknownError, RowRefusedError
from timer_trio.domain.timer import NewTimer, TimerId
from timer_trio.intake.imports import Chunk, ImportWriter, LineError, LineTimer, UnknownLines


class FaultyIntake:
    """Refuses what holds one of the `poisoned`, and is silent where one of the `lost` is."""

    def __init__(self) -> None:
        self.poisoned: set[TimerId] = set()
        self.lost: set[TimerId] = set()
        self.written: list[TimerId] = []

    async def create_all(self, timers: Sequence[NewTimer]) -> None:
        timer_ids = [timer.id for timer in timers]
        if self.poisoned.intersection(timer_ids):
            raise RowRefusedError
        if self.lost.intersection(timer_ids):
            raise CreatesUnknownError(timer_ids)
        self.written += timer_ids


def writer_over(intake: FaultyIntake, most_errors: int = 100) -> ImportWriter:
    double: Any = intake
    return ImportWriter(double, most_errors=most_errors, refusal="refused")


def timers_on(*lines: int) -> list[LineTimer]:
    return [LineTimer(line, new_timer()) for line in lines]


async def test_refused_timer_keeps_out_itself_alone() -> None:
    intake = FaultyIntake()
    writer = writer_over(intake)
    timers = timers_on(1, 2, 4, 5, 6)
    intake.poisoned = {timers[0].timer.id, timers[3].timer.id}
    await writer.write(Chunk([*timers, LineError(3, "delay", "no")], last_line=7))
    assert intake.written == [timers[i].timer.id for i in (1, 2, 4)]
    assert (writer.imported, writer.refused, writer.through_line) == (3, 3, 7)
    refused = [LineError(line, "", "refused") for line in (1, 5)]
    assert writer.errors == [refused[0], LineError(3, "delay", "no"), refused[1]]
    assert writer.unknown is None


async def test_what_stands_before_unknown_lines_is_certain() -> None:
    intake = FaultyIntake()
    writer = writer_over(intake)
    timers = timers_on(1, 2, 5, 6)
    intake.poisoned, intake.lost = {timers[0].timer.id}, {timers[3].timer.id}
    errors = [LineError(4, "", "no"), LineError(7, "", "no")]
    await writer.write(Chunk([*timers, *errors], last_line=7))
    assert writer.unknown == UnknownLines(5, 6, timers[2].timer.id)
    assert (writer.imported, writer.refused, writer.through_line) == (1, 2, 4)
    assert [error.line for error in writer.errors] == [1, 4]


async def test_first_errors_are_kept_and_all_are_counted() -> None:
    writer = writer_over(FaultyIntake(), most_errors=3)
    for first in (1, 3):
        errors = [LineError(line, "", "no") for line in (first + 1, first)]
        await writer.write(Chunk(errors, last_line=first + 1))
    assert [error.line for error in writer.errors] == [1, 2, 3]
    assert (writer.refused, writer.through_line) == (4, 4)
