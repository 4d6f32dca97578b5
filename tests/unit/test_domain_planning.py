from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import NOW, seconds, spec
from tests.schedules import (
    CALENDAR,
    DAILY,
    EVERY_MINUTE,
    FIRST_ID,
    SECOND_ID,
    schedule_of,
    schedule_spec,
)
from timer_trio.domain.errors import ScheduleEndedError
from timer_trio.domain.planning import (
    LEAD_SPREAD,
    LEAST_LEAD,
    MAX_INSTANTS,
    MAX_SKIPPED,
    WINDOW,
    changed,
    ended,
    paused,
    plan,
    replanned,
    resumed,
    upcoming,
)
from timer_trio.domain.schedule import (
    CatchUp,
    PendingFate,
    Plan,
    Schedule,
    ScheduleId,
    ScheduleStatus,
    Standing,
    due_occurrences,
)
from timer_trio.domain.schedule_rule import CronRule, EveryRule
from timer_trio.domain.settlement import SUPERSEDED

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
NOTHING_BEGUN: Final = Standing(last_begun=None, first_overdue=None, pending=0)


def minutes(first: int, last: int) -> list[datetime]:
    return [NOW + minute * MINUTE for minute in range(first, last + 1)]


def pending_of(planned: Plan) -> list[datetime]:
    return [each.instant for each in planned.occurrences if each.skipped is None]


def skipped_of(planned: Plan) -> list[datetime]:
    return [each.instant for each in planned.occurrences if each.skipped]


def planned_until(schedule: Schedule, until: datetime) -> tuple[Schedule, list[datetime]]:
    """Plan a schedule whenever it asks for it."""
    seen: list[datetime] = []
    while schedule.plan_at is not None and schedule.plan_at <= until:
        planned = plan(schedule, CALENDAR, max(NOW, schedule.plan_at))
        seen += pending_of(planned)
        schedule = planned.schedule
    return schedule, seen


def test_ten_minutes_are_written_ahead() -> None:
    planned = plan(schedule_of(schedule_spec(EVERY_MINUTE)), CALENDAR, NOW)
    assert pending_of(planned) == minutes(1, 10)
    assert planned.schedule.planned_to == NOW + WINDOW
    assert planned.schedule.instants == 10
    assert planned.skipped == planned.schedule.unplanned == 0


def test_the_next_one_is_written_however_far_it_is() -> None:
    planned = plan(schedule_of(schedule_spec(EveryRule(seconds=86_400 * 30))), CALENDAR, NOW)
    assert pending_of(planned) == [NOW + timedelta(days=30)]
    # Once a month is enough to look at it.
    assert planned.schedule.plan_at == NOW + timedelta(days=30)


@given(seconds=st.integers(1, 4_000), count=st.integers(1, 60))
def test_planning_when_asked_for_plans_each_instant_once_and_in_time(
    seconds: int, count: int
) -> None:
    schedule = schedule_of(schedule_spec(EveryRule(seconds=seconds), max_occurrences=count))
    plan_at: datetime | None = NOW
    seen: list[datetime] = []
    while plan_at is not None:
        planned = plan(schedule, CALENDAR, plan_at)
        late = [instant for instant in pending_of(planned) if instant <= plan_at]
        assert not late
        seen += pending_of(planned)
        schedule, plan_at = planned.schedule, planned.schedule.plan_at
    assert seen == [NOW + timedelta(seconds=seconds * place) for place in range(1, count + 1)]
    assert schedule.status is ScheduleStatus.ENDED


def test_what_is_needed_next_is_planned_minutes_before() -> None:
    planned = plan(schedule_of(schedule_spec(EVERY_MINUTE)), CALENDAR, NOW)
    assert planned.schedule.plan_at is not None
    lead = NOW + 11 * MINUTE - planned.schedule.plan_at
    assert LEAST_LEAD <= lead <= LEAST_LEAD + LEAD_SPREAD


def test_schedules_of_one_rule_are_planned_at_different_times() -> None:
    wanted = schedule_spec(EVERY_MINUTE)
    plans = [plan(schedule_of(wanted, each), CALENDAR, NOW) for each in (FIRST_ID, SECOND_ID)]
    first, second = (each.schedule.plan_at for each in plans)
    assert first != second


def test_what_does_not_fit_in_one_go_is_planned_in_the_next() -> None:
    planned = plan(schedule_of(schedule_spec(EveryRule(seconds=1))), CALENDAR, NOW)
    assert len(planned.occurrences) == MAX_INSTANTS
    following = plan(planned.schedule, CALENDAR, NOW)
    assert following.planned_from == NOW + seconds(MAX_INSTANTS)
    assert pending_of(following)[0] == NOW + seconds(MAX_INSTANTS + 1)


