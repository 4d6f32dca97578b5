from __future__ import annotations

from datetime import timedelta

import pytest

from tests.contract.timers import NOW, seconds
from timer_trio.domain.cells import Cell
from timer_trio.domain.errors import QuotaUsedUpError
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.quota import (
    BEYOND,
    NEVER_COUNTED,
    LiveCount,
    Verdict,
    admitted,
    counted,
    part_of,
    recount_after,
)


def test_what_was_never_counted_must_be() -> None:
    assert admitted(NEVER_COUNTED, 10, 1, NOW) is Verdict.COUNT


@pytest.mark.parametrize("age_s", [0, 0.9, 1, 3600])
def test_what_fits_is_added_and_nothing_is_counted(age_s: float) -> None:
    known = LiveCount(7, NOW)
    assert admitted(known, 10, 3, NOW + seconds(age_s)) == LiveCount(10, NOW)


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [
        (0, Verdict.REFUSE),
        (0.999, Verdict.REFUSE),
        (1, Verdict.COUNT),
        (-59, Verdict.REFUSE),
        (-60, Verdict.COUNT),
    ],
)
def test_what_does_not_fit_is_refused_for_a_second_after_a_count(
    age_s: float, verdict: Verdict
) -> None:
    assert admitted(LiveCount(8, NOW), 10, 3, NOW + seconds(age_s)) is verdict


def test_more_than_there_may_be_at_all_is_no_exact_number() -> None:
    assert counted(10, 10, NOW) == LiveCount(10, NOW)
    assert counted(11, 10, NOW) == LiveCount(BEYOND, NOW)
    assert admitted(counted(11, 10, NOW), 1_000, 1, NOW) is Verdict.REFUSE


def test_a_great_limit_is_counted_more_seldom() -> None:
    assert recount_after(1) == recount_after(100_000) == timedelta(seconds=1)
    assert recount_after(1_000_000) == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("live", "more", "words"),
    [
        (1000, 1, "the project has 1,000 live timers, as many as max_live_timers allows: wait"),
        (BEYOND, 1, "the project has 1,000 or more live timers, as many as max_live_timers"),
        (990, 11, "990 live timers, and max_live_timers allows 1,000, too few for 11 more: wait"),
    ],
)
def test_a_refusal_says_what_to_do(live: int, more: int, words: str) -> None:
    error = QuotaUsedUpError(DEFAULT_PROJECT, LiveCount(live, NOW), 1000, more)
    assert words in str(error)
    assert str(error).endswith("until some have ended, cancel some, or have the setting raised")


@pytest.mark.parametrize(
    ("limit", "parts"), [(10, [5, 5]), (11, [6, 5]), (8, [3, 3, 2]), (2, [1, 1]), (1, [1, 1, 1])]
)
def test_parts_of_a_limit_are_all_of_it_and_none_is_nothing(limit: int, parts: list[int]) -> None:
    count = len(parts)
    assert [part_of(limit, place, count) for place in range(count)] == parts


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (5, "has 5 live timers, as many as its part of max_live_timers allows in cell 0-127: wait"),
        (4, "and its part of max_live_timers allows 5 in cell 0-127, too few for 2 more: wait"),
    ],
)
def test_refusal_by_a_cell_says_which_one_is_full(live: int, words: str) -> None:
    error = QuotaUsedUpError(DEFAULT_PROJECT, LiveCount(live), 5, 2, cell=Cell(0, 127))
    assert words in str(error)
