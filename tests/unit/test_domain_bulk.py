"""Which page of a bulk action comes next, and when what it redrives is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import NOW, SOON, seconds, spec
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.attempt import AttemptRecord, all_attempts, told_by_row_alone
from timer_trio.domain.bulk import (
    PAGE_ROWS,
    TAKES,
    Bulk,
    BulkAction,
    BulkPage,
    BulkProgress,
    BulkReply,
    changed_at,
)
from timer_trio.domain.errors import NotEndedError
from timer_trio.domain.query import Position, TimerQuery
from timer_trio.domain.timer import Status, Timer, TimerId

BULK = Bulk(action=BulkAction.REDRIVE, wanted=TimerQuery(), as_of=NOW)
PLACE = Position(NOW, TimerId(UUID(int=1)))


def test_first_page_begins_at_the_beginning_and_is_due_now() -> None:
    page = BulkProgress(BULK).next_page(SOON)
    assert page == BulkPage(bulk=BULK, after=None, size=PAGE_ROWS, due_at=SOON)


def test_next_page_begins_where_the_last_one_ended() -> None:
    progress = BulkProgress(BULK)
    progress.add(BulkReply(matched=5, done=3, next=PLACE))
    assert (progress.matched, progress.done, progress.skipped) == (5, 3, 2)
    page = progress.next_page(SOON)
    assert page is not None
    assert page.after == PLACE
    progress.add(BulkReply(matched=1, done=1, next=None))
    assert progress.next_page(SOON) is None
    assert (progress.matched, progress.done, progress.skipped) == (6, 4, 2)


def test_page_is_no_greater_than_what_is_left_of_the_limit() -> None:
    progress = BulkProgress(replace(BULK, limit=5))
    for done, size in ((0, 5), (3, 2), (2, None)):
        progress.add(BulkReply(matched=done + 1, done=done, next=PLACE))
        page = progress.next_page(SOON)
        assert (page and page.size) == size


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 20)), max_size=9), st.floats(0, 3))
def test_rate_is_kept_however_long_pages_take(
    pages: list[tuple[int, float]], spacing_s: float
) -> None:
    spacing = timedelta(seconds=spacing_s)
    progress, now, free_at = BulkProgress(replace(BULK, spacing=spacing)), NOW, NOW
    for done, took_s in pages:
        page = progress.next_page(now)
        assert page is not None
        assert page.due_at == max(now, free_at)
        progress.add(BulkReply(matched=done, done=done, next=PLACE))
        free_at = page.due_at + done * spacing
        now += seconds(took_s)


def test_what_is_done_is_changed_after_the_instant() -> None:
    assert changed_at(BULK, SOON) == SOON
    assert changed_at(BULK, NOW) == changed_at(BULK, NOW - seconds(9)) > NOW


def test_each_action_takes_what_it_can_be_done_to() -> None:
    assert TAKES.keys() == set(BulkAction)
    for statuses in TAKES.values():
        assert Status.EXECUTING not in statuses


def test_not_ended_says_what_it_is() -> None:
    assert str(NotEndedError(Status.PENDING)) == "the timer is pending"


TIMER = Timer(
    id=TimerId(UUID(int=1)),
    created_at=NOW,
    updated_at=SOON,
    spec=spec(),
    status=Status.COMPLETED,
    executed_at=NOW,
    attempt=1,
    last_error=None,
    http_status=204,
    duration_ms=7,
)


def test_row_of_a_delivered_first_attempt_tells_of_it() -> None:
    record = AttemptRecord(
        attempt=1,
        started_at=NOW,
        ended_at=NOW + seconds(0.007),
        outcome="delivered",
        http_status=204,
    )
    assert told_by_row_alone(TIMER) == record
    assert all_attempts(TIMER, []) == [record]
    other = record._replace(attempt=2)
    assert all_attempts(TIMER, [other]) == [other]


def test_other_rows_tell_of_none() -> None:
    kept = replace(TIMER, spec=spec(store_response=StoreResponse.ALL))
    assert told_by_row_alone(kept) is None
    others = (
        replace(TIMER, status=Status.FAILED),
        replace(TIMER, attempt=2),
        replace(TIMER, executed_at=None),
    )
    for timer in others:
        assert told_by_row_alone(timer) is None
        assert all_attempts(timer, []) == []
