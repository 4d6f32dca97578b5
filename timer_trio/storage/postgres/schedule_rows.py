"""Rows of schedules and of new occurrences to domain values and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from timer_trio.domain.schedule import (
    CatchUp,
    NewOccurrence,
    Overlap,
    Plan,
    Schedule,
    ScheduleId,
    ScheduleSpec,
    ScheduleStatus,
    Timing,
    UnreadableSchedule,
)
from timer_trio.domain.schedule_rule import CronRule, EveryRule, RecurrenceRule, Rule
from timer_trio.domain.timer import TimerSpec
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.columns import ENCODE, SPEC, Row, json_of, spec_of
from timer_trio.storage.postgres.rows import array, columns_of_new, instant_text, sealing, written
from timer_trio.storage.sealing import opened_spec, sealed_spec, sealed_timer

_REQUIRED: Final = ("callback_url", "callback_method", "callback_headers", "timeout_s", "delivery")
"""What no timer is without: the table `timers` sees to that, the JSON of a template does not."""


def parameters_of(schedule: Schedule, cipher: Cipher) -> dict[str, object]:
    """Return all columns of a schedule, as statements take them."""
    spec, timing = schedule.spec, schedule.spec.timing
    return {
        "id": schedule.id,
        "project": schedule.project,
        "name": spec.name,
        "status": schedule.status.value,
        "version": schedule.version,
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
        "rule": ENCODE(_rule_in_json(timing.rule)),
        "start_at": timing.start_at,
        "end_at": timing.end_at,
        "max_occurrences": timing.max_occurrences,
        "catch_up": timing.catch_up.value,
        "overlap": timing.overlap.value,
        "jitter_s": timing.jitter_s,
        "template": ENCODE(_template_in_json(spec.template, cipher)),
        "planned_to": schedule.planned_to,
        "plan_at": schedule.plan_at,
        "instants": schedule.instants,
        "unplanned": schedule.unplanned,
        "zone_data": schedule.zone_data,
        "last_error": schedule.last_error,
        "flow_key": schedule.flow_key,
    }


def change_of(template: TimerSpec, cipher: Cipher) -> str:
    """Write down what an occurrence asks for from now on; its instant stays."""
    change = _template_in_json(template, cipher)
    change["destination"] = template.callback.url.destination
    return ENCODE(change)


def _template_in_json(template: TimerSpec, cipher: Cipher) -> dict[str, object]:
    columns = json_of(sealed_spec(template, cipher) if cipher.seals else template)
    del columns["execute_at"]
    return columns


def _rule_in_json(rule: Rule) -> dict[str, object]:
    match rule:
        case CronRule(text=text, timezone=timezone):
            return {"cron": text, "timezone": timezone}
        case RecurrenceRule(text=text, timezone=timezone):
            return {"rrule": text, "timezone": timezone}
        case EveryRule(seconds=seconds):
            return {"every": seconds}


def readable(row: Row, cipher: Cipher) -> Schedule | UnreadableSchedule:
    """Make a schedule of its row, or say why it makes none."""
    try:
        return schedule_of(row, cipher)
    except ValueError as error:
        reason = f"its row makes no schedule: {error}"
        return UnreadableSchedule(ScheduleId(row["id"]), row["version"], reason)


def schedule_of(row: Row, cipher: Cipher) -> Schedule:
    """Make a schedule of its row, as it was asked for as far as there are keys.

    Raises:
        ValueError: the row is none, and why, in words.
    """
    timing = Timing(
        rule=_rule_of(row["rule"]),
        start_at=row["start_at"],
        end_at=row["end_at"],
        max_occurrences=row["max_occurrences"],
        catch_up=CatchUp(row["catch_up"]),
        overlap=Overlap(row["overlap"]),
        jitter_s=row["jitter_s"],
    )
    return Schedule(
        id=ScheduleId(row["id"]),
        project=row["project"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        status=ScheduleStatus(row["status"]),
        version=row["version"],
        spec=ScheduleSpec(name=row["name"], timing=timing, template=_template_of(row, cipher)),
        planned_to=row["planned_to"],
        plan_at=row["plan_at"],
        instants=row["instants"],
        unplanned=row["unplanned"],
        zone_data=row["zone_data"],
        last_error=row["last_error"],
        flow_key=row["flow_key"],
    )


def _rule_of(value: object) -> Rule:
    match value:
        case {"cron": str(text), "timezone": str(timezone)}:
            return CronRule(text=text, timezone=timezone)
        case {"rrule": str(text), "timezone": str(timezone)}:
            return RecurrenceRule(text=text, timezone=timezone)
        case {"every": float() | int() as seconds}:
            return EveryRule(seconds=seconds)
        case _:
            raise ValueError("its rule is none that can be followed")


def _template_of(row: Row, cipher: Cipher) -> TimerSpec:
    template: dict[str, Any] = row["template"]
    if missing := [name for name in _REQUIRED if template.get(name) is None]:
        raise ValueError(f"its template has no {missing[0]}")
    columns: dict[str, Any] = {"execute_at": row["created_at"]}
    for column in SPEC[1:]:
        value = template.get(column.name)
        is_text = column.is_json and value is not None
        columns[column.name] = json.dumps(value) if is_text else value
    try:
        return opened_spec(spec_of(columns), cipher)
    except (TypeError, AttributeError):
        raise ValueError("its template holds what no timer can have") from None


async def json_of_occurrences(occurrences: Sequence[NewOccurrence], cipher: Cipher) -> str:
    """Write down new occurrences as JSON."""
    sealed, row_characters = sealing(occurrences, sealed_occurrence, cipher)
    return array(await written(sealed, text_of_occurrence, row_characters))


def sealed_occurrence(occurrence: NewOccurrence, cipher: Cipher) -> NewOccurrence:
    return replace(occurrence, timer=sealed_timer(occurrence.timer, cipher))


def text_of_occurrence(occurrence: NewOccurrence) -> str:
    """Write down a new occurrence as JSON, sealed as it is."""
    columns = columns_of_new(occurrence.timer)
    columns["schedule_id"] = occurrence.schedule_id.hex
    columns["schedule_version"] = occurrence.version
    columns["occurs_at"] = occurrence.instant.isoformat()
    columns["superseded_at"] = instant_text(occurrence.superseded_at)
    columns["skipped"] = occurrence.skipped
    return ENCODE(columns)


def text_of_plan(place: int, plan: Plan) -> str:
    """Write down how far a schedule is once its plan is written, as JSON."""
    schedule = plan.schedule
    return ENCODE(
        {
            "place": place,
            "id": schedule.id.hex,
            "version": schedule.version,
            "planned_from": plan.planned_from.isoformat(),
            "status": schedule.status.value,
            "updated_at": schedule.updated_at.isoformat(),
            "planned_to": schedule.planned_to.isoformat(),
            "plan_at": instant_text(schedule.plan_at),
            "instants": schedule.instants,
            "unplanned": schedule.unplanned,
            "zone_data": schedule.zone_data,
        }
    )
