from __future__ import annotations

from timer_trio.domain.token_buckets import TokenBuckets


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
