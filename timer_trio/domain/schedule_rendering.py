"""What consumers see of a schedule: JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from timer_trio.domain.masking import Sensitive
from timer_trio.domain.query import MAX_LISTED_METADATA
from timer_trio.domain.rendering import Json, instant_or_none, wanted_data
from timer_trio.domain.schedule import Schedule, ScheduleFacts
from timer_trio.domain.schedule_rule import CronRule, EveryRule, RecurrenceRule, Rule
from timer_trio.domain.timer import Timer, rfc3339


def schedule_json(
    schedule: Schedule,
    facts: ScheduleFacts,
    upcoming: Sequence[datetime],
    sensitive: Sensitive,
) -> str:
    """Write a whole schedule down, with what it did and will do, its payload as it arrived.

    Values of `sensitive` headers are masked.

    Raises:
        SealedError: something of it is encrypted, and the key is missing.
    """
    data = {
        **_head(schedule),
        **wanted_data(schedule.spec.template, sensitive),
        "next": [rfc3339(instant) for instant in upcoming],
        "last_occurrence": _occurrence_data(facts.last_occurrence),
        "occurrences": schedule.instants - facts.pending,
        "skipped": schedule.unplanned + facts.skipped,
    }
    payload = schedule.spec.template.callback.payload or "null"
    known = json.dumps(data, ensure_ascii=False)
    return f'{known[:-1]}, "callback_payload": {payload}}}'


def listed_schedule_json(schedule: Schedule, next_at: datetime | None) -> str:
    """Write down what a list shows of a schedule."""
    template = schedule.spec.template
    data = {
        **_head(schedule),
        "next_at": instant_or_none(next_at),
        "callback_url": template.callback.url.text,
    }
    known = json.dumps(data, ensure_ascii=False)
    metadata = json.dumps(template.metadata, ensure_ascii=False)
    is_shown = len(metadata.encode()) <= MAX_LISTED_METADATA
    return f'{known[:-1]}, "metadata": {metadata}}}' if is_shown else known


def _head(schedule: Schedule) -> Json:
    """Return all of a schedule but what its occurrences ask for."""
    timing = schedule.spec.timing
    return {
        "id": str(schedule.id),
        "name": schedule.spec.name,
        "status": schedule.status,
        "created_at": rfc3339(schedule.created_at),
        "updated_at": rfc3339(schedule.updated_at),
        **_rule_data(timing.rule),
        "start_at": instant_or_none(timing.start_at),
        "end_at": instant_or_none(timing.end_at),
        "max_occurrences": timing.max_occurrences,
        "catch_up": timing.catch_up,
        "overlap": timing.overlap,
        "jitter_seconds": timing.jitter_s,
        "last_error": schedule.last_error,
        "flow_key": schedule.flow_key,
    }


def _rule_data(rule: Rule) -> Json:
    return {
        "cron": rule.text if isinstance(rule, CronRule) else None,
        "every": rule.seconds if isinstance(rule, EveryRule) else None,
        "rrule": rule.text if isinstance(rule, RecurrenceRule) else None,
        "timezone": None if isinstance(rule, EveryRule) else rule.timezone,
    }


def _occurrence_data(timer: Timer | None) -> Json | None:
    if timer is None:
        return None
    return {
        "id": str(timer.id),
        "execute_at": rfc3339(timer.spec.execute_at),
        "status": timer.status,
        "executed_at": instant_or_none(timer.executed_at),
        "attempt": timer.attempt,
        "last_error": timer.last_error,
    }
