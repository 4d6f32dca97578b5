# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from timer_trio.domain.errors import (
    ContentionError,
    RowRefusedError,
    RowsFailedError,
    StorageUnavailableError,
)
from timer_trio.domain.paused import LONGEST_PAUSE_S
from timer_trio.storage.group_commit import (
    RETRY_PAUSE_S,
    GroupCommit,
    PutOff,
    repeat_until_answered,
)
from timer_trio.telemetry.metrics import Metrics

BAD = 13


class Database:
    """Answers each row with its double, refuses one, and fails as it is told.

    `statements` are all that were asked for; `before` and `after` fail the next ones, before they
    are done and after.
    """

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.put_off: set[int] = set()
        self.failing: set[int] = set()
        self.fails_always = False
        self.may_answer = trio.Event()
        self.may_answer.set()

    async def write(self, rows: Sequence[int]) -> Sequence[int | PutOff]:
        self.statements.append(list(rows))
        await self.may_answer.wait()
        if self.before:
            raise self.before.pop()
        if self.fails_always or self.failing.intersection(rows):
            raise RowsFailedError("a trigger objects")
        if BAD in rows:
            raise RowRefusedError("out of range")
        if self.after:
            raise self.after.pop()
        return [PutOff.PUT_OFF if row in self.put_off else 2 * row for row in rows]


