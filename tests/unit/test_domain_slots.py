from __future__ import annotations

from collections import Counter
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.pace import PROMPT_S, WORST_S, Pace, mean_after, pace_of
from timer_trio.domain.project_shares import FREE_SHARE
from timer_trio.domain.slots import MAX_KNOWN, NEW_SLOTS, TOP_UP_PAUSE_S, Slots
from timer_trio.domain.timer import Destination, Lane

A: Final = Lane(Destination("https://a.example:443"))
B: Final = Lane(Destination("https://b.example:443"))


def filled(slots: Slots, destination: Lane = A, now_s: float = 0.0) -> int:
    """Hold as many slots as the destination may have; answers how many."""
    count = 0
    while slots.free and slots.wait_if_full(destination, now_s) is None:
        slots.hold(destination)
        count += 1
    return count


def answer(slots: Slots, *destinations: Lane, in_s: float = 0.01, now_s: float = 0.0) -> None:
    """Let each of some destinations answer one callback."""
    for destination in destinations:
        slots.hold(destination)
        slots.begin(destination, now_s - in_s)
        slots.end(destination, now_s, in_s)


def release(slots: Slots, count: int, now_s: float, destination: Lane = A) -> None:
    for _ in range(count):
        slots.release(destination, now_s)


def proven_slots(total: int, per_destination: int) -> Slots:
    """Make slots of which A and B have had one, and answered in good time."""
    slots = Slots(total, per_destination)
    answer(slots, A, B)
    slots.take_changed()
    return slots


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
    slots = proven_slots(total, per_destination)
    assert filled(slots) == count
    assert slots.free == total - count


def test_destination_may_always_hold_one() -> None:
    slots = proven_slots(total=3, per_destination=100)
    assert [filled(slots, A), filled(slots, B)] == [1, 1]


def test_twenty_greedy_destinations_leave_room_for_another() -> None:
    slots = proven_slots(total=1000, per_destination=100)
    greedy = [Lane(Destination(f"http://{n}.example:80")) for n in range(21)]
    answer(slots, *greedy)
    assert min(filled(slots, destination) for destination in greedy) >= 1


def test_full_destination_is_closed_until_a_slot_comes_free() -> None:
    slots = proven_slots(1000, 100)
    filled(slots)
    assert slots.waiting == {A: None}
    assert slots.opens_s(A, 5.0) is None
    assert slots.wait_if_full(A, 1e6) == A


def test_full_destination_is_topped_up_when_a_quarter_is_free() -> None:
    slots = proven_slots(1000, 100)
    filled(slots)
    release(slots, 24, now_s=5.0)
    assert slots.wait_if_full(A, 5.0) == A
    release(slots, 1, now_s=5.0)
    assert slots.wait_if_full(A, 5.0) is None
    assert not slots.waiting


def test_full_destination_is_topped_up_soon_after_the_first_came_free() -> None:
    slots = proven_slots(1000, 100)
    filled(slots)
    release(slots, 1, now_s=5.0)
    release(slots, 1, now_s=5.005)
    assert slots.opens_s(A, 5.0) == 5.0 + TOP_UP_PAUSE_S
    assert slots.wait_if_full(A, 5.005) == A
    assert slots.wait_if_full(A, 5.0 + TOP_UP_PAUSE_S) is None
    assert slots.opens_s(A, 5.0) is None


def test_destination_that_never_was_full_has_no_pause() -> None:
    slots = proven_slots(1000, 100)
    for _ in range(99):
        slots.hold(A)
    release(slots, 1, now_s=5.0)
    assert slots.wait_if_full(A, 5.0) is None


def test_destination_that_others_squeezed_waits_for_a_slot_of_its_own() -> None:
    slots = proven_slots(total=16, per_destination=4)
    filled(slots, A)
    release(slots, 1, now_s=5.0)
    for n in range(9):
        slots.hold(Lane(Destination(f"http://{n}.example:80")))
    assert slots.wait_if_full(A, 6.0) == A
    assert slots.waiting == {A: None}


def test_destination_opens_when_others_make_room() -> None:
    slots = proven_slots(total=16, per_destination=4)
    for _ in range(12):
        slots.hold(B)
    filled(slots, A)
    assert slots.wait_if_full(A, 0.0) == A
    release(slots, 12, now_s=1.0, destination=B)
    assert slots.wait_if_full(A, 1.0) is None


