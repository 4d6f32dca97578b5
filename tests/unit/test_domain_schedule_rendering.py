from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.contract.timers import NOW
from tests.schedules import CALENDAR, DAILY, EVERY_MINUTE, schedule_of, schedule_spec
from timer_trio.domain import masking
from timer_trio.domain.planning import new_schedule, next_instant, plan
from timer_trio.domain.query import MAX_LISTED_METADATA
from timer_trio.domain.schedule import Schedule, ScheduleFacts, ScheduleStatus
from timer_trio.domain.schedule_rendering import listed_schedule_json, schedule_json
from timer_trio.domain.schedule_rule import EveryRule, RecurrenceRule, Rule, field_of
from timer_trio.domain.timer import JsonText, Status, Timer, TimerId, rfc3339

MONTHLY = RecurrenceRule(text="FREQ=MONTHLY", timezone="UTC")


def shown(schedule: Schedule, facts: ScheduleFacts, *upcoming: datetime) -> Any:
    return json.loads(schedule_json(schedule, facts, upcoming, masking.NOTHING))


NOTHING = ScheduleFacts(last_occurrence=None, pending=0, skipped=0)


@pytest.mark.parametrize(
    ("rule", "field", "timezone"),
    [
        (DAILY, "cron", "Europe/Berlin"),
        (EVERY_MINUTE, "every", None),
        (MONTHLY, "rrule", "UTC"),
    ],
)
def test_the_rule_stands_in_its_own_field(rule: Rule, field: str, timezone: str | None) -> None:
    assert field_of(rule) == field
    data = shown(schedule_of(schedule_spec(rule)), NOTHING)
    said = rule.seconds if isinstance(rule, EveryRule) else rule.text
    others = dict.fromkeys({"cron", "every", "rrule"} - {field})
    expected = {field: said, "timezone": timezone, **others}
    assert {name: data[name] for name in expected} == expected


def test_numbers_are_of_what_is_due() -> None:
    schedule = replace(schedule_of(schedule_spec()), instants=12, unplanned=2)
    spec = schedule.spec.template
    last = Timer(
        id=TimerId(schedule.id),
        created_at=NOW,
        updated_at=NOW,
        status=Status.COMPLETED,
        spec=spec,
        executed_at=NOW,
        attempt=1,
        last_error=None,
    )
    data = shown(schedule, ScheduleFacts(last_occurrence=last, pending=10, skipped=1), NOW)
    assert (data["occurrences"], data["skipped"], data["next"]) == (2, 3, [rfc3339(NOW)])
    assert data["last_occurrence"]["status"] == "completed"
    assert data["last_occurrence"]["executed_at"] == rfc3339(NOW)
    assert shown(schedule, NOTHING)["last_occurrence"] is None


def test_payload_is_as_it_arrived() -> None:
    schedule = schedule_of(schedule_spec(callback_payload=JsonText('{"a": 1,  "a": 2}')))
    assert '"callback_payload": {"a": 1,  "a": 2}}' in schedule_json(
        schedule, NOTHING, [], masking.NOTHING
    )


def test_metadata_that_is_too_long_for_a_list_is_left_out() -> None:
    long = schedule_of(schedule_spec(metadata={"text": "x" * MAX_LISTED_METADATA}))
    short = schedule_of(schedule_spec(metadata={"text": "x"}))
    assert "metadata" not in json.loads(listed_schedule_json(long, None))
    data = json.loads(listed_schedule_json(short, NOW))
    assert (data["metadata"], data["next_at"]) == ({"text": "x"}, rfc3339(NOW))


def test_next_instant_is_that_of_an_active_schedule() -> None:
    schedule = schedule_of(schedule_spec())
    minute = timedelta(minutes=1)
    assert next_instant(schedule, CALENDAR, NOW) == NOW + minute
    paused = replace(schedule, status=ScheduleStatus.PAUSED)
    assert next_instant(paused, CALENDAR, NOW) is None
    ending = new_schedule(schedule.id, schedule_spec(end_at=NOW + minute), NOW)
    assert next_instant(ending, CALENDAR, NOW + minute) is None


def test_there_is_no_next_instant_beyond_the_most() -> None:
    schedule = plan(schedule_of(schedule_spec(max_occurrences=2)), CALENDAR, NOW).schedule
    minute = timedelta(minutes=1)
    assert next_instant(schedule, CALENDAR, NOW + minute) == NOW + 2 * minute
    assert next_instant(schedule, CALENDAR, NOW + 2 * minute) is None
    more = replace(schedule.spec, timing=replace(schedule.spec.timing, max_occurrences=3))
    assert next_instant(replace(schedule, spec=more), CALENDAR, NOW + 2 * minute) is not None
