from __future__ import annotations

from math import inf, nan

import pytest

from timer_trio.domain.rate_limit import RateLimit, usual_burst


@pytest.mark.parametrize(
    ("per_s", "burst"),
    [(0, 1), (0.09, 1), (100_001, 1), (inf, 1), (nan, 1), (-1, 1), (1, 0), (1, 1_000_001)],
)
def test_limit_has_numbers_that_can_be_followed(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="no limit"):
        RateLimit(requests_per_second=per_s, burst=burst)


@pytest.mark.parametrize(("per_s", "burst"), [(0.1, 1), (1, 1), (1.1, 2), (2.5, 3), (100, 100)])
def test_burst_is_that_of_a_second_unless_it_is_named(per_s: float, burst: int) -> None:
    assert usual_burst(per_s) == burst


def test_shares_are_together_the_limit() -> None:
    limit = RateLimit(requests_per_second=30, burst=10)
    assert limit.share(1) == (30, 10)
    assert limit.share(4) == (7.5, 2.5)


def test_share_of_a_burst_is_one_request_at_least() -> None:
    assert RateLimit(requests_per_second=0.3, burst=2).share(3).burst == 1


def test_refilling_is_told_in_whole_seconds() -> None:
    assert RateLimit(requests_per_second=30, burst=100).refill_s == 4
    assert RateLimit(requests_per_second=100_000, burst=1).refill_s == 1
