"""Each checker of the verbs can fail: a service broken on purpose, found out by that checker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from tests.simulation.history import History
from tests.simulation.scenarios import Scenario
from tests.simulation.verb_checkers import (
    all_have_ended,
    bulk_does_nothing_twice,
    bulk_does_what_it_counts,
    canceled_is_not_sent,
    each_ending_has_its_result,
    equal_keys_are_answered_equally,
    named_answers_hold,
    one_live_timer_has_a_name,
    redriven_goes_on,
)
from tests.simulation.verbs import verb_history
from tests.simulation.world import Build
from timer_trio.delivery import callback, firer
from timer_trio.delivery.signing import Sign
from timer_trio.domain import result
from timer_trio.domain.bulk import TAKES, BulkAction, BulkPage
from timer_trio.domain.keys import FirstAnswer, KeyedCreate
from timer_trio.domain.masking import USUAL
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.settlement import Completed, Settlement
from timer_trio.domain.timer import (
    ENDED,
    WAITING,
    Claim,
    ClaimedTimer,
    DueTimer,
    NewTimer,
    SpecChange,
    Status,
    TimerId,
    TimerSummary,
)
from timer_trio.domain.trace import TraceContext
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.memory import bulk as memory_bulk
from timer_trio.storage.memory.database import Row, new_row
from timer_trio.transport import Request

pytestmark = pytest.mark.sampled(of=8)

TRIES = 100
Checker = Callable[[History], Iterator[str]]


def assert_found_out(checker: Checker, scenario: Scenario, build: Build | None = None) -> None:
    """Run histories until the checker finds fault."""
    assert any(list(checker(verb_history(seed, scenario, build))) for seed in range(TRIES))


class CarelessName(MemoryStorage):
    """Gives a name away without a look at who has it."""

    async def create_named(self, *asked: Any) -> bool:
        timers, _, now = asked
        for timer in timers:
            self._names.pop((timer.project, timer.key), None)
        return await super().create_named(timers, {}, now)


class CarelessBulkRedrive(MemoryStorage):
    """Makes many live again, whoever has their names."""

    def _has_its_name(self, row: Row) -> bool:
        self._names[row.project, row.timer.key or ""] = row.timer.id
        return True


class ForgetfulKey(MemoryStorage):
    """Writes what a key is to make whether or not it stands for something."""

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        for each in creates:
            self._keys.pop((each.project, each.key), None)
        return await super().create_keyed(creates, now)


class UnheededKey(MemoryStorage):
    """Answers each request as if it were the first one."""

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        await super().create_keyed(creates, now)
        return [each.answer for each in creates]


class EmptyKey(MemoryStorage):
    """Keeps the key, and no timer."""

    def _create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        kept = [each for each in timers if "key" not in str(each.spec.metadata)]
        super()._create(kept, now)


class LostResult(MemoryStorage):
    """Writes no result of what has completed."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool | None:
        if isinstance(settlement, Completed):
            settlement = replace(settlement, result=None)
        return super()._settle(settlement, now)


class DoubledResult(MemoryStorage):
    """Writes one more when a settlement comes again."""

    _numbers = count(1)

    def _settle(self, settlement: Settlement, now: datetime) -> bool | None:
        row = self._rows.get(settlement.timer_id)
        result = settlement.result
        if row and result and row.claim == settlement.claim and row.timer.status in ENDED:
            shard = result.id.int & 0xFF
            other = replace(result, id=TimerId(UUID(int=next(self._numbers) << 8 | shard)))
            self._put(new_row(other, now, parent_id=row.timer.id))
        return super()._settle(settlement, now)


class ResultOfCanceled(MemoryStorage):
    """Tells of timers that a consumer has canceled."""

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        summary = await super().cancel(timer_id, now, project=project)
        row = self._row(timer_id)
        target = row.timer.spec.on_failed
        if target is not None:
            told = result.result_of(target, row.timer, Claim(0), None, now, sensitive=USUAL)
            self._put(new_row(told, now, parent_id=timer_id))
        return summary


class SpentRedrive(MemoryStorage):
    """Leaves the failures counted."""

    def _redrive(self, row: Row, due_at: datetime, now: datetime) -> None:
        super()._redrive(row, due_at, now)
        self._put(replace(self._row(row.timer.id), failures=row.failures))


class UncountedRedrive(MemoryStorage):
    """Begins to count attempts anew."""

    def _redrive(self, row: Row, due_at: datetime, now: datetime) -> None:
        super()._redrive(row, due_at, now)
        fresh = self._row(row.timer.id)
        self._put(replace(fresh, timer=replace(fresh.timer, attempt=0), settled_attempts=0))


class PoliteRedrive(MemoryStorage):
    """Says yes, and does nothing."""

    async def redrive(
        self,
        timer_id: TimerId,
        due_at: datetime,
        now: datetime,
        holder: TimerId | None = None,
        project: ProjectId = DEFAULT_PROJECT,
        *,
        max_live: int | None = None,
    ) -> TimerSummary | None:
        del due_at, now, holder, project, max_live
        return self._row(timer_id).timer.summary


