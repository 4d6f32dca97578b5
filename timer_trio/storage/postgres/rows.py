"""Rows of the database to domain values and back, by way of JSON where a statement takes many."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

import trio

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.cells import ALL
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.keys import KeyedCreate
from timer_trio.domain.membership import Identity, ReplicaRecord, ReplicaStats
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import ListedTimer
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import (
    Claim,
    ClaimedOccurrence,
    ClaimedTimer,
    Destination,
    DueTimer,
    Earlier,
    Lane,
    NewTimer,
    ReplicaId,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSummary,
    shard_of,
)
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.columns import (
    ENCODE,
    NULL,
    QUOTE,
    SPEC,
    Row,
    copied,
    copy_of,
    json_of,
    json_of_some,
    spec_of,
    spec_of_values,
)
from timer_trio.storage.sealing import opened_spec, sealed_change, sealed_record, sealed_timer

T = TypeVar("T")

SLICE_CHARACTERS: Final = 32_768
"""What is written down in one go: half a millisecond, which no callback notices."""
ROW_CHARACTERS: Final = 300
"""A row's own cost, in characters that could be written meanwhile."""
SEALED_CHARACTERS: Final = 2_000
"""That of a row whose headers and payload are sealed."""


async def written(
    rows: Iterable[T], write: Callable[[T], str], row_characters: int = ROW_CHARACTERS
) -> list[str]:
    """Write each row down; others have their turn after every SLICE_CHARACTERS."""
    texts: list[str] = []
    size = 0
    for row in rows:
        text = write(row)
        texts.append(text)
        size += len(text) + row_characters
        if size >= SLICE_CHARACTERS:
            size = 0
            await trio.lowlevel.checkpoint()
    return texts


def sealing(
    rows: Iterable[T], seal: Callable[[T, Cipher], T], cipher: Cipher
) -> tuple[Iterable[T], int]:
    """Return rows as they are to be written, sealed one by one, and what each costs."""
    if not cipher.seals:
        return rows, ROW_CHARACTERS
    return (seal(row, cipher) for row in rows), SEALED_CHARACTERS


async def json_of_new(timers: Iterable[NewTimer], cipher: Cipher) -> str:
    sealed, row_characters = sealing(timers, sealed_timer, cipher)
    return array(await written(sealed, _object_of_new, row_characters))


def _object_of_new(timer: NewTimer) -> str:
    return ENCODE(columns_of_new(timer))


def columns_of_new(timer: NewTimer) -> dict[str, object]:
    columns = json_of(timer.spec)
    columns["id"] = timer.id.hex
    columns["created_at"] = timer.created_at.isoformat()
    columns["destination"] = timer.spec.callback.url.destination
    columns["project"] = timer.project
    if timer.flow_key is not None:
        columns["flow_key"] = timer.flow_key
    if timer.traceparent is not None:
        columns["traceparent"] = timer.traceparent
    return columns


async def json_of_named(
    timers: Iterable[NewTimer], before: Mapping[str, TimerId], cipher: Cipher
) -> str:
    """Write down timers with their names, and what is known to have had these before."""
    sealed, row_characters = sealing(timers, sealed_timer, cipher)
    return array(
        await written(sealed, lambda timer: _object_of_named(timer, before), row_characters)
    )


def _object_of_named(timer: NewTimer, before: Mapping[str, TimerId]) -> str:
    columns = columns_of_new(timer)
    if timer.key is not None:
        columns["key"] = timer.key
        columns["before"] = before[timer.key].hex if timer.key in before else None
    return ENCODE(columns)


async def json_of_keyed(creates: Iterable[KeyedCreate]) -> str:
    return array(await written(creates, _object_of_keyed))


def _object_of_keyed(create: KeyedCreate) -> str:
    answer = create.answer
    return ENCODE(
        {
            "project": create.project,
            "key": create.key,
            "timer_ids": [timer_id.hex for timer_id in answer.timer_ids],
            "fingerprint": answer.fingerprint.hex(),
            "status": answer.status,
            "answer": answer.data,
        }
    )


def array(objects: Sequence[str]) -> str:
    return f"[{','.join(objects)}]"


def copy_line_of_new(timer: NewTimer, now: str) -> str:
    """Write a timer as COPY reads it, in the order of the query `create_many`, or `…_counted`."""
    spec = copy_of(timer.spec)
    due_at, _, _ = spec.partition("\t")  # as the first of its columns says
    flow_key = NULL if timer.flow_key is None else copied(timer.flow_key)
    project = timer.project if timer.max_live is None else f"{timer.project}\tt"
    return (
        f"{shard_of(timer.id)}\t{timer.id.hex}\tpending\t{due_at}"
        f"\t{_copied_created_at(timer.created_at)}\t{now}\t{now}"
        f"\t{_copied_destination(timer.spec.callback.url.destination)}\t{project}\t{flow_key}"
        f"\t{timer.traceparent or NULL}\t{spec}\n"
    )


