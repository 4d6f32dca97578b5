"""Rows of the database to domain values and back, by way of JSON where a statement takes many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import trio

from timer_trio.domain.membership import Identity, ReplicaRecord, Vitals
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    Delivery,
    JsonText,
    Method,
    NewTimer,
    ReplicaId,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSpec,
    TimerSummary,
    destination_of,
    shard_of,
)

T = TypeVar("T")
Row = Mapping[str, Any]

SLICE_CHARACTERS: Final = 32_768
"""What is written down in one go: half a millisecond, which no callback notices."""
ROW_CHARACTERS: Final = 300
"""A row's own cost, in characters that could be written meanwhile."""


async def written(rows: Iterable[T], write: Callable[[T], str]) -> list[str]:
    """Write each row down; others have their turn after every SLICE_CHARACTERS."""
    texts: list[str] = []
    size = 0
    for row in rows:
        text = write(row)
        texts.append(text)
        size += len(text) + ROW_CHARACTERS
        if size >= SLICE_CHARACTERS:
            size = 0
            await trio.lowlevel.checkpoint()
    return texts


async def json_of_new(timers: Iterable[NewTimer]) -> str:
    return _array(await written(timers, _object_of_new))


def _object_of_new(timer: NewTimer) -> str:
    return json.dumps(
        {
            "id": str(timer.id),
            "created_at": timer.created_at.isoformat(),
            "execute_at": timer.spec.execute_at.isoformat(),
            "destination": destination_of(timer.spec.callback_url),
            "callback_url": timer.spec.callback_url,
            "callback_method": timer.spec.callback_method,
            "callback_headers": dict(timer.spec.callback_headers),
            "callback_payload": timer.spec.callback_payload,
            "metadata": _dict(timer.spec.metadata),
            "timeout_s": timer.spec.timeout_s,
            "delivery": timer.spec.delivery,
            "misfire_grace_s": timer.spec.misfire_grace_s,
        }
    )


def _array(objects: Sequence[str]) -> str:
    return f"[{','.join(objects)}]"


def copy_line_of_new(timer: NewTimer, now: str) -> str:
    """Write a timer as COPY reads it, in the order of the query `create_many`."""
    spec = timer.spec
    execute_at = spec.execute_at.isoformat()
    headers = json.dumps(dict(spec.callback_headers)) if spec.callback_headers else "{}"
    metadata = None if spec.metadata is None else json.dumps(_dict(spec.metadata))
    grace_s = spec.misfire_grace_s
    return (
        f"{shard_of(timer.id)}\t{timer.id}\tpending\t{execute_at}\t{execute_at}"
        f"\t{timer.created_at.isoformat()}\t{now}\t{now}"
        f"\t{_copied(destination_of(spec.callback_url))}\t{_copied(spec.callback_url)}"
        f"\t{spec.callback_method}\t{_copied(headers)}\t{_copied(spec.callback_payload)}"
        f"\t{_copied(metadata)}\t{spec.timeout_s}\t{spec.delivery}"
        f"\t{_NULL if grace_s is None else grace_s}\n"
    )


_NULL: Final = r"\N"


def _copied(text: str | None) -> str:
    if text is None:
        return _NULL
    text = text.replace("\\", r"\\")
    return text.replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def json_of_change(change: SpecChange) -> str:
    columns: dict[str, object] = {**change}
    if "execute_at" in change:
        columns["execute_at"] = change["execute_at"].isoformat()
    if "callback_headers" in change:
        columns["callback_headers"] = dict(change["callback_headers"])
    if "metadata" in change:
        columns["metadata"] = _dict(change["metadata"])
    if "callback_url" in change:
        columns["destination"] = destination_of(change["callback_url"])
    return json.dumps(columns)


async def json_of_settlements(settlements: Sequence[Settlement]) -> str:
    return _array(await written(enumerate(settlements), _object_of_settlement))


def _object_of_settlement(placed: tuple[int, Settlement]) -> str:
    place, settlement = placed
    error = settlement.last_error
    is_begun = "true" if settlement.is_begun else "false"
    last_error = "null" if error is None else json.dumps(error)
    # Every timer pays for this, and the encoder would take twice as long.
    return (
        f'{{"place":{place},"id":"{settlement.timer_id}","claim":{settlement.claim},'
        f'"claim_after":{settlement.claim_after},"status":"{settlement.status}",'
        f'"due_at":{_quoted(settlement.due_at)},"is_begun":{is_begun},'
        f'"executed_at":{_quoted(settlement.executed_at)},"last_error":{last_error}}}'
    )


def _quoted(instant: datetime | None) -> str:
    return "null" if instant is None else f'"{instant.isoformat()}"'


def timer_of(row: Row) -> Timer:
    """Make a timer of its row.

    Raises:
        ValueError: the row is none, and why, in words.
    """
    return Timer(
        id=row["id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        spec=_spec_of(row),
        status=Status(row["status"]),
        executed_at=row["executed_at"],
        attempt=row["attempt"],
        last_error=row["last_error"],
    )


def claimed_of(row: Row, claim: Claim) -> ClaimedTimer:
    """Make a claimed timer of its row.

    Raises:
        ValueError: the row is none, and why, in words.
    """
    return ClaimedTimer(
        id=row["id"],
        claim=claim,
        attempt=row["attempt"],
        unknown_attempts=row["unknown_attempts"],
        requested_at=row["requested_at"],
        spec=_spec_of(row),
    )


def summary_of(row: Row) -> TimerSummary:
    """Make a summary of its row, which the table's own checks leave readable."""
    return TimerSummary(
        id=TimerId(row["id"]),
        created_at=row["created_at"],
        execute_at=row["execute_at"],
        callback_url=row["callback_url"],
        status=Status(row["status"]),
        executed_at=row["executed_at"],
    )


def record_of(row: Row) -> ReplicaRecord:
    return ReplicaRecord(
        id=ReplicaId(row["id"]),
        identity=Identity(host=row["host"], pid=row["pid"], version=row["version"]),
        vitals=Vitals(
            in_flight=row["in_flight"],
            cached=row["cached"],
            clock_offset_s=row["clock_offset_s"],
        ),
        started_at=row["started_at"],
        beaten_at=row["beaten_at"],
        is_leaving=row["leaving"],
    )


def _spec_of(row: Row) -> TimerSpec:
    payload = row["callback_payload"]
    return TimerSpec(
        execute_at=row["execute_at"],
        callback_url=_checked_url(row["callback_url"]),
        callback_method=Method(row["callback_method"]),
        callback_headers=_headers_of(row["callback_headers"]),
        callback_payload=None if payload is None else JsonText(payload),
        metadata=_metadata_of(row["metadata"]),
        timeout_s=row["timeout_s"],
        delivery=Delivery(row["delivery"]),
        misfire_grace_s=row["misfire_grace_s"],
    )


def _checked_url(url: str) -> str:
    try:
        destination_of(url)
    except ValueError:
        raise ValueError("its callback_url is no URL that can be called") from None
    return url


def _headers_of(text: str) -> Mapping[str, str]:
    if text == "{}":  # mostly, and the parser would take as long as the rest of the row
        return {}
    headers = _json_of(text, "callback_headers")
    if not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("its callback_headers hold something else than text")
    return headers


def _metadata_of(text: str | None) -> Mapping[str, object] | None:
    return None if text is None else _json_of(text, "metadata")


def _json_of(text: str, column: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"its {column} cannot be read") from None
    return value


def _dict(value: Mapping[str, object] | None) -> dict[str, object] | None:
    return None if value is None else dict(value)
