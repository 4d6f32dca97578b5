"""What a consumer may ask of a schedule: the members of a body, checked, to the domain."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast

from timer_trio.api.body.json_body import reading_object
from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.fields.instants import PAST_TOLERANCE
from timer_trio.api.fields.result import target_of
from timer_trio.api.fields.retry import policy_of
from timer_trio.api.fields.rules import Rules
from timer_trio.api.fields.schedule import (
    BACKFILL,
    BACKFILL_FIELDS,
    CREATE_SCHEDULE,
    DEFAULT_BACKFILL,
    DEFAULT_SHOWN,
    FIELDS,
    MAX_SHOWN,
    PREVIEW,
    PREVIEW_FIELDS,
    RULES,
    UPDATE_SCHEDULE,
    RuleFields,
    ScheduleCreateRequest,
    ScheduleUpdateRequest,
)
from timer_trio.api.requests import (
    callback_of,
    checked,
    reading_members,
    refuse_long_metadata,
    spec_change,
)
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.schedule import ScheduleSpec, Timing
from timer_trio.domain.schedule_rule import CronRule, EveryRule, RecurrenceRule, Rule
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import SpecChange, TimerSpec
from timer_trio.intake.schedules import Backfill
from timer_trio.storage.columns import changed

_CALLED: Final = "a schedule"
_UTC: Final = "UTC"
_OF_TIMERS: Final[Mapping[str, str]] = {
    "execute_at": "is for a single timer: a schedule's rule says when, and start_at from when on",
    "delay": "is for a single timer: a schedule's rule says when, and start_at from when on",
    "key": "is for a single timer: call the schedule by a name",
    "on_conflict": "is for a single timer: PUT /schedules/by-name/{name} replaces a schedule",
}
"""Fields that a schedule does not have, and what does what they are for."""
_TIMING: Final[Mapping[str, str]] = {
    "start_at": "start_at",
    "end_at": "end_at",
    "max_occurrences": "max_occurrences",
    "catch_up": "catch_up",
    "overlap": "overlap",
    "jitter_seconds": "jitter_s",
}
"""Fields of the timing beside its rule, and what the domain calls them."""
_RULE_FIELDS: Final = frozenset({*RULES, "timezone"})


class Preview(NamedTuple):
    timing: Timing
    most: int
    first: datetime
    """No instant is before it."""


class AskedSchedule(NamedTuple):
    """What a schedule is to be, and the flow that its occurrences are in; None: in none."""

    spec: ScheduleSpec
    flow_key: FlowKey | None


class ScheduleChangeRequest(NamedTuple):
    """What is to be different of a schedule."""

    rule: Mapping[str, Any]
    timing: Mapping[str, Any]
    template: SpecChange
    others: Mapping[str, str | None]
    arrived_at: datetime
    flow_key: FlowKey | None
    """The flow that it is said to be in; None: nothing is said."""

    def apply(self, spec: ScheduleSpec) -> ScheduleSpec:
        """Return what a schedule is asked for then.

        Raises:
            InvalidRequestError: what is to change does not fit what stays.
        """
        rule = _changed_rule(spec.timing.rule, self.rule)
        timing = replace(spec.timing, rule=rule, **self.timing)
        _check_bounds(timing, self.arrived_at if "end_at" in self.timing else None)
        return replace(
            spec, timing=timing, template=changed(spec.template, self.template), **self.others
        )


def reading_schedule(raw: bytes, rules: Rules) -> Generator[None, None, dict[str, object]]:
    """Parse what `read_schedule` and `read_schedule_change` read, as `reading_members`."""
    return reading_members(raw, rules, known=FIELDS)


def read_schedule(
    members: Mapping[str, object], now: datetime, rules: Rules, name: str | None = None
) -> AskedSchedule:
    """Read what a POST asks for that arrived at `now`, or a PUT of a name.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    own, errors = _of_schedule(members)
    errors += [*_rule_errors(members, required=True), *_name_errors(members, name)]
    wanted = checked(CREATE_SCHEDULE, own, rules, errors, called=_CALLED, known=FIELDS)
    refuse_long_metadata(wanted.get("metadata"), rules)
    timing = _timing_of(wanted)
    _check_bounds(timing, now)
    spec = ScheduleSpec(
        name=wanted.get("name", name), timing=timing, template=_template_of(wanted, now, rules)
    )
    return AskedSchedule(spec, wanted.get("flow_key"))


def read_schedule_change(
    members: Mapping[str, object], now: datetime, rules: Rules
) -> ScheduleChangeRequest:
    """Read what a PUT asks for that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    own, errors = _of_schedule(members)
    errors += _rule_errors(members, required=False)
    wanted = checked(UPDATE_SCHEDULE, own, rules, errors, called=_CALLED, known=FIELDS)
    if not wanted:
        raise InvalidRequestError(FieldError("", "at least one field to change is required"))
    refuse_long_metadata(wanted.get("metadata"), rules)
    return _change_of(wanted, now)


def reading_preview(raw: bytes) -> Generator[None, None, dict[str, object]]:
    """Parse what `read_preview` reads, as `reading_members`."""
    return reading_object(raw, verbatim="", known=PREVIEW_FIELDS, most_values=0)


def read_preview(members: Mapping[str, object], now: datetime, rules: Rules) -> Preview:
    """Read which instants a POST asks for that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    errors = _rule_errors(members, required=True)
    wanted = checked(PREVIEW, members, rules, errors, called="a preview", known=PREVIEW_FIELDS)
    timing = _timing_of(wanted)
    _check_bounds(timing, None)
    most = min(wanted.get("count", DEFAULT_SHOWN), timing.max_occurrences or MAX_SHOWN)
    return Preview(timing, most, wanted.get("from_", now))