# Timers that are written together are created as of the same instant.
_copied_created_at: Final = lru_cache(maxsize=16)(datetime.isoformat)


@lru_cache(maxsize=1_024)  # most callbacks go to a few URLs
def _copied_destination(destination: Destination) -> str:
    return copied(destination)


def json_of_change(change: SpecChange, cipher: Cipher) -> str:
    columns = json_of_some({**sealed_change(change, cipher)})
    if "callback_url" in change:
        columns["destination"] = change["callback_url"].destination
    return json.dumps(columns)


async def json_of_settlements(settlements: Sequence[Settlement]) -> str:
    return array(await written(enumerate(settlements), _object_of_settlement))


async def json_of_attempts(settlements: Sequence[Settlement], cipher: Cipher) -> str:
    """Write down what is to be kept of attempts, each with the place of its settlement."""
    placed = [
        (place, attempt)
        for place, settlement in enumerate(settlements)
        for attempt in settlement.attempts
    ]
    sealed, row_characters = sealing(placed, _sealed_attempt, cipher)
    return array(await written(sealed, _object_of_attempt, row_characters))


async def json_of_results(settlements: Sequence[Settlement], cipher: Cipher) -> str:
    """Write down the results of timers that have ended, each with the place of its settlement."""
    placed = [
        (place, settlement.result)
        for place, settlement in enumerate(settlements)
        if settlement.result is not None
    ]
    sealed, row_characters = sealing(placed, _sealed_result, cipher)
    return array(await written(sealed, _object_of_result, row_characters))


def _sealed_attempt(placed: tuple[int, AttemptRecord], cipher: Cipher) -> tuple[int, AttemptRecord]:
    place, attempt = placed
    return place, sealed_record(attempt, cipher)


def _sealed_result(placed: tuple[int, NewTimer], cipher: Cipher) -> tuple[int, NewTimer]:
    place, result = placed
    return place, sealed_timer(result, cipher)


def _object_of_result(placed: tuple[int, NewTimer]) -> str:
    place, result = placed
    return ENCODE({"place": place, "timer": columns_of_new(result)})


def _object_of_attempt(placed: tuple[int, AttemptRecord]) -> str:
    place, attempt = placed
    error = "null" if attempt.error is None else QUOTE(attempt.error)
    answer = '"is_truncated":false' if attempt.answer is None else _members_of(attempt.answer)
    # As below: the encoder would take three times as long.
    return (
        f'{{"place":{place},"attempt":{attempt.attempt},"outcome":"{attempt.outcome}",'
        f'"started_at":{_quoted(attempt.started_at)},"ended_at":{_quoted(attempt.ended_at)},'
        f'"http_status":{attempt.http_status or "null"},"error":{error},{answer}}}'
    )


def _members_of(answer: KeptAnswer) -> str:
    headers = ",".join([f"[{QUOTE(name)},{QUOTE(value)}]" for name, value in answer.headers])
    return (
        f'"response_headers":[{headers}],"response_body":"{b64encode(answer.body).decode("ascii")}",'
        f'"is_truncated":{"true" if answer.is_truncated else "false"}'
    )


def _object_of_settlement(placed: tuple[int, Settlement]) -> str:
    place, settlement = placed
    error = settlement.last_error
    is_begun = "true" if settlement.is_begun else "false"
    last_error = "null" if error is None else QUOTE(error)
    more = ""
    if settlement.duration_ms is not None:
        http_status = settlement.http_status or "null"
        more = f',"http_status":{http_status},"duration_ms":{settlement.duration_ms}'
    if settlement.failures is not None:
        more += (
            f',"failures":{settlement.failures},"first_due_at":{_quoted(settlement.first_due_at)}'
        )
    # Every timer pays for this, and the encoder would take twice as long.
    return (
        f'{{"place":{place},"id":"{settlement.timer_id.hex}","claim":{settlement.claim},'
        f'"claim_after":{settlement.claim_after},"status":"{settlement.status}",'
        f'"due_at":{_quoted(settlement.due_at)},"is_begun":{is_begun},'
        f'"executed_at":{_quoted(settlement.executed_at)},"last_error":{last_error}{more}}}'
    )


def instant_text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _quoted(instant: datetime | None) -> str:
    return "null" if instant is None else f'"{instant.isoformat()}"'


