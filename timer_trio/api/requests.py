"""What a consumer may ask of a timer: the members of a body, checked, to the domain."""

from __future__ import annotations

from collections.abc import Collection, Container, Generator, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from timer_trio.api.body.json_body import reading_object
from timer_trio.api.body.json_text import has_more_values, too_many
from timer_trio.api.errors import MAX_ERRORS, FieldError, InvalidRequestError, shown
from timer_trio.api.fields.bulk import BULK
from timer_trio.api.fields.bulk import FIELDS as BULK_FIELDS
from timer_trio.api.fields.flow import RATE_FIELDS
from timer_trio.api.fields.instants import PAST_TOLERANCE, due_at
from timer_trio.api.fields.project import BREAKER_FIELDS, RATE_LIMIT_FIELDS
from timer_trio.api.fields.result import MAX_RESULT_VALUES, RESULT_FIELDS, RESULT_MEMBERS, target_of
from timer_trio.api.fields.retry import MAX_RETRY_VALUES, RETRY_FIELDS, policy_of
from timer_trio.api.fields.rules import Rules
from timer_trio.api.fields.schedule import ScheduleCreateRequest
from timer_trio.api.fields.timer import (
    CREATE,
    FIELDS,
    MAX_NAME_LENGTH,
    NAMED_CREATE,
    ONE_OF_MANY,
    REDRIVE,
    REDRIVE_FIELDS,
    UPDATE,
    CreateRequest,
    NamedCreateRequest,
    OneOfManyCreateRequest,
    OptionalFields,
    RedriveRequest,
    UpdateRequest,
)
from timer_trio.api.query import parse_filter
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.bulk import Bulk, BulkAction
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.keys import OnConflict
from timer_trio.domain.project import ProjectId
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import CallbackSpec, Delivery, Method, SpecChange, TimerSpec

_VERBATIM: Final = "callback_payload"  # the member that is passed on as it arrived

_Request = TypeVar("_Request")
_TimerRequest = TypeVar(
    "_TimerRequest", CreateRequest, NamedCreateRequest, OneOfManyCreateRequest, UpdateRequest
)
_NewRequest = CreateRequest | NamedCreateRequest | OneOfManyCreateRequest


def reading_members(
    raw: bytes, rules: Rules, called: str = "the body", known: Container[str] = FIELDS
) -> Generator[None, None, dict[str, object]]:
    """Parse what `read_new` and `read_change` read, with a yield where a great one can pause.

    Raises:
        InvalidRequestError: it is no JSON object, or holds what JSON cannot say.
    """
    return reading_object(
        raw,
        verbatim=_VERBATIM,
        known=known,
        most_values=max(rules.max_metadata_keys, MAX_RESULT_VALUES, MAX_RETRY_VALUES),
        called=called,
    )


class Asked(NamedTuple):
    """What a new timer is to be; None: it has no name, is in no flow."""

    spec: TimerSpec
    flow_key: FlowKey | None
    key: str | None = None
    on_conflict: OnConflict = OnConflict.REJECT


def read_new(members: Mapping[str, object], now: datetime, rules: Rules) -> Asked:
    """Read what a POST asks for that arrived at `now`, which has no name.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    wanted = _validated(CREATE, members, rules, _when_errors(members, required=True))
    return Asked(_spec_of(wanted, now, rules), wanted.get("flow_key"))


def read_one(members: Mapping[str, object], now: datetime, rules: Rules) -> Asked:
    """Read what a POST of one timer asks for that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    if _NAMING.isdisjoint(members):
        return read_new(members, now, rules)
    wanted = _validated(NAMED_CREATE, members, rules, _naming_errors(members))
    on_conflict = wanted.get("on_conflict", OnConflict.REJECT)
    return Asked(_spec_of(wanted, now, rules), wanted.get("flow_key"), wanted["key"], on_conflict)


