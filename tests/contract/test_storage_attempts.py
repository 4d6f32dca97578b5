"""What is kept of attempts comes back as it was, newest first, until it is old."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.timers import (
    ALICE,
    BOB,
    FIRST,
    NOW,
    SECOND,
    SOON,
    claimed,
    completed,
    created,
    failed,
    retrying,
    seconds,
)
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.timer import TimerId
from timer_trio.storage import Storage

EVERY_BYTE = bytes(range(256))
ANSWER = KeptAnswer(
    headers=(("Set-Cookie", "a"), ("set-cookie", "\xe9\x01\x7f\x85\xff"), ("X-Empty", "")),
    body=EVERY_BYTE,
    is_truncated=True,
)


def record(attempt: int, *, late_s: float = 0.0, answer: KeptAnswer | None = None) -> AttemptRecord:
    return AttemptRecord(
        attempt=attempt,
        started_at=NOW,
        ended_at=NOW + seconds(late_s),
        outcome="rejected",
        http_status=503,
        error="HTTP 503",
        answer=answer,
    )


async def kept(storage: Storage, *records: AttemptRecord) -> TimerId:
    """Settle a timer with these records."""
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    assert await storage.settle([replace(failed(timer_id), attempts=records)], SOON) == [True]
    return timer_id


async def test_attempts_come_back_as_they_were_the_newest_first(storage: Storage) -> None:
    unknown = AttemptRecord(attempt=1, started_at=None, ended_at=SOON, outcome="unknown")
    later = record(2, answer=ANSWER)
    timer_id = await kept(storage, unknown, later)
    assert list(await storage.attempts(timer_id)) == [later, unknown]


@pytest.mark.parametrize("body", [b"", b"\0", b"\xff\xfe", "grüße".encode(), EVERY_BYTE * 128])
async def test_any_body_is_kept(storage: Storage, body: bytes) -> None:
    answer = KeptAnswer(headers=(), body=body, is_truncated=False)
    timer_id = await kept(storage, record(1, answer=answer))
    assert list(await storage.attempts(timer_id)) == [record(1, answer=answer)]


async def test_a_timer_without_any_has_none(storage: Storage) -> None:
    timer_id = await created(storage)
    assert list(await storage.attempts(timer_id)) == []


async def test_a_repeated_settlement_is_kept_once(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    settlement = replace(retrying(timer_id), attempts=(record(1),))
    for _ in range(2):
        assert await storage.settle([settlement], SOON) == [True]
    assert list(await storage.attempts(timer_id)) == [record(1)]


async def test_of_a_superseded_settlement_nothing_is_kept(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id, ALICE, FIRST)
    await storage.sweep(ALICE, None, SOON)
    await claimed(storage, timer_id, BOB, SECOND)
    late = replace(completed(timer_id, FIRST), attempts=(record(1),))
    assert await storage.settle([late], SOON) == [False]
    assert list(await storage.attempts(timer_id)) == []


async def test_old_attempts_are_pruned_in_pages(storage: Storage) -> None:
    timer_id = await kept(storage, record(1), record(2), record(3, late_s=10), record(4, late_s=20))
    cutoff = NOW + seconds(20)
    assert await storage.prune_attempts(cutoff, 2) == 2
    assert await storage.prune_attempts(cutoff, 2) == 1
    assert await storage.prune_attempts(cutoff, 2) == 0
    assert list(await storage.attempts(timer_id)) == [record(4, late_s=20)]


async def test_rotation_loses_nothing_that_is_young(storage: Storage) -> None:
    timer_id = await kept(storage, record(1))
    await storage.rotate_attempts(NOW, NOW - seconds(1))
    assert list(await storage.attempts(timer_id)) == [record(1)]
