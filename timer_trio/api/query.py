"""From a query string to the page that it asks for: of timers, and of what else is listed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, TypeVar
from uuid import UUID

from timer_trio.api.cursor import name_of, position_of
from timer_trio.api.errors import MAX_ERRORS, FieldError, InvalidRequestError, shown
from timer_trio.api.fields.callback import parse_destination
from timer_trio.api.fields.instants import parse_instant
from timer_trio.api.parameters import invalid_parameter, parameters_in, unknown_parameter
from timer_trio.domain.api_key import is_key_id
from timer_trio.domain.audit import OF_SERVICE, Action, AuditQuery
from timer_trio.domain.destination import DestinationQuery
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import JsonScalar, Order, Sort, TimerFilter, TimerQuery
from timer_trio.domain.rules import FlowQuery
from timer_trio.domain.schedule import ScheduleQuery, ScheduleStatus
from timer_trio.domain.timer import ENDED, Destination, Status

MAX_LIMIT: Final = 200
MAX_OFFSET: Final = 1_000_000_000
"""More than any table here holds; a page that far costs as much as all before it: use a cursor."""
MAX_METADATA_FILTERS: Final = 20
_METADATA: Final = "metadata."
_MAX_NUMBER: Final = 100  # characters: no number that somebody looks for is longer
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_WHOLE: Final = re.compile(r"\d{1,10}", re.ASCII)

_UNBOUNDED: Final = (
    "has no index, so it needs a bound of time: add created_after or execute_after, or ended_after "
    "with status=failed or status=canceled"
)

_Choice = TypeVar("_Choice", bound=StrEnum)
_Query = TypeVar("_Query", TimerQuery, ScheduleQuery)


def parse_query(raw: bytes, cursor_key: bytes, project: ProjectId) -> TimerQuery:
    """Read the query string of GET /timers, which asks for those of a project.

    Raises:
        InvalidRequestError: naming every parameter that is wrong.
    """
    given = parameters_in(raw)
    metadata = _metadata_in(given)
    cursor = given.pop("cursor", None)
    query = TimerQuery(project=project, **_read(given, _READERS), metadata=_filters(metadata))
    refuse_unserved(query)
    if cursor is not None and "offset" in given:
        raise invalid_parameter("offset", "cannot stand beside cursor: send one of them")
    return query if cursor is None else _behind(cursor, query, cursor_key)


def parse_schedule_query(raw: bytes, cursor_key: bytes, project: ProjectId) -> ScheduleQuery:
    """Read the query string of GET /schedules, which asks for those of a project.

    Raises:
        InvalidRequestError: naming every parameter that is wrong.
    """
    given = parameters_in(raw)
    metadata = _metadata_in(given)
    cursor = given.pop("cursor", None)
    query = ScheduleQuery(
        project=project, **_read(given, _SCHEDULE_READERS), metadata=_filters(metadata)
    )
    return query if cursor is None else _behind(cursor, query, cursor_key)


def parse_flow_query(raw: bytes, cursor_key: bytes, project: ProjectId) -> FlowQuery:
    """Read the query string of GET /flows, which asks for those of a project.

    Raises:
        InvalidRequestError: naming every parameter that is wrong.
    """
    given = parameters_in(raw)
    cursor = given.pop("cursor", None)
    values = _read(given, _FLOW_READERS)
    query = FlowQuery(project=project, is_paused=values.pop("paused", None), **values)
    if cursor is None:
        return query
    with _refusing_cursor():
        return replace(query, after=FlowKey(name_of(cursor, query, cursor_key)))


def parse_destination_query(
    raw: bytes, cursor_key: bytes, project: ProjectId, recent_at: datetime
) -> DestinationQuery:
    """Read the query string of GET /destinations, which asks for those of a project.

    Raises:
        InvalidRequestError: naming every parameter that is wrong.
    """
    given = parameters_in(raw)
    cursor = given.pop("cursor", None)
    values = _read(given, _DESTINATION_READERS)
    query = DestinationQuery(project=project, recent_at=recent_at, **values)
    if cursor is None:
        return query
    with _refusing_cursor():
        return replace(query, after=Destination(name_of(cursor, query, cursor_key)))


def parse_audit_query(
    raw: bytes, cursor_key: bytes, project: ProjectId, *, tells_of_projects: bool
) -> AuditQuery:
    """Read the query string of GET /audit, which asks for that of a project.

    Raises:
        InvalidRequestError: naming every parameter that is wrong.
    """
    given = parameters_in(raw)
    cursor = given.pop("cursor", None)
    query = AuditQuery(
        project=project, tells_of_projects=tells_of_projects, **_read(given, _AUDIT_READERS)
    )
    if cursor is None:
        return query
    with _refusing_cursor():
        return replace(query, behind=position_of(cursor, query, cursor_key))


def refuse_unserved(wanted: TimerFilter) -> None:
    """Check that no more timers have to be read than were created, are due or ended in some time.

    Raises:
        InvalidRequestError: naming the filters, and what to add.
    """
    ends = [name for name in ("ended_after", "ended_before") if getattr(wanted, name)]
    if ends and wanted.status not in {None, *ENDED}:
        words = (
            f"finds nothing beside status={wanted.status}: what is {wanted.status} has not ended"
        )
        raise InvalidRequestError(*(FieldError(name, words) for name in ends))
    if wanted.unindexed and not wanted.is_bounded:
        raise InvalidRequestError(*(FieldError(name, _UNBOUNDED) for name in wanted.unindexed))


def _behind(cursor: str, query: _Query, key: bytes) -> _Query:
    with _refusing_cursor():
        return replace(query, after=position_of(cursor, query, key))


@contextmanager
def _refusing_cursor() -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError):
        words = "belongs to no list with these filters and this order: begin again without it"
        raise invalid_parameter("cursor", words) from None


_HOW_SHOWN: Final = frozenset({"limit", "offset", "sort", "order", "cursor"})
"""Parameters that say nothing of which timers."""


def parse_filter(given: Mapping[str, object], project: ProjectId) -> TimerFilter:
    """Read which timers of a project an object asks for, whose members are the filters of a list.

    A scalar that is no string stands for its text, as it would in a query string.

    Raises:
        InvalidRequestError: naming every member that is wrong.
    """
    if not given:
        raise invalid_parameter("filter", "must name at least one thing, such as status")
    try:
        texts = _texts_of(given)
        metadata = _filters(_metadata_in(texts))
        return TimerFilter(project=project, **_read(texts, _READERS), metadata=metadata)
    except InvalidRequestError as error:
        within = (FieldError(f"filter.{each.field}", each.message) for each in error.errors)
        raise InvalidRequestError(*within) from None


def _texts_of(given: Mapping[str, object]) -> dict[str, str]:
    errors = [FieldError(shown(name), words) for name in given if (words := _fault_in(name, given))]
    if errors:
        raise InvalidRequestError(*errors[:MAX_ERRORS])
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }


def _fault_in(name: str, given: Mapping[str, object]) -> str | None:
    if name in _HOW_SHOWN:
        return "is no filter: it only says how a list is shown"
    if name not in _READERS and not _is_of_metadata(name):
        return "is not a filter of GET /timers"
    if isinstance(given[name], dict | list):
        return "must be a string, as in the query of GET /timers"
    return None


def _is_of_metadata(name: str) -> bool:
    return name.startswith(_METADATA) and name != _METADATA


def _metadata_in(given: dict[str, str]) -> dict[str, str]:
    """Take the filters of metadata out of the parameters."""
    return {name: given.pop(name) for name in list(given) if _is_of_metadata(name)}


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
            raise ValueError(f"must be a whole number from {least:,} to {most:,}")
        return int(value)

    return read


def _text(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


def is_id(text: str) -> bool:
    """Whether something can have this as its id."""
    return _UUID.fullmatch(text) is not None


def _uuid(value: str) -> UUID:
    if not is_id(value):
        raise ValueError("must be an id as the service answers it")
    return UUID(value)


def _truth(value: str) -> bool:
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value == "true"


def _key_id(value: str) -> str:
    if value != OF_SERVICE and not is_key_id(value):
        raise ValueError(f"must be the id of a key, or {OF_SERVICE}")
    return value


def _one_of(choices: type[_Choice]) -> Callable[[str], _Choice]:
    def read(value: str) -> _Choice:
        try:
            return choices(value)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(choices)}") from None

    return read


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "status": _one_of(Status),
    "destination": parse_destination,
    "last_error": _text,
    "http_status": _whole(100, 999),
    "key": _text,
    "schedule_id": _uuid,
    "flow_key": _text,
    "created_after": parse_instant,
    "created_before": parse_instant,
    "limit": _whole(1, MAX_LIMIT),
    "offset": _whole(0, MAX_OFFSET),
    "sort": _one_of(Sort),
    "order": _one_of(Order),
    "execute_after": parse_instant,
    "execute_before": parse_instant,
    "ended_after": parse_instant,
    "ended_before": parse_instant,
}


_SCHEDULE_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "status": _one_of(ScheduleStatus),
    "name": _text,
    "flow_key": _text,
    "limit": _whole(1, MAX_LIMIT),
}


_DESTINATION_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "destination": parse_destination,
    "limit": _whole(1, MAX_LIMIT),
}


_FLOW_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "paused": _truth,
    "limit": _whole(1, MAX_LIMIT),
}


_AUDIT_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "action": _one_of(Action),
    "key_id": _key_id,
    "target": _text,
    "after": parse_instant,
    "before": parse_instant,
    "limit": _whole(1, MAX_LIMIT),
}


def _read(
    given: Mapping[str, str], readers: Mapping[str, Callable[[str], object]]
) -> dict[str, Any]:
    if unknown := [name for name in given if name not in readers]:
        guessed = _with_guess(unknown[0], readers)
        raise InvalidRequestError(guessed, *map(unknown_parameter, unknown[1:]))
    values, errors = {}, []
    for name, value in given.items():
        try:
            values[name] = readers[name](value)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise InvalidRequestError(*errors)
    return values


def _filters(given: Mapping[str, str]) -> dict[str, tuple[JsonScalar, ...]]:
    if len(given) > MAX_METADATA_FILTERS:
        raise invalid_parameter("metadata", f"may be asked for at most {MAX_METADATA_FILTERS} keys")
    return {name.removeprefix(_METADATA): _scalars(value) for name, value in given.items()}


def _scalars(text: str) -> tuple[JsonScalar, ...]:
    """Return the JSON scalars that a text can stand for: itself, and what it spells."""
    if text in {"true", "false", "null"}:
        return text, json.loads(text)
    if len(text) <= _MAX_NUMBER and _NUMBER.fullmatch(text):
        number = json.loads(text)
        return (text, number) if math.isfinite(number) else (text,)
    return (text,)


def _with_guess(name: str, known: Iterable[str]) -> FieldError:
    # For the first of them alone: a guess takes as long as all else of an answer.
    field, message = shown(name), unknown_parameter(name).message
    near = get_close_matches(field, [*known, "cursor"], n=1)
    return FieldError(field, f"{message}; did you mean {near[0]}?" if near else message)
