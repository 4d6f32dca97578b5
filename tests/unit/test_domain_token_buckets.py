from __future__ import annotations

import pytest

from timer_trio.domain.token_buckets import ChangingBuckets, Filling, TokenBuckets

TWO_A_SECOND = Filling(per_s=2, burst=3)


def buckets(most: int = 10) -> TokenBuckets:
    return TokenBuckets(per_s=2, burst=3, most=most)


def test_bucket_is_emptied_and_fills_again() -> None:
    few = buckets()
    assert [few.take("a", 100) for _ in range(4)] == [0, 0, 0, 0.5]
    assert few.take("a", 100.25) == 0.25
    assert few.take("a", 100.5) == 0
    assert few.take("a", 100.5) > 0
    assert [few.take("a", 200) for _ in range(4)] == [0, 0, 0, 0.5]


def test_each_name_has_a_bucket_of_its_own() -> None:
    few = buckets()
    for _ in range(4):
        few.take("a", 0)
    assert few.take("b", 0) == 0


def test_what_is_full_again_is_forgotten() -> None:
    few = buckets()
    for number in range(1_000):
        assert few.take(str(number), number * 0.5) == 0
    assert len(few) <= 3


def test_memory_is_bounded_and_those_beyond_it_share() -> None:
    few = buckets(most=2)
    few.take("a", 0)
    few.take("b", 0)
    assert [few.take(name, 0) for name in ("c", "d", "e")] == [0, 0, 0]
    assert few.take("f", 0) == 0.5
    assert few.take("a", 0) == 0
    for number in range(1_000):
        few.take(str(number), 0)
    assert len(few) == 3
    assert few.take("g", 100) == 0
    assert len(few) == 1


def changing(most: int = 10) -> ChangingBuckets[str]:
    return ChangingBuckets(most=most)


def test_what_is_left_and_when_all_is_back_is_told_with_each_token() -> None:
    some = changing()
    taken = [some.take("a", TWO_A_SECOND, 100) for _ in range(4)]
    assert taken == [(2, 0.5, 0), (1, 1, 0), (0, 1.5, 0), (0, 1.5, 0.5)]
    assert some.take("a", TWO_A_SECOND, 100.25) == (0.5, 1.25, 0.25)
    assert some.take("a", TWO_A_SECOND, 100.5) == (0, 1.5, 0)
    assert some.take("b", TWO_A_SECOND, 100.5) == (2, 0.5, 0)
    assert some.take("a", TWO_A_SECOND, 200) == (2, 0.5, 0)


def test_refusals_take_nothing() -> None:
    some = changing()
    for _ in range(1_000):
        some.take("a", TWO_A_SECOND, 0)
    assert some.take("a", TWO_A_SECOND, 0.5).wait_s == 0


def test_bucket_is_cut_to_a_smaller_burst_and_fills_up_to_a_greater_one() -> None:
    some = changing()
    ten, one = Filling(10, 100), Filling(1, 5)
    assert some.take("a", ten, 0).left == 99
    assert some.take("a", one, 0) == (4, 1, 0)
    assert some.take("a", ten, 0).left == 3
    assert some.take("a", ten, 1).left == 12
    assert some.take("a", one, 2).left == 4
    assert some.take("a", ten, 3).left == 13


def test_tokens_of_fractions_come_when_they_are_due() -> None:
    some = changing()
    third = Filling(1 / 3, 1)
    now_s = 123_456.7
    for _ in range(1_000):
        assert some.take("a", third, now_s).wait_s == 0
        wait_s = some.take("a", third, now_s).wait_s
        assert wait_s == pytest.approx(3, abs=1e-4)
        now_s += wait_s


def test_those_asked_last_are_remembered() -> None:
    some = changing(most=2)
    for name in ("a", "b", "a", "c"):
        some.take(name, TWO_A_SECOND, 0)
    assert len(some) == 2
    assert some.take("a", TWO_A_SECOND, 0).left == 0
    assert some.take("b", TWO_A_SECOND, 0).left == 2