def test_what_must_be_planned_sooner_than_now_must_be_planned_now() -> None:
    early = ScheduleId(UUID(int=FIRST_ID.int | 0xFFFF << 8))
    planned = plan(schedule_of(schedule_spec(EveryRule(seconds=1)), early), CALENDAR, NOW)
    assert planned.schedule.plan_at == NOW


def test_ids_say_the_instant_and_are_the_same_again() -> None:
    schedule = schedule_of(schedule_spec(EVERY_MINUTE))
    first, again = plan(schedule, CALENDAR, NOW), plan(schedule, CALENDAR, NOW)
    ids = [each.timer.id for each in first.occurrences]
    assert ids == [each.timer.id for each in again.occurrences]
    assert len(set(ids)) == len(ids)
    other = plan(replace(schedule, version=2), CALENDAR, NOW)
    assert not set(ids) & {each.timer.id for each in other.occurrences}


def test_jitter_moves_each_within_its_band_and_always_alike() -> None:
    schedule = schedule_of(schedule_spec(EVERY_MINUTE, jitter_s=30.0))
    planned = plan(schedule, CALENDAR, NOW)
    moved = [each.timer.spec.execute_at - each.instant for each in planned.occurrences]
    assert all(seconds(0) <= by <= seconds(30) for by in moved)
    assert len(set(moved)) == len(moved)
    again = plan(schedule, CALENDAR, NOW).occurrences
    assert [each.timer.spec.execute_at - each.instant for each in again] == moved


# --- what is late -----------------------------------------------------------------------------


def overdue(catch_up: CatchUp, grace_s: float | None, away: timedelta) -> Plan:
    wanted = schedule_spec(EVERY_MINUTE, catch_up=catch_up, misfire_grace_s=grace_s)
    return plan(schedule_of(wanted), CALENDAR, NOW + away)


def test_after_an_outage_only_the_newest_fires() -> None:
    planned = overdue(CatchUp.LATEST, 300.0, HOUR)
    assert pending_of(planned) == minutes(60, 70)
    assert skipped_of(planned) == minutes(55, 59)
    assert {each.skipped for each in planned.occurrences} == {None, SUPERSEDED}
    assert planned.skipped == 59
    assert planned.schedule.unplanned == 54
    assert planned.schedule.instants == 70
    due = [*due_occurrences(planned.occurrences)]
    assert [each.due_at for each in due] == pending_of(planned)


def test_catching_up_with_all_fires_what_is_within_its_grace() -> None:
    planned = overdue(CatchUp.ALL, 300.0, HOUR)
    assert pending_of(planned) == minutes(55, 70)
    assert planned.skipped == planned.schedule.unplanned == 54
    assert {each.superseded_at for each in planned.occurrences} == {None}


def test_without_a_grace_all_of_them_fire() -> None:
    planned = overdue(CatchUp.ALL, None, HOUR)
    assert pending_of(planned) == minutes(1, 70)
    assert planned.skipped == 0


def test_of_many_that_are_skipped_the_newest_become_timers() -> None:
    planned = overdue(CatchUp.LATEST, None, 4 * HOUR - MINUTE)
    assert len(skipped_of(planned)) == MAX_SKIPPED
    assert skipped_of(planned)[-1] == NOW + 4 * HOUR - 2 * MINUTE
    assert planned.schedule.unplanned == 239 - 1 - MAX_SKIPPED
    assert planned.skipped == 238


def test_what_is_late_and_does_not_fit_in_one_go_is_planned_at_once_after_it() -> None:
    first = overdue(CatchUp.ALL, None, 10 * HOUR)
    assert pending_of(first) == minutes(1, MAX_INSTANTS)
    assert first.schedule.plan_at == NOW + 10 * HOUR
    second = plan(first.schedule, CALENDAR, NOW + 10 * HOUR)
    assert pending_of(second) == minutes(MAX_INSTANTS + 1, 2 * MAX_INSTANTS)


def test_each_says_when_it_is_superseded() -> None:
    planned = plan(schedule_of(schedule_spec(EVERY_MINUTE)), CALENDAR, NOW)
    assert [each.superseded_at for each in planned.occurrences] == minutes(2, 11)


def test_the_last_one_is_never_superseded() -> None:
    planned = plan(schedule_of(schedule_spec(EVERY_MINUTE, max_occurrences=2)), CALENDAR, NOW)
    assert [each.superseded_at for each in planned.occurrences] == [*minutes(2, 2), None]


# --- the end ----------------------------------------------------------------------------------


def test_a_schedule_ends_when_its_last_instant_has_come() -> None:
    wanted = schedule_spec(EVERY_MINUTE, max_occurrences=3)
    planned = plan(schedule_of(wanted), CALENDAR, NOW)
    assert planned.schedule.status is ScheduleStatus.ACTIVE
    assert planned.schedule.plan_at == NOW + 3 * MINUTE
    last = plan(planned.schedule, CALENDAR, NOW + 3 * MINUTE)
    assert last.schedule.status is ScheduleStatus.ENDED
    assert last.schedule.plan_at is None
    assert not last.occurrences


