from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import pytest
import trio

from tests.contract.timers import NOW, seconds
from tests.schedules import (
    CALENDAR,
    DAILY,
    EVERY_MINUTE,
    FIRST_ID,
    SECOND_ID,
    schedule_of,
    schedule_spec,
)
from tests.unit.fakes import Database
from timer_trio.calendar import RuleError, instants
from timer_trio.clock import Clock
from timer_trio.domain.errors import RowRefusedError, StorageUnavailableError
from timer_trio.domain.planning import Calendar, plan
from timer_trio.domain.schedule import (
    Plan,
    Schedule,
    ScheduleId,
    ScheduleSpec,
    ScheduleStatus,
    UnreadableSchedule,
)
from timer_trio.domain.schedule_rule import Bounds, Rule
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import DueTimer, ReplicaId, Status
from timer_trio.scheduler.planner import INTERVAL_S, Planner
from timer_trio.scheduler.replanning import Replanner
from timer_trio.telemetry.metrics import Metrics

ME: Final = ReplicaId(FIRST_ID)
OTHER: Final = ReplicaId(SECOND_ID)
HOUR_S: Final = 3_600.0


class ScheduleDatabase(Database):
    """Storage in memory whose statements for the planner fail on demand.

    A statement that plans one of the `refused` schedules is refused, and so is not done at all;
    `locked_schedules` are left out of it. `spoilt` rows make no schedule.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[ScheduleId] = set()
        self.locked_schedules: set[ScheduleId] = set()
        self.spoilt: set[ScheduleId] = set()

    async def next_plan_at(self, shards: Collection[int]) -> datetime | None:
        async with self._call("next_plan_at"):
            return await super().next_plan_at(shards)

    async def due_schedules(
        self, shards: Collection[int], until: datetime, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        async with self._call("due_schedules"):
            found = await super().due_schedules(shards, until, limit)
        return [
            UnreadableSchedule(one.id, 1, "its rule is no rule") if one.id in self.spoilt else one
            for one in found
        ]

    async def plan(self, plans: Sequence[Plan], now: datetime) -> Sequence[bool]:
        async with self._call("plan"):
            if any(each.schedule.id in self.refused for each in plans):
                raise RowRefusedError("a text holds what cannot be stored")
            free = [each for each in plans if each.schedule.id not in self.locked_schedules]
            held = iter(await super().plan(free, now))
        return [each in free and next(held) for each in plans]


class Planning:
    """A planner of all shards, and what it has offered."""

    def __init__(self) -> None:
        self.database = ScheduleDatabase()
        self.clock = Clock(elapsed=trio.current_time)
        self.clock.take_reading(NOW, 0.0)
        self.shards = Shards()
        self.shards.divide(ME, [ME])
        self.offered: list[DueTimer] = []
        self.metrics = Metrics()
        self.use(CALENDAR)

    def use(self, calendar: Calendar, interval_s: float = INTERVAL_S) -> None:
        """Plan by another calendar, or with other pauses, from now on."""
        replanner = Replanner(
            storage=self.database,
            clock=self.clock,
            calendar=calendar,
            offer=self.offered.extend,
        )
        self.planner = Planner(
            storage=self.database,
            clock=self.clock,
            calendar=calendar,
            replanner=replanner,
            shards=self.shards,
            offer=self.offered.extend,
            metrics=self.metrics,
            interval_s=interval_s,
        )

    async def create(self, wanted: ScheduleSpec, schedule_id: ScheduleId = FIRST_ID) -> None:
        """Write a schedule of which nothing is planned."""
        await self.database.create_schedule(
            schedule_of(wanted, schedule_id, self.clock.now()), (), self.clock.now()
        )

    async def run_for(self, how_long_s: float) -> None:
        with trio.move_on_after(how_long_s):
            await self.planner.run()

    async def status(self, schedule_id: ScheduleId = FIRST_ID) -> tuple[ScheduleStatus, str | None]:
        known = await self.database.schedule(schedule_id)
        return known.status, known.last_error

    @property
    def offered_at(self) -> list[datetime]:
        return sorted(timer.due_at for timer in self.offered)

    def sample(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"timer_trio_{name}")


@pytest.fixture
async def planning(virtual_time: None) -> Planning:  # noqa: ARG001 - it marks the test
    return Planning()


def minutes(count: int) -> list[datetime]:
    return [NOW + timedelta(minutes=minute) for minute in range(1, count + 1)]


async def test_each_occurrence_is_planned_once_and_minutes_before_it_is_due(
    planning: Planning,
) -> None:
    await planning.create(schedule_spec(EVERY_MINUTE))
    await planning.run_for(HOUR_S)
    assert planning.offered_at[:60] == minutes(60)
    assert len(set(planning.offered)) == len(planning.offered)
    assert planning.sample("planner_lag_seconds") == 0
    assert planning.sample("occurrences_planned_total") == len(planning.offered)


async def test_a_daily_schedule_costs_a_look_a_minute_and_a_plan_a_day(
    planning: Planning,
) -> None:
    await planning.create(schedule_spec(DAILY))
    await planning.run_for(3 * 24 * HOUR_S)
    assert planning.database.tries["plan"] == 4
    assert planning.database.tries["due_schedules"] <= 8


async def test_a_schedule_that_this_process_has_written_is_planned_in_time(
    planning: Planning,
) -> None:
    planning.use(CALENDAR, interval_s=24 * HOUR_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(planning.planner.run)
        await trio.sleep(10)
        first = plan(
            schedule_of(schedule_spec(EVERY_MINUTE), now=planning.clock.now()),
            CALENDAR,
            planning.clock.now(),
        )
        await planning.database.create_schedule(first.schedule, first.occurrences, NOW)
        assert first.schedule.plan_at is not None
        planning.planner.expect(first.schedule.plan_at)
        await trio.sleep(HOUR_S)
        nursery.cancel_scope.cancel()
    assert len(planning.offered) >= 50
    assert planning.sample("occurrences_skipped_total") == 0
    assert planning.database.tries["due_schedules"] <= 30


async def test_what_is_written_during_a_look_is_planned_in_time(planning: Planning) -> None:
    planning.use(CALENDAR, interval_s=24 * HOUR_S)
    planning.database.delay_s["next_plan_at"] = 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(planning.planner.run)
        await trio.sleep(1)
        planning.planner.expect(planning.clock.now() + seconds(60))
        await trio.sleep(58)
        assert planning.database.tries["next_plan_at"] == 1
        await trio.sleep(4)
        assert planning.database.tries["next_plan_at"] == 2
        nursery.cancel_scope.cancel()


async def test_schedules_of_other_shards_are_left_to_others(planning: Planning) -> None:
    planning.shards.divide(ME, [ME, OTHER])
    wanted = schedule_spec(EVERY_MINUTE)
    for shard in range(256):
        await planning.create(wanted, ScheduleId(UUID(int=FIRST_ID.int & ~0xFF | shard)))
    await planning.run_for(30)
    assert {timer.id.int & 0xFF for timer in planning.offered} == planning.shards.own


async def test_gained_shards_are_looked_at_at_once(planning: Planning) -> None:
    planning.shards.divide(ME, [OTHER])
    await planning.create(schedule_spec(EVERY_MINUTE))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(planning.planner.run)
        await trio.sleep(10)
        assert not planning.offered
        planning.shards.divide(ME, [ME])
        planning.planner.look()
        await trio.sleep(0.1)
        assert planning.offered
        nursery.cancel_scope.cancel()


async def test_an_outage_puts_planning_off_and_no_further(planning: Planning) -> None:
    await planning.create(schedule_spec(EVERY_MINUTE))
    planning.database.is_away = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(planning.planner.run)
        await trio.sleep(HOUR_S)
        assert not planning.offered
        planning.database.is_away = False
        await trio.sleep(1)
        # The newest of those that were missed, and the next ten minutes.
        assert planning.offered_at == [NOW + timedelta(minutes=minute) for minute in range(60, 71)]
        nursery.cancel_scope.cancel()
    assert planning.sample("occurrences_skipped_total") == 59


async def test_a_lost_reply_plans_nothing_twice(planning: Planning) -> None:
    planning.database.lost_replies["plan"] = 1
    await planning.create(schedule_spec(EVERY_MINUTE))
    await planning.run_for(HOUR_S)
    pending = (await planning.database.schedule_facts(FIRST_ID)).pending
    assert (await planning.database.schedule(FIRST_ID)).instants == pending


async def test_a_rule_that_cannot_be_followed_is_paused_in_words_and_hurts_no_other(
    planning: Planning,
) -> None:
    def without_berlin(rule: Rule, bounds: Bounds, after: datetime) -> Iterable[datetime]:
        if rule == DAILY:
            raise RuleError("timezone", "is no time zone of the IANA data 2031a")
        return instants(rule, bounds, after)

    planning.use(Calendar(without_berlin, "2031a"))
    await planning.create(schedule_spec(DAILY))
    await planning.create(schedule_spec(EVERY_MINUTE), SECOND_ID)
    await planning.run_for(30)
    words = "timezone is no time zone of the IANA data 2031a"
    assert await planning.status() == (ScheduleStatus.PAUSED, words)
    assert planning.offered_at == minutes(10)


async def test_a_bug_in_one_rule_costs_that_schedule_alone(planning: Planning) -> None:
    def broken(rule: Rule, bounds: Bounds, after: datetime) -> Iterable[datetime]:
        if rule == DAILY:
            raise ZeroDivisionError
        return instants(rule, bounds, after)

    planning.use(Calendar(broken, "2026a"))
    await planning.create(schedule_spec(DAILY))
    await planning.create(schedule_spec(EVERY_MINUTE), SECOND_ID)
    await planning.run_for(30)
    words = "internal error: ZeroDivisionError"
    assert await planning.status() == (ScheduleStatus.PAUSED, words)
    assert planning.offered_at == minutes(10)


async def test_a_schedule_that_the_database_refuses_costs_itself(
    planning: Planning,
) -> None:
    await planning.create(schedule_spec(EVERY_MINUTE))
    await planning.create(schedule_spec(EVERY_MINUTE), SECOND_ID)
    planning.database.refused = {FIRST_ID}
    await planning.run_for(30)
    status, words = await planning.status()
    assert status is ScheduleStatus.PAUSED
    assert words is not None
    assert "cannot be stored" in words
    assert planning.offered_at == minutes(10)


async def test_a_row_that_makes_no_schedule_is_paused(planning: Planning) -> None:
    await planning.create(schedule_spec(EVERY_MINUTE))
    planning.database.spoilt = {FIRST_ID}
    await planning.run_for(30)
    assert await planning.status() == (ScheduleStatus.PAUSED, "its rule is no rule")


async def test_a_locked_schedule_is_planned_soon_after_it_is_free(
    planning: Planning,
) -> None:
    await planning.create(schedule_spec(EVERY_MINUTE))
    await planning.create(schedule_spec(EVERY_MINUTE), SECOND_ID)
    planning.database.locked_schedules = {FIRST_ID}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(planning.planner.run)
        await trio.sleep(5)
        assert planning.offered_at == minutes(10)
        planning.database.locked_schedules = set()
        await trio.sleep(2)
        assert len(planning.offered) == 20
        nursery.cancel_scope.cancel()


async def test_older_zone_data_is_replaced_at_the_start(planning: Planning) -> None:
    def an_hour_later(rule: Rule, bounds: Bounds, after: datetime) -> Iterable[datetime]:
        moved = instants(rule, bounds, after - seconds(HOUR_S))
        return (instant + seconds(HOUR_S) for instant in moved)

    planned = plan(schedule_of(schedule_spec(DAILY)), CALENDAR, NOW)
    (old,) = planned.occurrences
    planning.use(Calendar(an_hour_later, "2031a"))
    await planning.database.create_schedule(planned.schedule, planned.occurrences, NOW)
    await planning.run_for(30)
    assert planning.offered_at == [old.instant + seconds(HOUR_S)]
    facts = await planning.database.schedule_facts(FIRST_ID)
    assert facts.pending == 1
    assert (await planning.database.schedule(FIRST_ID)).zone_data == "2031a"


async def test_schedules_are_counted(planning: Planning) -> None:
    await planning.create(schedule_spec(EVERY_MINUTE))
    await planning.run_for(30)
    active = {"status": "active"}
    registry = planning.metrics.registry
    assert registry.get_sample_value("timer_trio_schedules", active) == 1


async def test_what_is_skipped_when_it_is_planned_says_so(planning: Planning) -> None:
    await planning.create(schedule_spec(EVERY_MINUTE))
    planning.database.errors["due_schedules"] = [StorageUnavailableError("away")] * 1_200
    await planning.run_for(HOUR_S)
    timers = [row.timer for row in planning.database._rows.values()]
    skipped = [timer for timer in timers if timer.status is Status.CANCELED]
    assert skipped
    assert {timer.last_error for timer in skipped} == {
        "skipped: the next occurrence was due as well"
    }
