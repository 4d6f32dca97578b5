"""What a sample tells of the timers that were looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.sample import NOTHING, Sample, Seen, Span, sample_of, together
from timer_trio.domain.timer import Status

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)


def sent(late_s: float, attempt: int = 1, created_at: datetime = EARLIER) -> Seen:
    at = NOW + timedelta(seconds=late_s)
    return Seen(Status.COMPLETED, attempt, created_at, NOW, at)


def test_nothing_is_told_of_nothing() -> None:
    assert sample_of([]) == NOTHING
    assert NOTHING.seen == 0
    assert NOTHING.is_whole(Span(NOW, NOW, 1))


def test_statuses_are_counted_and_what_was_not_sent_is_not_late() -> None:
    pending = Seen(Status.PENDING, 0, EARLIER, NOW, None)
    assert sample_of([pending, pending]) == Sample(counts={Status.PENDING: 2})
    assert not sample_of([pending, pending]).is_whole(Span(NOW, NOW, 2))


def test_lateness_counts_from_the_creation_and_of_first_attempts() -> None:
    assert sample_of([sent(5, created_at=NOW + timedelta(seconds=4))]).late_s == (1, 1)
    assert sample_of([sent(5, attempt=2)]).late_s is None
    assert sample_of([sent(1), sent(900, attempt=2)]).late_s == (1, 1)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300))
def test_so_many_are_no_later_than_a_share_says(late: list[int]) -> None:
    half, most = sample_of([sent(each) for each in late]).late_s or (-1, -1)
    for share, value in ((0.5, half), (0.99, most)):
        assert value in late
        assert sum(each <= value for each in late) >= share * len(late)
        assert sum(each < value for each in late) < share * len(late)


def test_samples_of_two_places_are_added_and_none_is_later_than_told() -> None:
    first = Sample(counts={Status.COMPLETED: 2, Status.PENDING: 1}, late_s=(0.1, 0.9))
    second = Sample(counts={Status.COMPLETED: 3}, late_s=(0.2, 0.5))
    assert together([first, second, NOTHING]) == Sample(
        counts={Status.COMPLETED: 5, Status.PENDING: 1}, late_s=(0.2, 0.9)
    )
    assert together([NOTHING, NOTHING]) == NOTHING