def test_nothing_is_after_the_end() -> None:
    wanted = schedule_spec(EVERY_MINUTE, end_at=NOW + 4 * MINUTE)
    schedule, seen = planned_until(schedule_of(wanted), NOW + HOUR)
    assert seen == minutes(1, 4)
    assert schedule.status is ScheduleStatus.ENDED


def test_instants_that_are_skipped_count_as_occurrences() -> None:
    wanted = schedule_spec(EVERY_MINUTE, max_occurrences=65, misfire_grace_s=60.0)
    planned = plan(schedule_of(wanted), CALENDAR, NOW + HOUR)
    assert pending_of(planned) == minutes(60, 65)


def test_the_start_itself_is_the_first_one() -> None:
    start_at = NOW + seconds(7)
    planned = plan(schedule_of(schedule_spec(EVERY_MINUTE, start_at=start_at)), CALENDAR, NOW)
    assert pending_of(planned)[0] == start_at


# --- changes ----------------------------------------------------------------------------------


@pytest.fixture
def schedule() -> Schedule:
    """A schedule of every minute that was planned at NOW."""
    return plan(schedule_of(schedule_spec(EVERY_MINUTE)), CALENDAR, NOW).schedule


BEGUN: Final = Standing(last_begun=NOW + 3 * MINUTE, first_overdue=None, pending=7)
"""Three and a half minutes later."""
THEN: Final = NOW + 3.5 * MINUTE


def test_another_rule_is_another_version_and_replaces_what_has_not_begun(
    schedule: Schedule,
) -> None:
    wanted = schedule_spec(EveryRule(seconds=90))
    change = changed(schedule, BEGUN, wanted, THEN, CALENDAR)
    assert change.pending is PendingFate.REPLACED
    assert change.schedule.version == 2
    assert [each.instant for each in change.occurrences][:2] == [
        NOW + seconds(270),
        NOW + seconds(360),
    ]
    assert change.schedule.instants == 3 + len(change.occurrences)


def test_what_was_late_at_a_change_comes_by_the_new_rule(schedule: Schedule) -> None:
    late = replace(BEGUN, last_begun=NOW + 2 * MINUTE, first_overdue=NOW + 3 * MINUTE)
    change = changed(schedule, late, schedule_spec(EveryRule(seconds=30)), THEN, CALENDAR)
    instants = [each.instant for each in change.occurrences if each.skipped is None]
    assert instants[0] == THEN


def test_what_has_begun_before_its_instant_does_not_come_again(schedule: Schedule) -> None:
    claimed_ahead = replace(BEGUN, last_begun=NOW + 4 * MINUTE)
    now = NOW + 4 * MINUTE - seconds(0.1)
    wanted = schedule_spec(EVERY_MINUTE, max_occurrences=100)
    change = changed(schedule, claimed_ahead, wanted, now, CALENDAR)
    assert change.occurrences[0].instant == NOW + 5 * MINUTE


def test_an_instant_that_was_canceled_holds_up_no_other_and_does_not_come_again(
    schedule: Schedule,
) -> None:
    canceled = replace(BEGUN, pending=6, canceled=frozenset({NOW + 6 * MINUTE}))
    wanted = schedule_spec(EVERY_MINUTE, max_occurrences=100, catch_up=CatchUp.LATEST)
    change = changed(schedule, canceled, wanted, THEN, CALENDAR)
    assert [each.instant for each in change.occurrences] == [*minutes(4, 5), *minutes(7, 13)]
    assert change.occurrences[1].superseded_at == NOW + 7 * MINUTE
    assert change.schedule.instants == 4 + len(change.occurrences)


def test_an_instant_that_was_canceled_is_dealt_with_if_it_is_the_last_planned(
    schedule: Schedule,
) -> None:
    canceled = replace(BEGUN, pending=6, canceled=frozenset({NOW + 13 * MINUTE}))
    change = resumed(paused(schedule, BEGUN, THEN).schedule, canceled, THEN, CALENDAR)
    assert change.occurrences[-1].instant == NOW + 12 * MINUTE
    assert change.schedule.planned_to == NOW + 13 * MINUTE


def test_what_does_not_say_when_changes_what_is_pending_in_place(schedule: Schedule) -> None:
    wanted = schedule_spec(EVERY_MINUTE, name="minutely", timeout_s=3.0)
    change = changed(schedule, BEGUN, wanted, THEN, CALENDAR)
    assert change.pending is PendingFate.CHANGED
    assert change.schedule == replace(schedule, spec=wanted, updated_at=THEN)


