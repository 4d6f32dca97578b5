"""What is done to many timers: to which, and to no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.conftest import Stranger
from tests.contract.test_storage_redrive import retries
from tests.contract.timers import (
    ALICE,
    FIRST,
    LATER,
    NOW,
    SECOND,
    SOON,
    ask,
    claimed,
    completed,
    created,
    due,
    failed,
    given_back,
    new_timer,
    seconds,
)
from timer_trio.domain import bulk as domain_bulk
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage, BulkProgress, BulkReply
from timer_trio.domain.errors import RowRefusedError, TimerNotFoundError
from timer_trio.domain.query import Position, TimerQuery
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage import Storage

ALL = TimerQuery()
AS_OF = SOON + seconds(1)
WHEN = SOON + seconds(2)


def asked_for(action: BulkAction, **more: object) -> Bulk:
    return replace(Bulk(action=action, wanted=ALL, as_of=AS_OF), **more)  # type: ignore[arg-type]


async def page_of(
    storage: Storage, bulk: Bulk, after: Position | None = None, size: int = 100
) -> BulkReply:
    return await storage.bulk(BulkPage(bulk=bulk, after=after, size=size, due_at=WHEN), WHEN)


async def whole(storage: Storage, bulk: Bulk) -> BulkProgress:
    """Do all of a bulk action, page by page."""
    progress = BulkProgress(bulk)
    while page := progress.next_page(WHEN):
        progress.add(await storage.bulk(page, WHEN))
    return progress


async def one_of_each(storage: Storage) -> dict[Status, TimerId]:
    """Make a timer of each status that the service can give back, but for retrying."""
    statuses = [status for status in Status if status is not Status.RETRYING]
    made: dict[Status, TimerId] = {status: await created(storage) for status in statuses}
    await storage.cancel(made[Status.CANCELED], SOON)
    for status in (Status.EXECUTING, Status.COMPLETED, Status.FAILED):
        await claimed(storage, made[status])
    await storage.settle([completed(made[Status.COMPLETED]), failed(made[Status.FAILED])], SOON)
    return made


async def statuses(storage: Storage, timer_ids: Sequence[TimerId]) -> list[Status | None]:
    found: list[Status | None] = []
    for timer_id in timer_ids:
        try:
            found.append((await storage.get(timer_id)).status)
        except TimerNotFoundError:
            found.append(None)
    return found


async def test_cancel_takes_what_waits_and_skips_the_rest(storage: Storage) -> None:
    made = await one_of_each(storage)
    reply = await page_of(storage, asked_for(BulkAction.CANCEL))
    assert reply == BulkReply(matched=5, done=1, next=None)
    canceled = await storage.get(made[Status.PENDING])
    assert (canceled.status, canceled.updated_at) == (Status.CANCELED, WHEN)
    others = [status for status in made if status is not Status.PENDING]
    assert await statuses(storage, [made[status] for status in others]) == others
    assert await due(storage) == []


async def test_canceled_one_is_claimed_by_nobody(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.join(ALICE, NOW)
    await page_of(storage, asked_for(BulkAction.CANCEL))
    assert (await ask(storage, [timer_id], now=LATER)).claimed == []


async def test_cancel_takes_what_waits_between_two_attempts(storage: Storage) -> None:
    timer_id = await created(storage)
    await retries(storage, timer_id)
    assert (await page_of(storage, asked_for(BulkAction.CANCEL))).done == 1
    timer = await storage.get(timer_id)
    assert (timer.status, timer.next_attempt_at) == (Status.CANCELED, None)


async def test_redrive_takes_what_has_ended_and_tells_of_it(storage: Storage) -> None:
    made = await one_of_each(storage)
    reply = await page_of(storage, asked_for(BulkAction.REDRIVE))
    assert (reply.matched, reply.done, reply.next) == (5, 3, None)
    ended = {made[status] for status in (Status.COMPLETED, Status.FAILED, Status.CANCELED)}
    assert {timer.id for timer in reply.due} == ended
    for timer in reply.due:
        assert (timer.due_at, timer.lane.destination) == (WHEN, "https://example.com:443")
        redriven = await storage.get(timer.id)
        assert (redriven.status, redriven.spec.execute_at) == (Status.PENDING, WHEN)
        assert redriven.updated_at == WHEN
    assert set(await due(storage, WHEN)) == ended | {made[Status.PENDING]}
    (record,) = await storage.attempts(made[Status.COMPLETED])
    assert (record.attempt, record.outcome) == (1, "delivered")


async def test_redriven_in_bulk_is_as_redriven_alone(storage: Storage) -> None:
    alone, many = await created(storage), await created(storage)
    for timer_id in (alone, many):
        await claimed(storage, timer_id)
    await storage.settle([failed(alone), failed(many)], SOON)
    await storage.redrive(alone, WHEN, WHEN)
    await page_of(storage, asked_for(BulkAction.REDRIVE))
    one, other = await storage.get(alone), await storage.get(many)
    assert replace(one, id=many) == other
    # A late copy of the claim that ended them takes neither.
    assert (await ask(storage, [alone, many], claim=FIRST, now=LATER)).claimed == []
    first, second = (await ask(storage, [alone, many], claim=SECOND, now=LATER)).claimed
    assert first.requested_at == second.requested_at == WHEN
    assert (first.attempt, first.unknown_attempts) == (second.attempt, 0) == (2, 0)


async def test_spacing_puts_redriven_ones_one_after_the_other(storage: Storage) -> None:
    timers = [new_timer(created_at=NOW - seconds(9 - place), shard=place) for place in range(4)]
    await storage.create(timers, NOW)
    for timer in timers[:3]:
        await storage.cancel(timer.id, SOON)
    bulk = asked_for(BulkAction.REDRIVE, spacing=timedelta(seconds=2.5))
    reply = await page_of(storage, bulk)
    expected = [(timer.id, WHEN + seconds(2.5 * place)) for place, timer in enumerate(timers[:3])]
    assert sorted((timer.id, timer.due_at) for timer in reply.due) == sorted(expected)
    for timer_id, instant in expected:
        assert (await storage.get(timer_id)).spec.execute_at == instant


async def test_delete_takes_what_has_ended_with_its_attempts(storage: Storage) -> None:
    made = await one_of_each(storage)
    kept = await created(storage)
    for timer_id in (made[Status.FAILED], kept):
        await storage.redrive(timer_id, NOW, SOON) if timer_id != kept else None
        record = AttemptRecord(attempt=1, started_at=NOW, ended_at=NOW, outcome="rejected")
        await ask(storage, [timer_id], claim=SECOND)
        settlement = replace(failed(timer_id, SECOND), attempts=(record,))
        await storage.settle([settlement], SOON if timer_id != kept else WHEN)
    reply = await page_of(storage, asked_for(BulkAction.DELETE))
    assert reply == BulkReply(matched=5, done=3, next=None)
    left = {Status.PENDING: made[Status.PENDING], Status.EXECUTING: made[Status.EXECUTING]}
    assert await statuses(storage, [*made.values()]) == [
        status if status in left else None for status in made
    ]
    assert await storage.attempts(made[Status.FAILED]) == []
    assert len(await storage.attempts(kept)) == 1


@pytest.mark.parametrize("action", BulkAction)
async def test_what_was_changed_later_is_left_alone(storage: Storage, action: BulkAction) -> None:
    changed, late = await created(storage), new_timer(created_at=WHEN)
    await storage.create([late], WHEN)
    await storage.update(changed, {"timeout_s": 1.0}, AS_OF + timedelta(microseconds=1))
    for _ in range(2):
        assert await page_of(storage, asked_for(action)) == BulkReply(matched=0, done=0, next=None)
        await storage.cancel(late.id, WHEN)
        await storage.cancel(changed, WHEN)


@pytest.mark.parametrize("action", BulkAction)
async def test_the_same_again_changes_nothing_more(storage: Storage, action: BulkAction) -> None:
    made = await one_of_each(storage)
    bulk = asked_for(action)
    first = await page_of(storage, bulk)
    after = [await statuses(storage, [*made.values()])]
    again = await page_of(storage, bulk)
    assert first.done > 0
    assert again == BulkReply(matched=first.matched - first.done, done=0, next=None)
    assert [await statuses(storage, [*made.values()])] == after


async def test_what_is_done_as_of_the_very_instant_is_not_done_again(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.cancel(timer_id, NOW)
    bulk = asked_for(BulkAction.REDRIVE)
    page = BulkPage(bulk=bulk, after=None, size=10, due_at=AS_OF)
    assert (await storage.bulk(page, AS_OF)).done == 1
    assert (await storage.get(timer_id)).updated_at == AS_OF + timedelta(microseconds=1)
    assert (await storage.bulk(page, AS_OF)).matched == 0


@pytest.mark.parametrize("action", BulkAction)
async def test_dry_run_counts_and_changes_nothing(storage: Storage, action: BulkAction) -> None:
    made = await one_of_each(storage)
    before = [await storage.get(timer_id) for timer_id in made.values()]
    tried = await page_of(storage, asked_for(action, is_dry_run=True))
    assert [await storage.get(timer_id) for timer_id in made.values()] == before
    done = await page_of(storage, asked_for(action))
    assert tried == replace(done, due=())


async def test_only_what_the_filter_finds_is_touched(storage: Storage) -> None:
    wanted = await created(storage, metadata={"customer": "100%", "n": 1}, execute_at=SOON)
    others = [
        await created(storage, metadata={"customer": "c-2", "n": 1}, execute_at=SOON),
        await created(storage, metadata={"customer": "100%"}, execute_at=SOON),
        await created(storage, metadata={"customer": "100%", "n": 1}, execute_at=LATER),
        await created(storage),
    ]
    query = TimerQuery(
        status=Status.PENDING,
        execute_before=LATER,
        metadata={"customer": ["100%"], "n": ["1", 1]},
    )
    reply = await page_of(storage, asked_for(BulkAction.CANCEL, wanted=query))
    assert reply == BulkReply(matched=1, done=1, next=None)
    assert await statuses(storage, [wanted]) == [Status.CANCELED]
    assert await statuses(storage, others) == [Status.PENDING] * 4


async def test_pages_follow_each_other_in_order_of_creation(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_bulk, "PAGE_ROWS", 3)
    timers = [new_timer(created_at=NOW - seconds(7 - place // 2)) for place in range(7)]
    await storage.create(timers, NOW)
    order = sorted(timers, key=lambda timer: (timer.created_at, timer.id))
    bulk = asked_for(BulkAction.CANCEL)
    reply = await page_of(storage, bulk, size=3)
    last = order[2]
    assert reply == BulkReply(matched=3, done=3, next=Position(last.created_at, last.id))
    ids = [timer.id for timer in order]
    assert await statuses(storage, ids) == [Status.CANCELED] * 3 + [Status.PENDING] * 4
    progress = await whole(storage, bulk)
    assert (progress.matched, progress.done, progress.skipped) == (4, 4, 0)
    assert await statuses(storage, ids) == [Status.CANCELED] * 7


async def test_limit_is_of_what_is_done(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_bulk, "PAGE_ROWS", 2)
    made = await one_of_each(storage)
    for _ in range(5):
        await created(storage)
    progress = await whole(storage, asked_for(BulkAction.CANCEL, limit=4))
    assert progress.done == 4
    found = await storage.list(TimerQuery(status=Status.PENDING))
    assert found.total == 2
    assert await statuses(storage, [made[Status.EXECUTING]]) == [Status.EXECUTING]


async def test_rate_holds_across_pages(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_bulk, "PAGE_ROWS", 2)
    ids = [await created(storage) for _ in range(5)]
    for timer_id in ids:
        await storage.cancel(timer_id, NOW)
    await whole(storage, asked_for(BulkAction.REDRIVE, spacing=timedelta(seconds=10)))
    instants = sorted([(await storage.get(timer_id)).spec.execute_at for timer_id in ids])
    assert instants == [WHEN + seconds(10 * place) for place in range(5)]


async def test_locked_rows_are_skipped_and_not_waited_for(
    storage: Storage, stranger: Stranger
) -> None:
    ids = [await created(storage) for _ in range(4)]
    stranger.lock(ids[:2])
    bulk = asked_for(BulkAction.CANCEL)
    assert await page_of(storage, bulk) == BulkReply(matched=4, done=2, next=None)
    stranger.unlock()
    assert await statuses(storage, ids) == [Status.PENDING] * 2 + [Status.CANCELED] * 2
    assert await page_of(storage, bulk) == BulkReply(matched=2, done=2, next=None)


async def test_given_back_and_canceled_claims_stay_void(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([given_back(timer_id)], SOON)
    await storage.cancel(timer_id, SOON)
    await page_of(storage, asked_for(BulkAction.REDRIVE))
    assert (await ask(storage, [timer_id], claim=FIRST, now=LATER)).claimed == []


async def test_what_cannot_be_looked_for_is_refused(storage: Storage) -> None:
    await created(storage, metadata={"a": 1})
    query = TimerQuery(metadata={"a": ["\0"]})
    try:
        reply = await page_of(storage, asked_for(BulkAction.CANCEL, wanted=query))
    except RowRefusedError:
        return
    assert reply.matched == 0  # in memory nothing is refused
