from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.contract.timers import (
    ALICE,
    ANSWER,
    BOB,
    FIRST,
    NOW,
    SECOND,
    SOON,
    ask,
    claimed,
    completed,
    created,
    failed,
    given_back,
    new_timer,
    record,
    retried,
)
from timer_trio.clock import Clock
from timer_trio.delivery.settler import LINGER_S, LOCKED_S, MAX_SETTLEMENTS, Settler
from timer_trio.domain.errors import ContentionError, RowRefusedError, StorageUnavailableError
from timer_trio.domain.lately import Lately
from timer_trio.domain.paused import FIRST_PAUSE_S, LONGEST_PAUSE_S
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.settlement import Completed, Failed, Retry, Settlement
from timer_trio.domain.timer import JsonText, Status, TimerId
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.metrics import Metrics

OUTAGE_S: Final = 60.0


class Database(MemoryStorage):
    """Storage in memory that may be away, and may lose replies of what it did write."""

    def __init__(self) -> None:
        super().__init__(lambda: SOON)
        self.failures: list[Exception] = []
        self.refused: set[TimerId] = set()
        self.refuses_answers = False
        self.lost_replies = 0
        self.stale_answers = 0
        self.away_until_s = 0.0
        self.sizes: list[int] = []
        self.skipped: list[bool] = []

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        self.skipped.append(skip_locked)
        if self.failures:
            raise self.failures.pop()
        if self.refused.intersection(settlement.timer_id for settlement in settlements):
            raise RowRefusedError("out of range")
        told = [attempt for settlement in settlements for attempt in settlement.attempts]
        if self.refuses_answers and any(attempt.answer for attempt in told):
            raise RowRefusedError("invalid header")
        if trio.current_time() < self.away_until_s:
            raise StorageUnavailableError("away")
        if self.stale_answers:
            self.stale_answers -= 1
            return [False] * len(settlements)
        reply = await super().settle(settlements, now, skip_locked=skip_locked)
        if self.lost_replies:
            self.lost_replies -= 1
            raise StorageUnavailableError("the reply was lost")
        self.sizes.append(len(settlements))
        return reply


@dataclass(slots=True)
class Bench:
    """A settler over a database, and what it has called back."""

    database: Database
    settler: Settler
    metrics: Metrics
    settled: list[TimerId] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    async def claimed(self) -> TimerId:
        timer_id = await created(self.database)
        await claimed(self.database, timer_id)
        return timer_id

    def settle(self, settlement: Settlement) -> None:
        self.settler.settle_nowait(settlement, self.noting(settlement.timer_id))

    def noting(self, timer_id: TimerId) -> Callable[[], None]:
        return lambda: self.settled.append(timer_id)

    async def status(self, timer_id: TimerId) -> Status:
        return (await self.database.get(timer_id)).status


@asynccontextmanager
async def open_bench(virtual: MockClock) -> AsyncIterator[Bench]:
    clock, database, metrics = Clock(virtual.current_time), Database(), Metrics()
    clock.take_reading(NOW, trio.current_time())
    heard: list[str] = []
    settler = Settler(
        storage=database,
        clock=clock,
        metrics=metrics,
        lately=Lately(),
        on_superseded=lambda: heard.append("superseded"),
    )
    bench = Bench(database, settler, metrics, heard=heard)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.settler.run)
        yield bench
        nursery.cancel_scope.cancel()