def opened_timer_of(row: Row, cipher: Cipher) -> Timer:
    """Make a timer of its row, opened as far as there are keys; raises as `timer_of`."""
    timer = timer_of(row)
    spec = opened_spec(timer.spec, cipher)
    return timer if spec is timer.spec else replace(timer, spec=spec)


def timer_of(row: Row) -> Timer:
    """Make a timer of its row, sealed as it is kept.

    Raises:
        ValueError: the row is none, and why, in words.
    """
    return Timer(
        id=row["id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        spec=spec_of(row),
        status=Status(row["status"]),
        executed_at=row["executed_at"],
        attempt=row["attempt"],
        last_error=row["last_error"],
        http_status=row["http_status"],
        duration_ms=row["duration_ms"],
        next_attempt_at=row["next_attempt_at"] if row["status"] == Status.RETRYING else None,
        key=row["key"],
        parent_id=row["parent_id"],
        schedule_id=row["schedule_id"],
        flow_key=row["flow_key"],
    )


def due_of(
    due_at: datetime,
    timer_id: TimerId,
    destination: Destination,
    project: ProjectId,
    flow_key: FlowKey | None,
) -> DueTimer:
    """Make what the cache knows of a timer of columns of its row."""
    return DueTimer(due_at, timer_id, Lane(destination, project), flow_key)


def claimed_of(row: Sequence[Any], claim: Claim) -> ClaimedTimer:
    """Make a claimed timer of its row, as a claim answers with it.

    Raises:
        ValueError: the row is none, and why, in words.
    """
    timer_id = row[0]
    attempt, unknown, failures, next_at, first_due_at, requested_at = row[_ATTEMPT_AT:_EARLIER_AT]
    return ClaimedTimer(
        id=timer_id,
        claim=claim,
        attempt=attempt,
        unknown_attempts=unknown,
        requested_at=requested_at,
        failures=failures,
        next_attempt_at=next_at,
        first_due_at=first_due_at,
        spec=spec_of_values(list(row[SPEC_AT:_SPEC_END])),
        earlier=None if row[_EARLIER_AT] is None else _earlier_of(row),
        occurrence=_occurrence_of(row) if len(row) > _SPEC_END else None,
        project=row[_PROJECT_AT],
        traceparent=row[_TRACE_AT],
    )


_PROJECT_AT: Final = 3
_FLOW_AT: Final = 4
_ATTEMPT_AT: Final = 6
_EARLIER_AT: Final = 12
_TRACE_AT: Final = 17
SPEC_AT: Final = 18
"""Where the columns of a spec begin in the row of a claim."""
_SPEC_END: Final = SPEC_AT + len(SPEC)


def _occurrence_of(row: Sequence[Any]) -> ClaimedOccurrence | None:
    schedule_id, instant, is_superseded = row[_SPEC_END : _SPEC_END + 3]
    return None if schedule_id is None else ClaimedOccurrence(schedule_id, instant, is_superseded)


def _earlier_of(row: Sequence[Any]) -> Earlier:
    created_at, executed_at, http_status, duration_ms, key = row[_EARLIER_AT:_TRACE_AT]
    return Earlier(
        created_at=created_at,
        executed_at=executed_at,
        http_status=http_status,
        duration_ms=duration_ms,
        key=key,
        flow_key=row[_FLOW_AT],
    )


def summary_of(row: Row) -> TimerSummary:
    """Make a summary of its row, which the table's own checks leave readable."""
    return TimerSummary(**_summary(row))


def listed_of(row: Row) -> ListedTimer:
    """Make what a list tells of a timer; nothing in it has to be parsed, so no row can fail."""
    return ListedTimer(
        **_summary(row),
        destination=row["destination"],
        attempt=row["attempt"],
        last_error=row["last_error"],
        http_status=row["http_status"],
        key=row["key"],
        schedule_id=row["schedule_id"],
        metadata=row["metadata"],
    )


def _summary(row: Row) -> dict[str, Any]:
    return {
        "id": TimerId(row["id"]),
        "created_at": row["created_at"],
        "execute_at": row["execute_at"],
        "callback_url": row["callback_url"],
        "status": Status(row["status"]),
        "executed_at": row["executed_at"],
        "parent_id": row["parent_id"],
        "flow_key": row["flow_key"],
    }


def record_of(row: Row) -> ReplicaRecord:
    return ReplicaRecord(
        id=ReplicaId(row["id"]),
        identity=Identity(
            host=row["host"], pid=row["pid"], version=row["version"], map=row["map"] or str(ALL)
        ),
        stats=ReplicaStats(
            in_flight=row["in_flight"],
            cached=row["cached"],
            clock_offset_s=row["clock_offset_s"],
        ),
        started_at=row["started_at"],
        beaten_at=row["beaten_at"],
        is_leaving=row["leaving"],
    )
