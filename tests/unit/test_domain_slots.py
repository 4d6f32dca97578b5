from __future__ import annotations

from collections import Counter
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.slots import FREE_SHARE, TOP_UP_PAUSE_S, Slots
from timer_trio.domain.timer import Destination

A: Final = Destination("https://a.example:443")
B: Final = Destination("https://b.example:443")


def filled(slots: Slots, destination: Destination = A, now_s: float = 0.0) -> int:
    """Hold as many slots as the destination may have; answers how many."""
    count = 0
    while slots.free and slots.is_open(destination, now_s):
        slots.hold(destination)
        count += 1
    return count


def release(slots: Slots, count: int, now_s: float, destination: Destination = A) -> None:
    for _ in range(count):
        slots.release(destination, now_s)


@pytest.mark.parametrize(
    ("total", "per_destination", "count"),
    [
        (1000, 100, 100),  # its own limit
        (1000, 1000, 200),  # held = a quarter of what is then free
        (100, 100, 20),
        (16, 16, 3),
        (4, 4, 1),
        (1, 1, 1),
    ],
)
def test_destination_holds_its_limit_and_a_quarter_of_the_free(
    total: int, per_destination: int, count: int
) -> None:
    slots = Slots(total, per_destination)
    assert filled(slots) == count
    assert slots.free == total - count


def test_destination_may_always_hold_one() -> None:
    slots = Slots(total=3, per_destination=100)
    assert [filled(slots, A), filled(slots, B)] == [1, 1]


def test_twenty_greedy_destinations_leave_room_for_another() -> None:
    slots = Slots(total=1000, per_destination=100)
    held = [filled(slots, Destination(f"http://{n}.example:80")) for n in range(21)]
    assert min(held) >= 1


def test_full_destination_is_closed_until_a_slot_comes_free() -> None:
    slots = Slots(1000, 100)
    filled(slots)
    assert slots.waiting == {A: None}
    assert slots.opens_s(A) is None
    assert not slots.is_open(A, 1e6)


def test_full_destination_is_topped_up_when_a_quarter_is_free() -> None:
    slots = Slots(1000, 100)
    filled(slots)
    release(slots, 24, now_s=5.0)
    assert not slots.is_open(A, 5.0)
    release(slots, 1, now_s=5.0)
    assert slots.is_open(A, 5.0)
    assert not slots.waiting


def test_full_destination_is_topped_up_soon_after_the_first_came_free() -> None:
    slots = Slots(1000, 100)
    filled(slots)
    release(slots, 1, now_s=5.0)
    release(slots, 1, now_s=5.005)
    assert slots.opens_s(A) == 5.0 + TOP_UP_PAUSE_S
    assert not slots.is_open(A, 5.005)
    assert slots.is_open(A, 5.0 + TOP_UP_PAUSE_S)
    assert slots.opens_s(A) is None


def test_destination_that_never_was_full_has_no_pause() -> None:
    slots = Slots(1000, 100)
    for _ in range(99):
        slots.hold(A)
    release(slots, 1, now_s=5.0)
    assert slots.is_open(A, 5.0)


def test_destination_that_others_squeezed_waits_for_a_slot_of_its_own() -> None:
    slots = Slots(total=16, per_destination=4)
    filled(slots, A)
    release(slots, 1, now_s=5.0)
    for n in range(9):
        slots.hold(Destination(f"http://{n}.example:80"))
    assert not slots.is_open(A, 6.0)
    assert slots.waiting == {A: None}


def test_destination_opens_when_others_make_room() -> None:
    slots = Slots(total=16, per_destination=4)
    for _ in range(12):
        slots.hold(B)
    filled(slots, A)
    assert not slots.is_open(A, 0.0)
    release(slots, 12, now_s=1.0, destination=B)
    assert slots.is_open(A, 1.0)


def test_destination_still_waits_when_its_last_slot_came_free() -> None:
    slots = Slots(1000, per_destination=1)
    filled(slots)
    release(slots, 1, now_s=5.0)
    assert A in slots.waiting
    assert slots.is_open(A, 5.0)


def test_destination_with_nothing_due_waits_no_longer() -> None:
    slots = Slots(1000, 1)
    filled(slots, A)
    filled(slots, B)
    slots.keep_waiting({B})
    assert slots.waiting == {B: None}


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.tuples(st.booleans(), st.sampled_from(range(5))), max_size=200),
)
def test_slots_never_exceed_a_limit_nor_leak(
    total: int, per_destination: int, steps: list[tuple[bool, int]]
) -> None:
    slots = Slots(total, per_destination)
    held: Counter[Destination] = Counter()
    for now_s, (is_hold, number) in enumerate(steps):
        destination = Destination(f"http://{number}.example:80")
        if is_hold and slots.free:
            limit = max(1, min(per_destination, slots.free // FREE_SHARE))
            if slots.is_open(destination, now_s):
                assert held[destination] < limit
                slots.hold(destination)
                held[destination] += 1
        elif held[destination]:
            slots.release(destination, now_s)
            held[destination] -= 1
        assert slots.in_use == held.total() <= total
    for destination in held.elements():
        slots.release(destination, 1e6)
    slots.keep_waiting(())
    assert (slots.in_use, slots._held, slots.waiting) == (0, {}, {})