async def test_outcome_is_written_and_told(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        timer_id = await bench.claimed()
        bench.settle(completed(timer_id))
        await bench.settler.wait_empty()
        assert await bench.status(timer_id) is Status.COMPLETED
        assert bench.settled == [timer_id]


async def test_nothing_is_told_before_it_is_written(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        bench.settle(completed(await bench.claimed()))
        await trio.sleep(LINGER_S / 2)
        assert (bench.settled, len(bench.settler)) == ([], 1)


async def test_outcomes_of_a_tenth_of_a_second_share_a_statement(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        timer_ids = [await bench.claimed() for _ in range(10)]
        for timer_id in timer_ids:
            bench.settle(completed(timer_id))
            await trio.sleep(LINGER_S / 20)
        await bench.settler.wait_empty()
        assert bench.database.sizes == [10]


async def test_outcome_waits_no_longer_than_a_tenth_of_a_second(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        bench.settle(completed(await bench.claimed()))
        began = trio.current_time()
        await bench.settler.wait_empty()
        assert trio.current_time() - began == pytest.approx(LINGER_S)


async def test_statement_stays_small_enough_for_a_claim_to_pass(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        for _ in range(MAX_SETTLEMENTS + 1):
            bench.settle(completed(await bench.claimed()))
        await bench.settler.wait_empty()
        assert max(bench.database.sizes) <= MAX_SETTLEMENTS
        assert sum(bench.database.sizes) == MAX_SETTLEMENTS + 1


async def test_outcomes_survive_an_outage_of_a_minute(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        bench.database.away_until_s = trio.current_time() + OUTAGE_S
        timer_ids = [await bench.claimed() for _ in range(3)]
        for timer_id in timer_ids:
            bench.settle(completed(timer_id))
        await bench.settler.wait_empty()
        assert OUTAGE_S <= trio.current_time() < OUTAGE_S + 1
        assert [await bench.status(timer_id) for timer_id in timer_ids] == [Status.COMPLETED] * 3
        assert sorted(bench.settled) == sorted(timer_ids)


async def test_outcome_whose_reply_was_lost_is_told_once(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        bench.database.lost_replies = 2
        timer_id = await bench.claimed()
        bench.settle(completed(timer_id))
        await bench.settler.wait_empty()
        assert bench.settled == [timer_id]


async def test_contention_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        bench.database.failures = [ContentionError(), ContentionError()]
        timer_id = await bench.claimed()
        bench.settle(completed(timer_id))
        await bench.settler.wait_empty()
        assert await bench.status(timer_id) is Status.COMPLETED


async def test_outcome_that_the_database_refuses_fails_alone_in_plain_words(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(autojump_clock) as bench:
        bad, *good = [await bench.claimed() for _ in range(5)]
        bench.settle(replace(failed(bad), last_error="nul \0"))
        for timer_id in good:
            bench.settle(completed(timer_id))
        await bench.settler.wait_empty()
        timer = await bench.database.get(bad)
        assert timer.status is Status.FAILED
        assert str(timer.last_error).startswith("internal error: the outcome could not be stored: ")
        assert [await bench.status(timer_id) for timer_id in good] == [Status.COMPLETED] * 4
        assert sorted(bench.settled) == sorted([bad, *good])


@pytest.mark.parametrize(
    ("settle", "status"),
    [(completed, Status.COMPLETED), (failed, Status.FAILED), (retried, Status.RETRYING)],
)
async def test_outcome_that_is_refused_with_its_answers_is_written_without_them(
    autojump_clock: MockClock,
    settle: Callable[[TimerId], Completed | Failed | Retry],
    status: Status,
) -> None:
    async with open_bench(autojump_clock) as bench:
        bench.database.refuses_answers = True
        bad, good = await bench.claimed(), await bench.claimed()
        outcome = replace(settle(bad), attempts=[record(answer=ANSWER)])
        bench.settle(outcome)
        bench.settle(completed(good))
        await bench.settler.wait_empty()
        timer = await bench.database.get(bad)
        assert (timer.status, timer.last_error) == (status, outcome.last_error)
        assert await bench.database.attempts(bad) == [record()]
        assert await bench.status(good) is Status.COMPLETED
        assert sorted(bench.settled) == sorted([bad, good])


async def test_outcome_that_is_refused_in_plain_words_as_well_waits_by_itself(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(autojump_clock) as bench:
        bad, good = await bench.claimed(), await bench.claimed()
        bench.database.refused = {bad}
        bench.settle(completed(bad))
        await trio.sleep(10)
        tried = len(bench.database.skipped)
        bench.settle(completed(good))
        await trio.sleep(10)
        assert bench.settled == [good]
        assert len(bench.database.skipped) - tried <= 2 * 10 / LONGEST_PAUSE_S + 2
        bench.database.refused = set()
        await bench.settler.wait_empty()
        assert await bench.status(bad) is Status.FAILED


async def test_a_result_that_is_refused_costs_no_outcome(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        timer_id, good = await bench.claimed(), await bench.claimed()
        broken = new_timer(callback_payload=JsonText('"\0"'))
        with capture_logs() as logs:
            bench.settle(replace(completed(timer_id), result=broken))
            bench.settle(replace(completed(good), result=new_timer()))
            await bench.settler.wait_empty()
        for each in (timer_id, good):
            assert await bench.status(each) is Status.COMPLETED
        assert len((await bench.database.list(TimerQuery())).timers) == 3
        assert [entry["event"] for entry in logs] == ["result_refused"]


async def test_a_result_is_written_once_however_often_its_reply_is_lost(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(autojump_clock) as bench:
        timer_id = await bench.claimed()
        bench.database.lost_replies = 3
        bench.settle(replace(completed(timer_id), result=new_timer()))
        await bench.settler.wait_empty()
        page = await bench.database.list(TimerQuery())
        assert [each.parent_id for each in page.timers if each.id != timer_id] == [timer_id]
        assert bench.settled == [timer_id]


async def test_great_results_are_not_written_with_one_statement(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        great = JsonText(f'"{"x" * 250_000}"')
        timer_ids = [await bench.claimed() for _ in range(6)]
        for timer_id in timer_ids[:4]:
            result = new_timer(callback_payload=great)
            bench.settle(replace(completed(timer_id), result=result))
        for timer_id in timer_ids[4:]:
            bench.settle(replace(completed(timer_id), result=new_timer()))
        await bench.settler.wait_empty()
        assert bench.settled == timer_ids
        assert bench.database.sizes == [1, 1, 1, 3]


async def test_superseded_outcome_changes_nothing_and_is_told_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(autojump_clock) as bench:
        timer_id = await bench.claimed()
        await bench.database.sweep(ALICE, None, SOON)
        await bench.database.join(BOB, SOON)
        await ask(bench.database, [timer_id], BOB, SECOND)
        bench.settle(given_back(timer_id, FIRST))
        await bench.settler.wait_empty()
        assert await bench.status(timer_id) is Status.EXECUTING
        assert bench.settled == [timer_id]


async def test_an_outcome_is_superseded_once_the_database_has_said_so_twice(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(autojump_clock) as bench:
        superseded, other, *good = [await bench.claimed() for _ in range(4)]
        for timer_id in (superseded, other):
            await bench.database.settle([completed(timer_id)], SOON)
        bench.database.sizes.clear()
        for timer_id in good:
            bench.settle(completed(timer_id))
        bench.settle(completed(superseded, SECOND))
        await trio.sleep(LINGER_S + FIRST_PAUSE_S / 2)
        assert (sorted(bench.settled), len(bench.heard)) == (sorted(good), 0)
        await bench.settler.wait_empty()
        assert bench.database.sizes == [3, 1]
        assert (sorted(bench.settled), len(bench.heard)) == (sorted([superseded, *good]), 1)
        # Each time anew.
        bench.settle(completed(superseded, SECOND))
        await bench.settler.wait_empty()
        assert (bench.database.sizes, len(bench.heard)) == ([3, 1, 1, 1], 2)


async def test_a_server_that_is_none_any_more_is_not_believed(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        timer_id = await bench.claimed()
        bench.database.stale_answers = 1
        bench.settle(completed(timer_id))
        await bench.settler.wait_empty()
        assert await bench.status(timer_id) is Status.COMPLETED
        assert (bench.settled, len(bench.heard)) == ([timer_id], 0)


async def test_unsettled_outcomes_are_counted(autojump_clock: MockClock) -> None:
    async with open_bench(autojump_clock) as bench:
        for expected in (1, 2):
            bench.settle(completed(await bench.claimed()))
            assert len(bench.settler) == expected
            gauge = bench.metrics.registry.get_sample_value("timer_trio_unsettled")
            assert gauge == expected
        await bench.settler.wait_empty()
        assert len(bench.settler) == 0


async def test_locked_row_holds_up_neither_its_group_nor_later_ones(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(autojump_clock) as bench:
        locked, beside = await bench.claimed(), await bench.claimed()
        later = [await bench.claimed() for _ in range(20)]
        bench.database.locked = {locked}
        began = trio.current_time()
        bench.settle(completed(locked))
        bench.settle(completed(beside))
        for timer_id in later:
            await trio.sleep(LINGER_S)
            bench.settle(completed(timer_id))
        await trio.sleep(2 * LINGER_S)
        assert sorted(bench.settled) == sorted([beside, *later])
        assert trio.current_time() - began < 22.5 * LINGER_S
        assert len(bench.settler) == 1
        bench.database.locked = set()
        await bench.settler.wait_empty()
        assert await bench.status(locked) is Status.COMPLETED
        assert trio.current_time() - began < 23 * LINGER_S + LONGEST_PAUSE_S + LINGER_S


async def test_lock_is_waited_for_again_when_the_last_one_is_long_gone(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(autojump_clock) as bench:
        first, second = await bench.claimed(), await bench.claimed()
        bench.database.locked = {first}
        bench.settle(completed(first))
        await trio.sleep(1)
        bench.database.locked = set()
        await bench.settler.wait_empty()
        await trio.sleep(LOCKED_S)
        bench.settle(completed(second))
        await bench.settler.wait_empty()
        assert bench.database.skipped[-1] is False
