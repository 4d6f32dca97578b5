from __future__ import annotations

import pytest

from tests.contract.timers import NOW
from timer_trio.domain.query import TimerFilter
from timer_trio.domain.timer import Destination, Status

ANYWHERE = Destination("https://a.example:443")


@pytest.mark.parametrize(
    ("wanted", "unindexed"),
    [
        (TimerFilter(), []),
        (TimerFilter(destination=ANYWHERE, http_status=503), ["destination", "http_status"]),
        (TimerFilter(status=Status.FAILED, ended_after=NOW, key="a"), ["key"]),
        (TimerFilter(status=Status.COMPLETED, ended_after=NOW), ["ended_after"]),
        (TimerFilter(ended_before=NOW), ["ended_before"]),
    ],
)
def test_filters_that_would_read_every_timer_are_named(
    wanted: TimerFilter, unindexed: list[str]
) -> None:
    assert wanted.unindexed == unindexed


@pytest.mark.parametrize(
    ("wanted", "is_bounded"),
    [
        (TimerFilter(created_after=NOW), True),
        (TimerFilter(execute_after=NOW), True),
        (TimerFilter(status=Status.FAILED, ended_after=NOW), True),
        (TimerFilter(status=Status.COMPLETED, ended_after=NOW), False),
        (TimerFilter(created_before=NOW), False),
    ],
)
def test_list_is_bounded_where_an_index_leads_to_its_oldest(
    wanted: TimerFilter, *, is_bounded: bool
) -> None:
    assert wanted.is_bounded is is_bounded