class HiddenRedrive(MemoryStorage):
    """Has it pending and never due."""

    def _redrive(self, row: Row, due_at: datetime, now: datetime) -> None:
        super()._redrive(row, due_at, now)
        self._put(replace(self._row(row.timer.id), due_at=None))


class TidyDelete(MemoryStorage):
    """Deletes what is due, too, and leaves nothing of it to be loaded."""

    def _do_all(self, rows: Sequence[Row], page: BulkPage, at: datetime) -> Sequence[DueTimer]:
        for row in rows if page.bulk.action is BulkAction.DELETE else ():
            self._put(replace(self._row(row.timer.id), due_at=None))
        return super()._do_all(rows, page, at)


class BoastfulBulk(MemoryStorage):
    """Counts what it leaves alone."""

    def _do_all(self, rows: Sequence[Row], page: BulkPage, at: datetime) -> Sequence[DueTimer]:
        return super()._do_all(rows[1:], page, at)


class TimelessBulk(MemoryStorage):
    """Heeds no `as_of`."""

    def _next_matching(self, page: BulkPage) -> Sequence[Row]:
        timeless = replace(page.bulk, as_of=datetime.max.replace(tzinfo=page.bulk.as_of.tzinfo))
        return super()._next_matching(replace(page, bulk=timeless))


class ForgetfulReplace(MemoryStorage):
    """Keeps the old payload."""

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        payload = self._row(timer_id).timer.spec.callback.payload
        return await super().update(
            timer_id, {**change, "callback_payload": payload}, now, project=project
        )


class PoliteCancel(MemoryStorage):
    """Says yes, whatever the status."""

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        del now, project
        return self._row(timer_id).timer.summary


@pytest.mark.parametrize(
    ("storage", "checker", "scenario"),
    [
        (CarelessName, one_live_timer_has_a_name, Scenario.TWO_REPLICAS),
        (CarelessBulkRedrive, one_live_timer_has_a_name, Scenario.CALM),
        (ForgetfulKey, equal_keys_are_answered_equally, Scenario.CALM),
        (UnheededKey, equal_keys_are_answered_equally, Scenario.TWO_REPLICAS),
        (EmptyKey, equal_keys_are_answered_equally, Scenario.CALM),
        (LostResult, each_ending_has_its_result, Scenario.CALM),
        (DoubledResult, each_ending_has_its_result, Scenario.CALM),
        (ResultOfCanceled, each_ending_has_its_result, Scenario.CALM),
        (SpentRedrive, redriven_goes_on, Scenario.CALM),
        (UncountedRedrive, redriven_goes_on, Scenario.CALM),
        (PoliteRedrive, redriven_goes_on, Scenario.CALM),
        (HiddenRedrive, all_have_ended, Scenario.CALM),
        (BoastfulBulk, bulk_does_what_it_counts, Scenario.CALM),
        (TimelessBulk, bulk_does_nothing_twice, Scenario.CALM),
        (ForgetfulReplace, named_answers_hold, Scenario.CALM),
        (PoliteCancel, named_answers_hold, Scenario.CALM),
    ],
)
def test_broken_storage_is_found_out(
    storage: type[MemoryStorage], checker: Checker, scenario: Scenario
) -> None:
    assert_found_out(checker, scenario, Build(storage=storage))


@pytest.mark.parametrize(
    ("action", "takes"),
    [
        (BulkAction.DELETE, frozenset(Status)),
        (BulkAction.CANCEL, WAITING | {Status.EXECUTING}),
        (BulkAction.REDRIVE, frozenset(Status)),
    ],
)
def test_bulk_action_that_takes_too_much_is_found_out(
    action: BulkAction, takes: frozenset[Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_bulk, "TAKES", {**TAKES, action: takes})
    assert_found_out(bulk_does_what_it_counts, Scenario.CALM, Build(storage=TidyDelete))


def test_many_canceled_while_they_are_sent_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = {**TAKES, BulkAction.CANCEL: WAITING | {Status.EXECUTING}}
    monkeypatch.setattr(memory_bulk, "TAKES", takes)
    assert_found_out(canceled_is_not_sent, Scenario.CALM)


def test_result_that_one_ending_shares_with_the_next_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = result.result_id
    monkeypatch.setattr(result, "result_id", lambda timer_id, _: made(timer_id, Claim(1)))
    assert_found_out(each_ending_has_its_result, Scenario.CALM)


def test_webhook_id_of_each_attempt_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def request_of(timer: ClaimedTimer, sign: Sign, span: TraceContext | None) -> Request:
        request = callback.request_of(timer, sign, span)
        own, other = f"webhook-id: {timer.id}", f"webhook-id: {timer.id}.{timer.attempt}"
        return request._replace(head=request.head.replace(own.encode(), other.encode()))

    monkeypatch.setattr(firer, "request_of", request_of)
    assert_found_out(redriven_goes_on, Scenario.CALM)