def read_one_of_many(members: Mapping[str, object], now: datetime, rules: Rules) -> Asked:
    """Read what one timer of a batch or an import is asked for as of `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    if _NAMING.isdisjoint(members):
        return read_new(members, now, rules)
    wanted = _validated(ONE_OF_MANY, members, rules, _naming_errors(members))
    return Asked(_spec_of(wanted, now, rules), wanted.get("flow_key"), wanted["key"])


def read_name(text: str, field: str = "key") -> str:
    """Read a name from a path, in which `field` stands for it.

    Raises:
        InvalidRequestError: nothing can have it.
    """
    if len(text) > MAX_NAME_LENGTH:
        words = f"must be at most {MAX_NAME_LENGTH} characters"
        raise InvalidRequestError(FieldError(field, words))
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidRequestError(FieldError(field, "holds what is no character"))
    return text


def _spec_of(wanted: _NewRequest, now: datetime, rules: Rules) -> TimerSpec:
    return TimerSpec(
        execute_at=_due_at(wanted, now),
        callback=callback_of(wanted, rules),
        metadata=wanted.get("metadata"),
        misfire_grace_s=wanted.get("misfire_grace_seconds", rules.misfire_grace_s),
        retry=policy_of(wanted["retry"]) if "retry" in wanted else rules.settings.default_retry,
        store_response=wanted.get("store_response", StoreResponse.FAILURES),
        on_completed=target_of(wanted.get("on_completed")),
        on_failed=target_of(wanted.get("on_failed")),
        signing=wanted.get("signing", Signing.DEFAULT),
    )


def callback_of(wanted: _NewRequest | ScheduleCreateRequest, rules: Rules) -> CallbackSpec:
    """Return what a consumer wants to be sent, the operator's defaults filled in."""
    return CallbackSpec(
        url=read_url(wanted["callback_url"]),
        method=wanted.get("callback_method", Method.POST),
        headers=wanted.get("callback_headers") or {},
        payload=wanted.get("callback_payload"),
        timeout_s=wanted.get("timeout_seconds", rules.timeout_s),
        delivery=wanted.get("delivery", Delivery.AT_LEAST_ONCE),
    )


_WHEN: Final = frozenset({"execute_at", "delay"})
_NO_SPEC: Final = frozenset({*_WHEN, "flow_key"})
_DOMAIN_NAMES: Final = {"timeout_seconds": "timeout_s", "misfire_grace_seconds": "misfire_grace_s"}


class AskedChange(NamedTuple):
    """What is to be different of a timer."""

    spec: SpecChange
    flow_key: FlowKey | None
    """The flow that it is said to be in; None: nothing is said."""


def read_change(members: Mapping[str, object], now: datetime, rules: Rules) -> AskedChange:
    """Read what a PUT asks for that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    wanted = _validated(UPDATE, members, rules, _when_errors(members, required=False))
    if not wanted:
        raise InvalidRequestError(FieldError("", "at least one field to change is required"))
    change = spec_change(wanted)
    if wanted.keys() & _WHEN:
        change["execute_at"] = _due_at(wanted, now)
    return AskedChange(change, wanted.get("flow_key"))


def spec_change(wanted: Mapping[str, object]) -> SpecChange:
    """Return what checked fields change of a timer, but when it is due, and its flow."""
    change: dict[str, Any] = {
        _DOMAIN_NAMES.get(n, n): value for n, value in wanted.items() if n not in _NO_SPEC
    }
    if "retry" in wanted:
        change["retry"] = policy_of(change["retry"])
    for name in RESULT_MEMBERS:
        if name in wanted:
            change[name] = target_of(change[name])
    if "callback_url" in wanted:
        change["callback_url"] = read_url(change["callback_url"])
    return cast("SpecChange", change)


def read_redrive(members: Mapping[str, object], now: datetime, rules: Rules) -> datetime:
    """Read when a redriven timer is due, as is asked for by a POST that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    errors = _when_errors(members, required=False)
    wanted = checked(REDRIVE, members, rules, errors, called="a redrive", known=REDRIVE_FIELDS)
    return _due_at(wanted, now) if wanted else now


def reading_bulk(raw: bytes, rules: Rules) -> Generator[None, None, dict[str, object]]:
    """Parse what `read_bulk` reads, as `reading_members`."""
    return reading_object(raw, verbatim="", known=BULK_FIELDS, most_values=rules.max_metadata_keys)


