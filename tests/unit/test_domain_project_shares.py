from __future__ import annotations

import pytest

from timer_trio.domain.pace import Pace
from timer_trio.domain.project import ProjectId
from timer_trio.domain.project_shares import ProjectShares
from timer_trio.domain.slots import TOP_UP_PAUSE_S, Slots
from timer_trio.domain.timer import Destination, Lane

SHOP, OTHER = ProjectId(1), ProjectId(2)


def lane(number: int, project: ProjectId = SHOP) -> Lane:
    return Lane(Destination(f"https://{number}.example:443"), project)


def proven(slots: Slots, *lanes: Lane) -> None:
    for each in lanes:
        slots.hold(each)
        slots.begin(each, 0.0)
        slots.end(each, 0.01, 0.01)
    slots.take_changed()


def filled(slots: Slots, project: ProjectId) -> int:
    """Hold as many slots as a project gets, of many destinations."""
    lanes = [lane(number, project) for number in range(200)]
    proven(slots, *lanes)
    count = 0
    for each in lanes:
        while slots.wait_if_full(each, 0.0) is None:
            slots.hold(each)
            count += 1
    return count


@pytest.mark.parametrize(
    ("limit", "living", "others_exist", "most"),
    [
        (None, 1, False, None),
        (None, 1, True, 25),
        (10, 1, False, 10),
        (10, 1, True, 10),
        (80, 1, True, 25),
        (10, 3, False, 3),
        (2, 3, False, 1),
    ],
)
def test_what_a_project_may_hold_of_a_hundred_free_slots(
    limit: int | None, living: int, most: int | None, *, others_exist: bool
) -> None:
    shares = ProjectShares(lambda: living)
    shares.others_exist = others_exist
    shares.set_limit(SHOP, limit)
    assert shares.most_of(SHOP, 100) == most


def test_limit_that_is_taken_away_is_none() -> None:
    shares = ProjectShares()
    shares.set_limit(SHOP, 3)
    shares.set_limit(SHOP, None)
    shares.set_limit(OTHER, None)
    assert shares.most_of(SHOP, 100) is None


def test_last_slot_is_anybodys() -> None:
    shares = ProjectShares()
    shares.others_exist = True
    assert shares.most_of(SHOP, 3) == 1


def test_project_alone_holds_all_slots() -> None:
    assert filled(Slots(100, 100), SHOP) == 100


def test_project_among_others_leaves_three_quarters_of_what_is_free() -> None:
    shares = ProjectShares()
    shares.others_exist = True
    slots = Slots(100, 100, shares)
    assert filled(slots, SHOP) == 20
    assert filled(slots, OTHER) == 16


def test_full_project_waits_as_one_and_its_next_slot_lets_it_in() -> None:
    shares = ProjectShares()
    shares.set_limit(SHOP, 1)
    slots = Slots(100, 100, shares)
    proven(slots, lane(1), lane(2), lane(3, OTHER))
    slots.hold(lane(1))
    assert slots.wait_if_full(lane(2), 0.0) == SHOP
    assert slots.wait_if_full(lane(3, OTHER), 0.0) is None
    slots.keep_waiting([SHOP])
    assert slots.opens_s(SHOP, 0.0) is None
    slots.release(lane(1), 1.0)
    assert slots.opens_s(SHOP, 1.0) == 1.0 + TOP_UP_PAUSE_S
    assert slots.wait_if_full(lane(2), 1.0) is None


def test_room_is_what_is_worth_a_look() -> None:
    shares = ProjectShares()
    shares.set_limit(SHOP, 10)
    slots = Slots(100, 8, shares)
    proven(slots, lane(1))
    assert slots.room(SHOP, 0.0) == 10
    assert slots.room(OTHER, 0.0) == 100
    assert slots.room(lane(1), 0.0) == 8
    assert slots.room(lane(2), 0.0) == 4
    assert slots.room(Pace.PROMPT, 0.0) == 100
    for _ in range(10):
        slots.hold(lane(1))
    assert slots.room(SHOP, 0.0) == 1
    assert slots.room(lane(1), 0.0) == 1
    assert dict(slots.held()) == {lane(1): 10}