@asynccontextmanager
async def group_over(
    database: Database, max_rows: int = 100, linger_s: float = 0.0, max_weight: int = 0
) -> AsyncIterator[tuple[GroupCommit[int, int], trio.Nursery]]:
    group: GroupCommit[int, int] = GroupCommit(
        "test",
        database.write,
        Metrics(),
        max_rows=max_rows,
        max_weight=max_weight,
        linger_s=linger_s,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        yield group, nursery
        nursery.cancel_scope.cancel()


async def test_caller_gets_the_answer_to_its_own_row() -> None:
    answers: dict[int, int] = {}
    database = Database()
    async with group_over(database) as (group, _), trio.open_nursery() as callers:

        async def call(row: int) -> None:
            answers[row] = await group.submit(row)

        for row in range(5):
            callers.start_soon(call, row)
    assert answers == {row: 2 * row for row in range(5)}


async def test_rows_of_one_moment_share_a_statement(autojump_clock: MockClock) -> None:
    database = Database()
    async with group_over(database, linger_s=0.1) as (group, _):
        for row in range(5):
            group.submit_nowait(row, lambda _: None)
            await trio.sleep(0.01)
        await group.wait_empty()
    assert database.statements == [[0, 1, 2, 3, 4]]


async def test_who_is_in_a_hurry_waits_for_no_others(autojump_clock: MockClock) -> None:
    database = Database()
    async with group_over(database, linger_s=0.1) as (group, _):
        group.hurry()
        group.submit_nowait(0, lambda _: None)
        began = autojump_clock.current_time()
        group.hurry()
        await group.wait_empty()
        assert autojump_clock.current_time() == began
    assert database.statements == [[0]]


async def test_what_comes_during_a_statement_shares_the_next() -> None:
    database = Database()
    database.may_answer = trio.Event()
    async with group_over(database) as (group, _):
        group.submit_nowait(0, lambda _: None)
        await wait_all_tasks_blocked()
        for row in range(1, 4):
            group.submit_nowait(row, lambda _: None)
        database.may_answer.set()
        await group.wait_empty()
    assert database.statements == [[0], [1, 2, 3]]


async def test_statement_holds_at_most_max_rows_in_their_order() -> None:
    database = Database()
    async with group_over(database, max_rows=2) as (group, _):
        for row in range(5):
            group.submit_nowait(row, lambda _: None)
        await group.wait_empty()
    assert database.statements == [[0, 1], [2, 3], [4]]


async def test_statement_weighs_at_most_max_weight_and_one_heavy_row_goes_alone() -> None:
    database = Database()
    database.may_answer = trio.Event()  # what follows waits for the first, and so for each other
    async with group_over(database, max_weight=100) as (group, nursery):
        for row, weight in enumerate([40, 60, 1, 500, 99, 1, 1]):
            nursery.start_soon(group.submit, row, weight)
            await wait_all_tasks_blocked()
        database.may_answer.set()
        await group.wait_empty()
    assert database.statements == [[0], [1, 2], [3], [4, 5], [6]]


async def test_row_put_off_is_answered_once_it_is_written_and_holds_up_no_other(
    autojump_clock: MockClock,
) -> None:
    database = Database()
    database.put_off = {1}
    answers: list[int | RowRefusedError] = []
    async with group_over(database) as (group, _):
        for row in range(3):
            group.submit_nowait(row, answers.append)
        await trio.sleep(0.01)
        assert answers == [0, 4]
        assert len(group) == 1
        began, tried = trio.current_time(), len(database.statements)
        await trio.sleep(10)
        tries = len(database.statements) - tried
        assert 10 <= tries <= 10 / LONGEST_PAUSE_S + 5
        assert set(map(tuple, database.statements[tried:])) == {(1,)}
        group.submit_nowait(7, answers.append)
        await trio.sleep(0.01)
        assert answers == [0, 4, 14]
        database.put_off = set()
        await group.wait_empty()
        assert trio.current_time() - began <= 10.02 + LONGEST_PAUSE_S
    assert answers == [0, 4, 14, 2]


async def test_row_put_off_whose_caller_has_left_is_not_written_again(
    autojump_clock: MockClock,
) -> None:
    database = Database()
    database.put_off = {1}
    async with group_over(database) as (group, _):
        with trio.move_on_after(0.1):
            await group.submit(1)
        tried = len(database.statements)
        await trio.sleep(10)
        assert len(database.statements) == tried
        assert len(group) == 0


async def test_bad_row_fails_alone() -> None:
    answers: dict[int, int | RowRefusedError] = {}

    def answered(row: int) -> Callable[[int | RowRefusedError], None]:
        return lambda answer: answers.update({row: answer})

    async with group_over(Database()) as (group, _):
        for row in [*range(5), BAD, *range(5, 9)]:
            group.submit_nowait(row, answered(row))
        await group.wait_empty()
    refused = answers.pop(BAD)
    assert isinstance(refused, RowRefusedError)
    assert answers == {row: 2 * row for row in range(9)}


async def test_row_on_which_the_database_fails_waits_by_itself(autojump_clock: MockClock) -> None:
    database = Database()
    database.failing = {2, 3}
    answers: list[int | RowRefusedError] = []
    async with group_over(database) as (group, _):
        for row in range(6):
            group.submit_nowait(row, answers.append)
        await trio.sleep(0.01)
        assert answers == [0, 2, 8, 10]
        tried = len(database.statements)
        await trio.sleep(10)
        for row in (7, 8):
            group.submit_nowait(row, answers.append)
        await trio.sleep(0.01)
        assert answers[4:] == [14, 16]
        later = [rows for rows in database.statements[tried:] if rows]
        assert {tuple(rows) for rows in later} == {(2,), (3,), (7, 8)}
        database.failing = set()
        await trio.sleep(LONGEST_PAUSE_S + 0.1)
        assert answers[6:] == [4, 6]
        assert len(group) == 0


async def test_database_that_fails_without_a_row_as_well_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    database = Database()
    database.fails_always = True
    answers: list[int | RowRefusedError] = []
    async with group_over(database) as (group, _):
        for row in range(10):
            group.submit_nowait(row, answers.append)
        await trio.sleep(10)
        # With its rows and without, each time: no row is looked for.
        assert len(database.statements) == pytest.approx(2 * 10 / RETRY_PAUSE_S, abs=2)
        database.fails_always = False
        await trio.sleep(RETRY_PAUSE_S)
    assert answers == [2 * row for row in range(10)]


async def test_rows_that_were_put_off_before_an_outage_keep_their_pause(
    autojump_clock: MockClock,
) -> None:
    database = Database()
    database.put_off, database.failing = {0}, {1}
    outages = [StorageUnavailableError("away")]

    async def write(rows: Sequence[int]) -> Sequence[int | PutOff]:
        if outages and list(rows) == [2, 3]:
            raise outages.pop()
        return await database.write(rows)

    group: GroupCommit[int, int] = GroupCommit("test", write, Metrics(), max_rows=100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        for row in range(4):
            group.submit_nowait(row, lambda _: None)
        await trio.sleep(2 * LONGEST_PAUSE_S)
        nursery.cancel_scope.cancel()
    # Those that follow the outage: what was put off is there once, and what failed by itself.
    assert database.statements[5:7] == [[2, 3, 0], [1]]


async def test_refusal_is_raised_to_its_caller() -> None:
    async with group_over(Database()) as (group, _):
        with pytest.raises(RowRefusedError):
            await group.submit(BAD)
        assert len(group) == 0


@pytest.mark.parametrize("error", [StorageUnavailableError, ContentionError])
async def test_rows_that_were_not_written_are_written_again_first(
    error: type[Exception], autojump_clock: MockClock
) -> None:
    database = Database()
    database.before = [error("no")]
    async with group_over(database, max_rows=2) as (group, _):
        for row in range(3):
            group.submit_nowait(row, lambda _: None)
        await group.wait_empty()
    assert database.statements == [[0, 1], [0, 1], [2]]


async def test_lost_reply_repeats_the_same_rows(autojump_clock: MockClock) -> None:
    database = Database()
    database.after = [StorageUnavailableError("the reply was lost")]
    answers: list[int | RowRefusedError] = []
    async with group_over(database) as (group, _):
        group.submit_nowait(1, answers.append)
        group.submit_nowait(2, answers.append)
        await group.wait_empty()
    assert database.statements == [[1, 2], [1, 2]]
    assert answers == [2, 4]


async def test_failure_in_one_half_keeps_the_answers_of_the_other() -> None:
    database = Database()
    answers: list[int | RowRefusedError] = []
    async with group_over(database) as (group, _):
        for row in (1, 2, BAD, 4):
            group.submit_nowait(row, answers.append)
        await wait_all_tasks_blocked()
        await group.wait_empty()
    assert [answer for answer in answers if isinstance(answer, int)] == [2, 4, 8]
    assert len(answers) == 4


async def test_row_whose_caller_has_left_is_not_written_again(autojump_clock: MockClock) -> None:
    database = Database()
    database.before = [StorageUnavailableError("no")] * 100
    async with group_over(database) as (group, _):
        with trio.move_on_after(1.1):
            await group.submit(1)
        tried = len(database.statements)
        await trio.sleep(10)
        assert tried > 1
        assert len(database.statements) == tried
        assert len(group) == 0


async def test_row_whose_caller_leaves_during_a_refusal_is_not_written_with_a_half() -> None:
    database = Database()
    database.may_answer = trio.Event()
    leaving = trio.CancelScope()
    async with group_over(database) as (group, nursery):
        for row in (2, BAD):
            group.submit_nowait(row, lambda _: None)
        nursery.start_soon(_submit_within, group, 1, leaving)
        await wait_all_tasks_blocked()
        leaving.cancel()
        await wait_all_tasks_blocked()
        database.may_answer.set()
        await group.wait_empty()
    first, *halves = database.statements
    assert 1 in first
    assert not [rows for rows in halves if 1 in rows]


async def test_drain_waits_for_the_last_row(autojump_clock: MockClock) -> None:
    database = Database()
    database.before = [StorageUnavailableError("no")] * 4
    answers: list[int | RowRefusedError] = []
    async with group_over(database) as (group, _):
        group.submit_nowait(1, answers.append)
        assert len(group) == 1
        await group.wait_empty()
        assert len(group) == 0
    assert answers == [2]


async def test_contention_is_repeated_sooner_than_an_outage(autojump_clock: MockClock) -> None:
    errors: list[Exception] = [StorageUnavailableError("no"), ContentionError("deadlock")]
    tried_s: list[float] = []

    async def call() -> int:
        tried_s.append(trio.current_time())
        if errors:
            raise errors.pop()
        return 7

    assert await repeat_until_answered(call) == 7
    contended_s, away_s = tried_s[1] - tried_s[0], tried_s[2] - tried_s[1]
    assert contended_s < away_s < 2.0


async def _submit_within(group: GroupCommit[int, int], row: int, scope: trio.CancelScope) -> None:
    with scope:
        await group.submit(row)