def read_bulk(
    members: Mapping[str, object], now: datetime, rules: Rules, project: ProjectId
) -> Bulk:
    """Read what is to be done to many timers of a project, by a POST that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    wanted = checked(BULK, members, rules, [], called="a bulk action", known=BULK_FIELDS)
    action, rate = wanted["action"], wanted.get("rate_per_second")
    if rate is not None and action is not BulkAction.REDRIVE:
        words = f"spaces what is redriven: leave it out for {action}"
        raise InvalidRequestError(FieldError("rate_per_second", words))
    as_of = wanted.get("as_of", now)
    if as_of > now + PAST_TOLERANCE:
        words = "lies in the future: send the one that an earlier answer began with, or none"
        raise InvalidRequestError(FieldError("as_of", words))
    return Bulk(
        action=action,
        wanted=parse_filter(wanted["filter"], project),
        as_of=as_of,
        limit=wanted.get("limit"),
        spacing=timedelta(seconds=1 / rate) if rate else timedelta(),
        is_dry_run=wanted.get("dry_run", False),
        max_live=rules.settings.max_live_timers,
    )


def _due_at(wanted: OptionalFields | RedriveRequest, now: datetime) -> datetime:
    field = "delay" if "delay" in wanted else "execute_at"
    try:
        return due_at(wanted["delay"] if "delay" in wanted else wanted["execute_at"], now)
    except ValueError as error:
        raise InvalidRequestError(FieldError(field, str(error))) from None


def _when_errors(members: Mapping[str, object], *, required: bool) -> list[FieldError]:
    if "execute_at" in members:
        if "delay" in members:
            return [FieldError("delay", "cannot stand beside execute_at: send one of them")]
    elif required and "delay" not in members:
        return [FieldError("execute_at", "is required, or delay in its place")]
    return []


def _naming_errors(members: Mapping[str, object]) -> list[FieldError]:
    errors = _when_errors(members, required=True)
    if "key" not in members:
        errors.append(FieldError("on_conflict", "needs a key: it says what becomes of its timer"))
    return errors


def _validated(
    adapter: TypeAdapter[_TimerRequest],
    members: Mapping[str, object],
    rules: Rules,
    others: list[FieldError],
) -> _TimerRequest:
    wanted = checked(adapter, members, rules, others)
    refuse_long_metadata(wanted.get("metadata"), rules)
    return wanted


def refuse_long_metadata(metadata: object, rules: Rules) -> None:
    """Check that metadata has no more keys and elements than the operator allows.

    Raises:
        InvalidRequestError: it has.
    """
    if has_more_values(metadata, rules.max_metadata_keys):
        words = str(too_many(rules.max_metadata_keys))
        raise InvalidRequestError(FieldError("metadata", words))


def checked(
    adapter: TypeAdapter[_Request],
    members: Mapping[str, object],
    rules: Rules,
    others: list[FieldError],
    *,
    called: str = "a timer",
    known: Collection[str] = FIELDS,
) -> _Request:
    """Read a request with the `known` fields; `called` is what it is of, in words.

    Raises:
        InvalidRequestError: naming what is wrong, `others` last.
    """
    errors = others
    try:
        # Not by the adapter, whose many options take as long as the check of a field.
        wanted: _Request = adapter.validator.validate_python(members, context=rules)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        # A misspelled field explains a missing one, so it is named first.
        details.sort(key=lambda d: d["type"] != "extra_forbidden")
        errors = [_field_error(d, called) for d in details[:MAX_ERRORS]] + others
        if details[0]["type"] == "extra_forbidden":
            errors[0] = _with_guess(errors[0], known)
    if errors:
        raise InvalidRequestError(*errors)
    return wanted


_NAMING: Final = frozenset({"key", "on_conflict"})
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "string_type": "must be a string",
    "dict_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "too_short": "must have {min_length} or more elements",
    "too_long": "must have at most {max_length} elements",
    "int_type": "must be a whole number, written without a decimal point",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "enum": "must be {expected}",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "greater_than_equal": "must be at least {ge:,.12g}",
    "less_than_equal": "must be at most {le:,.12g}",
}


def _field_error(details: ErrorDetails, called: str) -> FieldError:
    field = ".".join(shown(str(part)) for part in details["loc"])
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            if field in _NAMING:
                return FieldError(field, "is for new timers: POST /timers, batches and imports")
            parent = ".".join(map(str, details["loc"][:-1]))
            return FieldError(field, f"is not a field of {parent or called}")
        case "value_error":
            return FieldError(field, str(context["error"]))
        case kind if kind in _WORDS:
            return FieldError(field, _WORDS[kind].format_map(context))
        case _:
            return FieldError(field, details["msg"])


_MEMBERS: Final[Mapping[str, Sequence[str]]] = {
    "retry": RETRY_FIELDS,
    "default_retry": RETRY_FIELDS,
    "rate_limit": RATE_LIMIT_FIELDS,
    "breaker": BREAKER_FIELDS,
    "rate": RATE_FIELDS,
    **dict.fromkeys(RESULT_MEMBERS, RESULT_FIELDS),
}
"""What the objects among the fields may hold."""


def _with_guess(unknown: FieldError, known: Collection[str]) -> FieldError:
    # For the first of them alone: a guess takes as long as all else of an error.
    parent, _, name = unknown.field.rpartition(".")
    near = get_close_matches(name, _MEMBERS.get(parent, known), n=1)
    if not near or near[0] == unknown.field:
        return unknown
    return FieldError(unknown.field, f"{unknown.message}; did you mean {near[0]}?")