def reading_backfill(raw: bytes) -> Generator[None, None, dict[str, object]]:
    """Parse what `read_backfill` reads, as `reading_members`."""
    return reading_object(raw, verbatim="", known=BACKFILL_FIELDS, most_values=0)


def read_backfill(members: Mapping[str, object], now: datetime, rules: Rules) -> Backfill:
    """Read which occurrences of the past a POST asks for that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    wanted = checked(BACKFILL, members, rules, [], called="a backfill", known=BACKFILL_FIELDS)
    first, last, rate = wanted["from_"], wanted["to"], wanted.get("rate_per_second")
    if last < first:
        raise InvalidRequestError(FieldError("to", "must not be before from"))
    if last > now + PAST_TOLERANCE:
        words = "lies in the future: what comes is planned without being asked for"
        raise InvalidRequestError(FieldError("to", words))
    spacing = timedelta(seconds=1 / rate) if rate else timedelta()
    return Backfill(first, last, wanted.get("limit", DEFAULT_BACKFILL), spacing)


def _of_schedule(members: Mapping[str, object]) -> tuple[dict[str, object], list[FieldError]]:
    """Return the members without those that only timers have, and what to say of these."""
    own = {name: value for name, value in members.items() if name not in _OF_TIMERS}
    errors = [FieldError(name, _OF_TIMERS[name]) for name in members if name in _OF_TIMERS]
    return own, errors


def _rule_errors(members: Mapping[str, object], *, required: bool) -> list[FieldError]:
    given = [name for name in RULES if name in members]
    if len(given) > 1:
        words = f"cannot stand beside {given[0]}: send one of {', '.join(RULES)}"
        return [FieldError(given[1], words)]
    if given == ["every"] and "timezone" in members:
        return [FieldError("timezone", "cannot stand beside every, which knows no zone")]
    if required and not given:
        return [FieldError("cron", "is required, or every or rrule in its place")]
    return []


def _name_errors(members: Mapping[str, object], name: str | None) -> list[FieldError]:
    if name is None or members.get("name", name) == name:
        return []
    return [FieldError("name", "must be the name in the path, or left out")]


def _timing_of(wanted: ScheduleCreateRequest | RuleFields) -> Timing:
    given = {known: wanted[name] for name, known in _TIMING.items() if name in wanted}  # type: ignore[literal-required]  # their common fields
    return Timing(rule=_rule_of(wanted, wanted.get("timezone", _UTC)), **given)


def _rule_of(wanted: Mapping[str, Any], timezone: str) -> Rule:
    if "cron" in wanted:
        return CronRule(text=wanted["cron"], timezone=timezone)
    if "rrule" in wanted:
        return RecurrenceRule(text=wanted["rrule"], timezone=timezone)
    return EveryRule(seconds=wanted["every"].total_seconds())


def _changed_rule(rule: Rule, wanted: Mapping[str, Any]) -> Rule:
    """Return a rule with what is to be different; a zone that is not named stays."""
    known_zone = _UTC if isinstance(rule, EveryRule) else rule.timezone
    timezone = wanted.get("timezone", known_zone)
    if wanted.keys() & {*RULES}:
        return _rule_of(wanted, timezone)
    if isinstance(rule, EveryRule):
        if "timezone" in wanted:
            words = "cannot stand beside every, which knows no zone"
            raise InvalidRequestError(FieldError("timezone", words))
        return rule
    return replace(rule, timezone=timezone)


def _check_bounds(timing: Timing, now: datetime | None) -> None:
    """Check the end of a schedule, against the time as well if there is one.

    Raises:
        InvalidRequestError: it is too early.
    """
    start_at, end_at = timing.start_at, timing.end_at
    if end_at is None:
        return
    if start_at is not None and end_at <= start_at:
        raise InvalidRequestError(FieldError("end_at", "must be after start_at"))
    if now is not None and end_at < now:
        words = "lies in the past: to end a schedule, DELETE it"
        raise InvalidRequestError(FieldError("end_at", words))


def _template_of(wanted: ScheduleCreateRequest, now: datetime, rules: Rules) -> TimerSpec:
    return TimerSpec(
        execute_at=now,
        callback=callback_of(wanted, rules),
        metadata=wanted.get("metadata"),
        misfire_grace_s=wanted.get("misfire_grace_seconds", rules.misfire_grace_s),
        retry=policy_of(wanted["retry"]) if "retry" in wanted else rules.settings.default_retry,
        store_response=wanted.get("store_response", StoreResponse.FAILURES),
        on_completed=target_of(wanted.get("on_completed")),
        on_failed=target_of(wanted.get("on_failed")),
        signing=wanted.get("signing", Signing.DEFAULT),
    )


def _change_of(wanted: ScheduleUpdateRequest, now: datetime) -> ScheduleChangeRequest:
    values = cast("Mapping[str, Any]", wanted)
    of_schedule = {*_RULE_FIELDS, *_TIMING, "name"}
    return ScheduleChangeRequest(
        rule={name: value for name, value in values.items() if name in _RULE_FIELDS},
        timing={known: values[name] for name, known in _TIMING.items() if name in values},
        template=spec_change(
            {name: value for name, value in values.items() if name not in of_schedule}
        ),
        others={"name": values["name"]} if "name" in values else {},
        arrived_at=now,
        flow_key=wanted.get("flow_key"),
    )