def test_destination_still_waits_when_its_last_slot_came_free() -> None:
    slots = proven_slots(1000, per_destination=1)
    filled(slots)
    release(slots, 1, now_s=5.0)
    assert A in slots.waiting
    assert slots.wait_if_full(A, 5.0) is None


def test_destination_with_nothing_due_waits_no_longer() -> None:
    slots = proven_slots(1000, 1)
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
    held: Counter[Lane] = Counter()
    for now_s, (is_hold, number) in enumerate(steps):
        destination = Lane(Destination(f"http://{number}.example:80"))
        if is_hold and slots.free:
            limit = max(1, min(per_destination, slots.free // FREE_SHARE))
            if slots.wait_if_full(destination, now_s) is None:
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
    assert (slots.in_use, slots.waiting) == (0, {})
    unused = Slots(total, per_destination)
    assert [slots.let_in(pace, 1e6) for pace in Pace] == [unused.let_in(pace, 0.0) for pace in Pace]


# New, prompt and slow destinations.


def many(name: str, count: int) -> list[Lane]:
    return [Lane(Destination(f"http://{number}.{name}.example:80")) for number in range(count)]


@pytest.mark.parametrize(("total", "new", "slow"), [(1000, 218, 500), (16, 3, 8), (1, 1, 1)])
def test_new_destinations_share_a_quarter_of_what_slow_ones_leave(
    total: int, new: int, slow: int
) -> None:
    slots = Slots(total, 100)
    assert slots.let_in(Pace.NEW, 0.0) == new
    assert slots.let_in(Pace.SLOW, 0.0) == slow
    assert slots.let_in(Pace.PROMPT, 0.0) == total


def test_slow_destination_leaves_others_some_of_what_slow_ones_may_hold() -> None:
    slots = Slots(1000, 1000)
    slow = many("slow", 5)
    answer(slots, *slow, in_s=3.0)
    assert [filled(slots, destination) for destination in slow] == [100, 80, 64, 51, 41]


def test_destination_is_slow_that_has_not_answered_for_a_second() -> None:
    slots = Slots(1000, 100)
    slots.hold(A)
    slots.begin(A, 5.0)
    assert slots.awaits_answer(A)
    assert slots.let_in(Pace.NEW, 5.999) == 217
    assert slots.opens_s(Pace.NEW, 5.0) == 5.0 + PROMPT_S
    assert slots.let_in(Pace.NEW, 6.0) == 874 // 4
    assert slots.let_in(Pace.SLOW, 6.0) == 500 - 1


def test_new_destination_holds_a_share_of_the_first_ones_until_it_has_answered() -> None:
    slots = Slots(1000, 100)
    first = filled(slots)
    assert first == 22  # of a half of 218, a quarter of what is then free
    assert slots.wait_if_full(A, 0.0) == A
    slots.begin(A, 0.0)
    slots.end(A, 0.01, 0.01)
    assert slots.take_changed() == {A}
    assert first - 1 + filled(slots) == 100


def test_first_new_destinations_leave_a_few_slots_to_each_of_many_later_ones() -> None:
    slots = Slots(1000, 100)
    counts = [filled(slots, destination) for destination in many("new", 50)]
    served = [count for count in counts if count]
    assert served[:4] == [22, 17, 14, 11]
    assert (sum(counts), len(served)) == (218, 40)
    assert set(served[9:-1]) == {NEW_SLOTS}


def test_a_dozen_silent_destinations_leave_room_for_new_ones() -> None:
    slots = Slots(1000, 100)
    silent = many("silent", 12)
    for second in range(300):
        for destination in silent:
            before = filled(slots, destination, second)
            for _ in range(before):
                slots.begin(destination, second)
    assert slots.in_use <= 500
    assert slots.let_in(Pace.NEW, 300.0) >= 90


def test_claimed_and_unsent_is_no_silence() -> None:
    slots = Slots(1000, 100)
    slots.hold(A)
    assert not slots.awaits_answer(A)
    assert slots.let_in(Pace.NEW, 1e6) == 217


def test_destination_that_answers_some_of_many_is_not_silent() -> None:
    slots = Slots(1000, 100)
    for _ in range(9):
        slots.hold(A)
        slots.begin(A, 0.0)
    for second in range(1, 9):
        slots.end(A, second * 0.9, 0.1)
        slots.let_in(Pace.NEW, second * 0.9)
    assert not slots.is_unproven(A)
    assert slots.let_in(Pace.SLOW, 8.1) == 500
    assert slots.let_in(Pace.SLOW, 8.3) == 500 - 1


def test_destination_that_answers_again_is_soon_prompt() -> None:
    slots = Slots(1000, 100)
    answer(slots, A, in_s=30.0)
    for _ in range(5):
        assert slots.is_unproven(A)
        assert slots.wait_if_full(A, 0.0) is None
        answer(slots, A)
    assert not slots.is_unproven(A)


def test_ending_that_tells_nothing_leaves_a_destination_as_it_was() -> None:
    slots = Slots(1000, 100)
    answer(slots, A)
    slots.hold(A)
    slots.begin(A, 0.0)
    slots.end(A, 9.0, None)
    assert not slots.is_unproven(A)


def test_destination_is_unproven_until_it_answers_in_good_time() -> None:
    slots = Slots(1000, 100)
    assert slots.is_unproven(A)
    answer(slots, A)
    assert not slots.is_unproven(A)
    answer(slots, A, in_s=30.0)
    assert slots.is_unproven(A)


def test_change_of_pace_is_told_once() -> None:
    slots = Slots(1000, 100)
    answer(slots, A)
    assert slots.unproven_wait
    assert slots.take_changed() == {A}
    assert not slots.unproven_wait
    answer(slots, A)
    assert slots.take_changed() == set()


def test_slots_that_come_free_are_wanted_while_somebody_waits_with_others_of_its_pace() -> None:
    slots = Slots(16, 16)
    for destination in many("new", 3):
        slots.hold(destination)
    assert slots.wait_if_full(A, 0.0) is Pace.NEW
    assert slots.unproven_wait
    slots.keep_waiting({Pace.NEW})
    assert slots.unproven_wait
    slots.keep_waiting(())
    assert not slots.unproven_wait


def test_those_that_wait_with_others_are_let_in_in_chunks() -> None:
    slots = Slots(1000, 100)
    destinations = many("new", 218)
    for destination in destinations:
        slots.hold(destination)
    assert slots.let_in(Pace.NEW, 0.0) == 0
    slots.release(destinations[0], 5.0)
    assert slots.let_in(Pace.NEW, 5.0) == 0
    assert slots.opens_s(Pace.NEW, 5.0) == 5.0 + TOP_UP_PAUSE_S
    assert slots.let_in(Pace.NEW, 5.0 + TOP_UP_PAUSE_S) == 1


def test_what_is_remembered_of_destinations_has_an_end() -> None:
    slots = Slots(1000, 100)
    slots.hold(A)
    answer(slots, A)
    answer(slots, *many("other", MAX_KNOWN + 100))
    assert len(slots._loads) <= MAX_KNOWN + 1
    assert (slots.in_use, slots.is_unproven(A)) == (1, False)


def test_nothing_is_remembered_of_who_was_sent_nothing() -> None:
    slots = Slots(1000, 100)
    slots.hold(A)
    slots.release(A, 0.0)
    assert not slots._loads


def test_a_long_silence_makes_any_destination_slow() -> None:
    assert pace_of(None) is Pace.NEW
    assert pace_of(mean_after(None, 0.999)) is Pace.PROMPT
    assert pace_of(mean_after(None, 1.0)) is Pace.SLOW
    assert pace_of(mean_after(0.0, WORST_S)) is Pace.SLOW
    assert mean_after(0.5, 300.0) == mean_after(0.5, WORST_S)


def test_slots_are_shared_by_all_claimers_and_each_has_its_own_waiting() -> None:
    slots = proven_slots(8, 2)
    assert not slots.are_shared
    others = slots.beside()
    assert slots.are_shared
    heard: list[tuple[str, Lane]] = []
    slots.on_freed = lambda lane: heard.append(("first", lane))
    others.on_freed = lambda lane: heard.append(("second", lane))

    assert filled(slots) == 1
    assert others.in_use == 1
    assert others.wait_if_full(A, 0.0) == A
    assert slots.waiting == {A: None}
    slots.keep_waiting([])
    slots.release(A, 5.0)
    slots.tell_freed(A)

    assert others.waiting == {A: 5.0}
    assert others.free == 8
    assert heard == [("first", A), ("second", A)]


def test_change_of_pace_is_told_to_all_claimers() -> None:
    slots = proven_slots(8, 2)
    others = slots.beside()

    answer(others, A, in_s=60.0)

    assert slots.take_changed() == others.take_changed() == {A}
