"""The columns of what a consumer asked for: all that statements and rows need to know of each.

Where statements name those of a whole spec, they say `{spec}`, or `{spec:text}` where they read it;
`{timer}` where they read a whole timer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final, cast

from pydantic_core import to_json

from timer_trio.callback_url import read_url
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import (
    CallbackSpec,
    CallbackUrl,
    Delivery,
    Method,
    ResultTarget,
    SpecChange,
    TimerSpec,
)

Row = Mapping[str, Any]

ENCODE: Final = json.JSONEncoder(check_circular=False).encode
"""Of what came as JSON: nothing in it holds itself."""
QUOTE: Final = json.encoder.encode_basestring_ascii
"""Spells a text as ENCODE does, in a third of the time."""
NULL: Final = r"\N"
"""How COPY spells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How the value of a column is written and read; None is NULL everywhere.

    Without `in_json` JSON takes the value as it is, without `of_row` the domain what was read.
    `of_row` raises ValueError if that makes no value, and says why in words.
    """

    name: str
    """As a SpecChange calls it."""
    field: str
    """Its place in a TimerSpec: `metadata`, or `callback.url`."""
    type: str = "text"
    """As `schema/` has it."""
    in_json: Callable[[Any], object] | None = None
    of_row: Callable[[Any], object] | None = None
    is_json: bool = False
    """It is read as text, so that a value which Python cannot parse spoils no other row."""

    def read_as(self, table: str) -> str:
        return f"{table}{self.name}::text" if self.is_json else f"{table}{self.name}"


def copied(text: str) -> str:
    """Spell a text as COPY reads it."""
    text = text.replace("\\", r"\\")
    return text.replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def _copied_object(value: Mapping[str, object]) -> str:
    if not value:
        return "{}"
    try:
        text = to_json(value).decode()  # in a quarter of the time that ENCODE takes
    except ValueError:  # half of a surrogate pair, which the database is to refuse
        text = ENCODE(dict(value))
    return copied(text)


def _url_of(text: str) -> CallbackUrl:
    try:
        return read_url(text)
    except ValueError:
        raise ValueError("its callback_url is no URL that can be called") from None


@lru_cache(maxsize=1_024)  # most callbacks go to a few URLs
def _copied_url(url: CallbackUrl) -> str:
    return copied(url.text)


def _member_of(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    """Look a member of a kind up by its value, in a sixth of the time that `kind` takes."""
    return cache(kind)  # which keeps members alone: what is none raises


def _headers_of(text: str) -> Mapping[str, str]:
    if text == "{}":  # mostly, and the parser would take as long as the rest of the row
        return {}
    headers = _object_of(text, "callback_headers")
    if not are_texts(headers):
        raise ValueError("its callback_headers hold something else than text")
    return headers


def are_texts(headers: Mapping[str, object]) -> bool:
    return all(isinstance(value, str) for value in headers.values())


def _metadata_of(text: str) -> Mapping[str, object]:
    return _object_of(text, "metadata")


def _object_of(text: str, column: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"its {column} cannot be read") from None
    return value


def _retry_in_json(policy: RetryPolicy) -> Mapping[str, object]:
    return asdict(policy)


def _copied_retry(policy: RetryPolicy) -> str:
    return copied(ENCODE(asdict(policy)))


@lru_cache(maxsize=1_024)  # consumers have few policies, and each attempt reads one
def _retry_of(text: str) -> RetryPolicy:
    values = _object_of(text, "retry")
    delays = values.pop("delays", None)
    try:
        return RetryPolicy(**values, delays=None if delays is None else tuple(delays))
    except TypeError:
        raise ValueError("its retry is no policy that can be followed") from None


def _target_in_json(target: ResultTarget) -> dict[str, object]:
    return {"url": target.url.text, "headers": dict(target.headers)}


def _copied_target(target: ResultTarget) -> str:
    return copied(ENCODE(_target_in_json(target)))


def _read_target(value: object) -> ResultTarget:
    match value:
        case {"url": str(url), "headers": dict(headers)} if are_texts(headers):
            return ResultTarget(url=read_url(url), headers=headers)
        case _:
            raise ValueError


def _target_of(column: str) -> Callable[[str], ResultTarget]:
    def read(text: str) -> ResultTarget:
        try:
            return _read_target(json.loads(text))
        except (ValueError, RecursionError):
            raise ValueError(f"its {column} names nobody who can be told") from None

    return read


def _unusual_response(kept: StoreResponse) -> str | None:
    return None if kept is StoreResponse.FAILURES else kept.value


def _unusual_signing(signing: Signing) -> str | None:
    return None if signing is Signing.DEFAULT else signing.value


SPEC: Final = (
    Column(
        name="execute_at",
        field="execute_at",
        type="timestamptz",
        in_json=datetime.isoformat,
    ),
    Column(
        name="callback_url",
        field="callback.url",
        in_json=attrgetter("text"),
        of_row=_url_of,
    ),
    Column(
        name="callback_method",
        field="callback.method",
        of_row=_member_of(Method),
    ),
    Column(
        name="callback_headers",
        field="callback.headers",
        type="json",
        in_json=dict,
        of_row=_headers_of,
        is_json=True,
    ),
    Column(name="callback_payload", field="callback.payload"),
    Column(
        name="metadata",
        field="metadata",
        type="jsonb",
        in_json=dict,
        of_row=_metadata_of,
        is_json=True,
    ),
    Column(name="timeout_s", field="callback.timeout_s", type="double precision"),
    Column(
        name="delivery",
        field="callback.delivery",
        of_row=_member_of(Delivery),
    ),
    Column(name="misfire_grace_s", field="misfire_grace_s", type="double precision"),
    Column(
        name="retry",
        field="retry",
        type="json",
        in_json=_retry_in_json,
        of_row=_retry_of,
        is_json=True,
    ),
    Column(
        name="store_response",
        field="store_response",
        in_json=_unusual_response,
        of_row=_member_of(StoreResponse),
    ),
    *(
        Column(
            name=name,
            field=name,
            type="json",
            in_json=_target_in_json,
            of_row=_target_of(name),
            is_json=True,
        )
        for name in ("on_completed", "on_failed")
    ),
    Column(
        name="signing",
        field="signing",
        in_json=_unusual_signing,
        of_row=_member_of(Signing),
    ),
)
"""In the order in which statements name them."""

# Every timer pays for what follows: only what must be changed passes through a function.
_NAMES: Final = tuple(column.name for column in SPEC)
_IN_JSON: Final = tuple((column.name, column.in_json) for column in SPEC if column.in_json)
_OF_ROW: Final = tuple((place, column.of_row) for place, column in enumerate(SPEC) if column.of_row)
_values_of: Final = attrgetter(*(column.field for column in SPEC))


def json_of(spec: TimerSpec) -> dict[str, object]:
    """Spell a spec as JSON takes it, by column."""
    return json_of_some(dict(zip(_NAMES, _values_of(spec))))  # noqa: B905 - of one length


def json_of_some(values: dict[str, Any]) -> dict[str, object]:
    """Spell some values of a spec as JSON takes them, by column, in place."""
    for name, convert in _IN_JSON:
        if (value := values.get(name)) is not None:
            values[name] = convert(value)
    return values


def copy_of(spec: TimerSpec) -> str:
    """Spell a spec as COPY reads it, in the order of SPEC."""
    # Written out, since each line of an import pays for it: a call for each column takes longer.
    callback = spec.callback
    payload = NULL if callback.payload is None else copied(callback.payload)
    metadata = NULL if spec.metadata is None else _copied_object(spec.metadata)
    misfire_grace_s = NULL if spec.misfire_grace_s is None else spec.misfire_grace_s
    return (
        f"{spec.execute_at.isoformat()}\t{_copied_url(callback.url)}\t{callback.method}"
        f"\t{_copied_object(callback.headers)}\t{payload}\t{metadata}\t{callback.timeout_s}"
        f"\t{callback.delivery}\t{misfire_grace_s}"
        f"\t{_COPIED_PLAIN if spec.is_plain else _copied_beside_plain(spec)}"
    )


_COPIED_PLAIN: Final = "\t".join([NULL] * 5)
"""What a plain timer has in the last columns."""


def _copied_beside_plain(spec: TimerSpec) -> str:
    values = (
        NULL if spec.retry is None else _copied_retry(spec.retry),
        _unusual_response(spec.store_response) or NULL,
        *(
            NULL if target is None else _copied_target(target)
            for target in (spec.on_completed, spec.on_failed)
        ),
        _unusual_signing(spec.signing) or NULL,
    )
    return "\t".join(values)


def spec_of(row: Row) -> TimerSpec:
    """Make the spec of a row.

    Raises:
        ValueError: a value is none, and why, in words.
    """
    return spec_of_values([row[name] for name in _NAMES])


def spec_of_values(values: list[Any]) -> TimerSpec:
    """Make the spec of a row's values in the order of SPEC, which it converts in place.

    Raises:
        ValueError: a value is none, and why, in words.
    """
    for place, convert in _OF_ROW:
        if (value := values[place]) is not None:
            values[place] = convert(value)
    return _spec_with(values)


def changed(spec: TimerSpec, change: SpecChange) -> TimerSpec:
    """Return a spec with the values of a change in place of its own."""
    own = zip(_NAMES, _values_of(spec), strict=True)
    return _spec_with([change.get(name, value) for name, value in own])


def change_to(spec: TimerSpec) -> SpecChange:
    """Return the change that makes any spec this one."""
    return cast("SpecChange", dict(zip(_NAMES, _values_of(spec), strict=True)))


def _spec_with(values: Sequence[Any]) -> TimerSpec:
    # Written out, since arguments from a dict would take as long as the rest of the row.
    (
        execute_at,
        url,
        method,
        headers,
        payload,
        metadata,
        timeout_s,
        delivery,
        misfire_grace_s,
        retry,
        store_response,
        on_completed,
        on_failed,
        signing,
    ) = values
    return TimerSpec(
        execute_at=execute_at,
        callback=CallbackSpec(
            url=url,
            method=method,
            headers=headers,
            payload=payload,
            timeout_s=timeout_s,
            delivery=delivery,
        ),
        metadata=metadata,
        misfire_grace_s=misfire_grace_s,
        retry=retry,
        store_response=store_response or StoreResponse.FAILURES,
        on_completed=on_completed,
        on_failed=on_failed,
        signing=signing or Signing.DEFAULT,
    )


OF_A_TIMER: Final = (
    "id",
    "status",
    "created_at",
    "updated_at",
    "executed_at",
    "attempt",
    "last_error",
    "http_status",
    "duration_ms",
    "next_attempt_at",
    "key",
    "parent_id",
    "schedule_id",
    "flow_key",
)
"""What a whole timer has beside its spec."""


def with_columns(statement: str) -> str:
    """Name columns where a statement asks for those of a spec, or of a whole timer.

    `{spec}` or `{t.spec}` to write them, `{t.spec:text}` to read them; `{t.timer}` are all.
    `{spec:type}` declares them, which costs a statement less than the type of the whole table.
    """
    return re.sub(r"\{(\w+\.)?(spec|timer)(:text|:type)?\}", _named, statement)


def _named(match: re.Match[str]) -> str:
    table, is_read = match[1] or "", match[3] == ":text" or match[2] == "timer"
    if match[3] == ":type":
        return ", ".join(f"{column.name} {column.type}" for column in SPEC)
    columns = [column.read_as(table) if is_read else table + column.name for column in SPEC]
    own = [table + name for name in OF_A_TIMER] if match[2] == "timer" else []
    return ", ".join([*own, *columns])
