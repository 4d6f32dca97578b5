"""Each checker of schedules can fail: a service broken on purpose, found out by that checker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
import trio

from tests.simulation.catch_up_checkers import caught_up_as_told, overlap_never_runs_two
from tests.simulation.occurrence_timers import is_a_timer
from tests.simulation.schedule_checkers import (
    acknowledged_is_written,
    asked_for_fires,
    canceled_is_not_sent,
    counts_agree,
    each_instant_once,
    nothing_after_an_answer,
    nothing_beside_the_rule,
    planned_ahead,
    sent_as_told,
)
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.schedules import Trial, history_of_schedules
from tests.simulation.test_checkers import FastClock, LosingSettle, PoliteCancel
from tests.simulation.world import Build
from timer_trio.domain import planning
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.schedule import (
    Changed,
    NewOccurrence,
    PendingFate,
    Schedule,
    ScheduleChange,
    ScheduleId,
    Standing,
)
from timer_trio.domain.timer import DueTimer, Status, TimerId
from timer_trio.scheduler.planner import Planner
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.memory.database import Row

pytestmark = pytest.mark.sampled(of=4)

TRIES: Final = 100
Checker = Callable[[ScheduleWorld], Iterator[str]]
Decide = Callable[[Schedule, Standing], ScheduleChange]


def assert_found_out(checker: Checker, trial: Trial, build: Build | None = None) -> None:
    """Run histories until the checker finds fault."""
    seeds = range(TRIES)
    assert any(list(checker(history_of_schedules(seed, trial, build))) for seed in seeds)


class LosingPlan(MemoryStorage):
    """Loses the first of some occurrences."""

    def _insert(self, occurrences: Iterable[NewOccurrence], now: datetime) -> Sequence[TimerId]:
        return super()._insert([*occurrences][1:], now)


class LazyChange(MemoryStorage):
    """Leaves what is pending as it is."""

    _left = PendingFate.REPLACED

    def _settle_pending(self, rows: Sequence[Row], change: ScheduleChange, now: datetime) -> int:
        if change.pending is self._left:
            return 0
        return super()._settle_pending(rows, change, now)


class LazyEnd(LazyChange):
    _left = PendingFate.CANCELED


class LazyTemplate(LazyChange):
    _left = PendingFate.CHANGED


class EndOfPending(MemoryStorage):
    """Leaves what is retrying when a schedule ends."""

    def _settle_pending(self, rows: Sequence[Row], change: ScheduleChange, now: datetime) -> int:
        pending = [row for row in rows if row.timer.status is not Status.RETRYING]
        is_end = change.pending is PendingFate.CANCELED
        return super()._settle_pending(pending if is_end else rows, change, now)


class ForgetfulChange(MemoryStorage):
    """Says that it has changed a schedule, and has not."""

    async def change_schedule(
        self,
        schedule_id: ScheduleId,
        decide: Decide,
        _: datetime,
        _project: ProjectId = DEFAULT_PROJECT,
    ) -> Changed:
        await trio.lowlevel.checkpoint()
        known = self._schedule(schedule_id)
        change = decide(known, Standing(last_begun=None, first_overdue=None, pending=0))
        return Changed(change, 0)


class UncountedChange(MemoryStorage):
    """Does not count what it takes away."""

    async def change_schedule(
        self,
        schedule_id: ScheduleId,
        decide: Decide,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Changed:
        def decide_wrongly(schedule: Schedule, standing: Standing) -> ScheduleChange:
            return decide(schedule, replace(standing, pending=0))

        return await super().change_schedule(schedule_id, decide_wrongly, now, project=project)


class OverlappingClaim(MemoryStorage):
    """Lets one begin while another one is under way."""

    def _overlaps(self, _: Row) -> bool:
        return False


class OverlappingBatch(MemoryStorage):
    """Lets all of a batch begin."""

    def _not_first(self, _: Iterator[Row]) -> Iterator[DueTimer]:
        return iter(())


class LateClaim(MemoryStorage):
    """Lets what is late begin, though the next one is due as well."""

    def _is_superseded(self, *_: Any) -> bool:
        return False


class EagerSkip(MemoryStorage):
    """Skips what is not late."""

    def _is_superseded(self, row: Row, _: datetime) -> bool:
        return row.occurrence is not None and row.occurrence.superseded_at is not None


class LosingTrigger(MemoryStorage):
    """Says that it has written an occurrence, and has not."""

    async def add_occurrences(
        self, _: ScheduleId, occurrences: Sequence[NewOccurrence], *__: Any
    ) -> Sequence[TimerId]:
        await trio.lowlevel.checkpoint()
        return [each.timer.id for each in occurrences]


@pytest.mark.parametrize(
    ("storage", "checker", "trial"),
    [
        (LosingPlan, each_instant_once, Trial.CALM),
        (LazyChange, nothing_after_an_answer, Trial.CALM),
        (LazyEnd, nothing_after_an_answer, Trial.CALM),
        (EndOfPending, nothing_after_an_answer, Trial.CALM),
        (LazyTemplate, sent_as_told, Trial.CALM),
        (PoliteCancel, canceled_is_not_sent, Trial.CALM),
        (ForgetfulChange, acknowledged_is_written, Trial.CALM),
        (UncountedChange, counts_agree, Trial.CALM),
        (OverlappingClaim, overlap_never_runs_two, Trial.CALM),
        (OverlappingBatch, overlap_never_runs_two, Trial.OUTAGE),
        (LateClaim, caught_up_as_told, Trial.OUTAGE),
        (EagerSkip, caught_up_as_told, Trial.CALM),
        (LosingTrigger, asked_for_fires, Trial.CALM),
        (FastClock, is_a_timer, Trial.CALM),
        (LosingSettle, is_a_timer, Trial.CALM),
    ],
)
def test_broken_storage_is_found_out(
    storage: type[MemoryStorage], checker: Checker, trial: Trial
) -> None:
    assert_found_out(checker, trial, Build(storage=storage))


def test_an_instant_off_the_rule_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    after = planning.Calendar.after

    def late(self: planning.Calendar, schedule: Schedule, instant: datetime) -> Iterator[datetime]:
        return (each + timedelta(seconds=1) for each in after(self, schedule, instant))

    monkeypatch.setattr(planning.Calendar, "after", late)
    assert_found_out(nothing_beside_the_rule, Trial.CALM)


def test_what_is_made_up_of_a_pause_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin_of_pause(_: Standing, now: datetime) -> datetime:
        return now - timedelta(seconds=60)

    monkeypatch.setattr(planning, "_goes_on_after", begin_of_pause)
    assert_found_out(nothing_beside_the_rule, Trial.CALM)


def test_an_instant_that_one_canceled_by_itself_holds_up_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on_after = planning._goes_on_after

    def after_canceled(standing: Standing, now: datetime) -> datetime:
        return max([goes_on_after(standing, now), *standing.canceled])

    monkeypatch.setattr(planning, "_goes_on_after", after_canceled)
    assert_found_out(each_instant_once, Trial.CALM)


def test_skipping_where_all_are_to_be_caught_up_with_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_superseded(_: Schedule, step: Any, now: datetime) -> bool:
        return step.following is not None and step.following <= now

    monkeypatch.setattr(planning, "_is_superseded", is_superseded)
    assert_found_out(caught_up_as_told, Trial.HOUR)


def test_more_occurrences_than_there_may_be_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    take = planning._take

    def take_all(schedule: Schedule, *how: Any) -> tuple[list[datetime], datetime | None]:
        timing = replace(schedule.spec.timing, max_occurrences=None)
        return take(replace(schedule, spec=replace(schedule.spec, timing=timing)), *how)

    monkeypatch.setattr(planning, "_take", take_all)
    assert_found_out(counts_agree, Trial.CALM)


def test_a_planner_that_does_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def plan_nothing(_: Planner) -> bool:
        return True

    monkeypatch.setattr(Planner, "_plan_due", plan_nothing)
    assert_found_out(planned_ahead, Trial.CALM)