def test_a_paused_schedule_has_nothing_pending_and_plans_nothing(schedule: Schedule) -> None:
    change = paused(schedule, BEGUN, THEN)
    assert (change.pending, change.occurrences) == (PendingFate.REPLACED, ())
    assert change.schedule.status is ScheduleStatus.PAUSED
    assert change.schedule.plan_at is None
    assert change.schedule.instants == 3
    assert paused(change.schedule, NOTHING_BEGUN, THEN).pending is PendingFate.KEPT


def test_a_paused_schedule_can_be_changed_and_stays_paused(schedule: Schedule) -> None:
    still = paused(schedule, BEGUN, THEN).schedule
    change = changed(still, NOTHING_BEGUN, schedule_spec(DAILY), THEN, CALENDAR)
    assert (change.schedule.status, change.occurrences) == (ScheduleStatus.PAUSED, ())
    assert change.schedule.version == 2


def test_resuming_makes_up_nothing_of_the_pause(schedule: Schedule) -> None:
    still = replace(paused(schedule, BEGUN, THEN).schedule, last_error="no such zone")
    begun = replace(BEGUN, pending=0)
    change = resumed(still, begun, THEN + HOUR, CALENDAR)
    assert change.occurrences[0].instant == NOW + HOUR + 4 * MINUTE
    assert change.schedule.status is ScheduleStatus.ACTIVE
    assert change.schedule.last_error is None
    assert change.schedule.instants == 3 + len(change.occurrences)
    assert resumed(change.schedule, BEGUN, THEN, CALENDAR).pending is PendingFate.KEPT


def test_what_a_claim_gave_back_in_a_pause_does_not_have_the_pause_made_up(
    schedule: Schedule,
) -> None:
    still = paused(schedule, BEGUN, THEN).schedule
    given_back = replace(BEGUN, last_begun=NOW + 2 * MINUTE, first_overdue=NOW + 3 * MINUTE)
    change = resumed(still, given_back, THEN + HOUR, CALENDAR)
    assert change.occurrences[0].instant == NOW + HOUR + 4 * MINUTE


def test_an_end_cancels_what_waits_and_stays(schedule: Schedule) -> None:
    change = ended(schedule, THEN)
    assert change.pending is PendingFate.CANCELED
    assert change.schedule.status is ScheduleStatus.ENDED
    assert change.schedule.plan_at is None
    assert ended(change.schedule, THEN + HOUR).schedule == change.schedule


def test_what_has_ended_takes_no_change(schedule: Schedule) -> None:
    over = ended(schedule, THEN).schedule
    with pytest.raises(ScheduleEndedError):
        changed(over, BEGUN, over.spec, THEN, CALENDAR)
    with pytest.raises(ScheduleEndedError):
        paused(over, BEGUN, THEN)
    with pytest.raises(ScheduleEndedError):
        resumed(over, BEGUN, THEN, CALENDAR)


def test_other_zone_data_moves_what_is_pending_under_the_same_version() -> None:
    schedule = plan(schedule_of(schedule_spec(DAILY)), CALENDAR, NOW).schedule
    moved = CALENDAR._replace(zone_data="2031a")
    standing = Standing(last_begun=None, first_overdue=None, pending=1)
    change = replanned(schedule, standing, NOW + MINUTE, moved)
    assert change.pending is PendingFate.REPLACED
    assert change.schedule.version == schedule.version
    assert change.schedule.zone_data == "2031a"
    assert change.schedule.instants == schedule.instants
    still = paused(schedule, standing, NOW).schedule
    assert replanned(still, NOTHING_BEGUN, NOW, moved).pending is PendingFate.KEPT


def test_only_rules_with_a_zone_know_zone_data(schedule: Schedule) -> None:
    assert schedule.zone_data is None
    zoned = schedule_of(schedule_spec(CronRule(text="* * * * *", timezone="UTC")))
    assert plan(zoned, CALENDAR, NOW).schedule.zone_data == CALENDAR.zone_data


def test_the_next_five_are_shown(schedule: Schedule) -> None:
    assert upcoming(schedule, 10, CALENDAR, NOW) == minutes(1, 5)
    assert upcoming(paused(schedule, BEGUN, THEN).schedule, 0, CALENDAR, NOW) == []
    few = plan(schedule_of(schedule_spec(EVERY_MINUTE, max_occurrences=3)), CALENDAR, NOW)
    assert upcoming(few.schedule, 2, CALENDAR, NOW + MINUTE) == minutes(2, 3)


def test_template_is_what_each_occurrence_asks_for() -> None:
    wanted = schedule_spec(EVERY_MINUTE, timeout_s=7.0)
    (first, *_) = plan(schedule_of(wanted), CALENDAR, NOW).occurrences
    assert first.timer.spec == spec(execute_at=NOW + MINUTE, timeout_s=7.0)
    assert (first.version, first.schedule_id) == (1, FIRST_ID)
