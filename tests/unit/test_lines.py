from __future__ import annotations

from itertools import islice

import pytest
from trio.testing import MockClock

from tests.contract.timers import FIRST, NOW, new_timer
from tests.unit.parts import OTHER
from timer_trio.delivery.firing import Firing
from timer_trio.delivery.lines import MOVES_S, Lines
from timer_trio.domain.timer import ClaimedTimer, Destination, DueTimer

HERE = Destination("http://here.example:80")
THERE = Destination("http://there.example:80")


def firing(destination: Destination = HERE) -> Firing:
    new = new_timer()
    timer = ClaimedTimer(id=new.id, claim=FIRST, attempt=1, requested_at=NOW, spec=new.spec)
    return Firing(timer, DueTimer(NOW, new.id, destination), OTHER, None)


@pytest.fixture
def lines(mock_clock: MockClock) -> Lines:
    assert mock_clock.rate == 0
    return Lines()


async def test_each_destination_has_a_line_in_the_order_of_coming(lines: Lines) -> None:
    first, other, second = firing(), firing(THERE), firing()
    for each in (first, other, second):
        lines.join(each)
    assert lines.take_next(THERE) is other
    assert (HERE in lines, THERE in lines) == (True, False)
    assert [lines.take_next(HERE) for _ in range(3)] == [first, second, None]
    assert not lines


async def test_line_is_stuck_once_nobody_went_out_for_a_while(
    lines: Lines, mock_clock: MockClock
) -> None:
    stuck, moving = [firing() for _ in range(2)], [firing(THERE) for _ in range(3)]
    for each in (*stuck, *moving):
        lines.join(each)
    mock_clock.jump(MOVES_S / 2)
    assert list(lines.take_stuck()) == []
    assert lines.take_next(THERE) is moving[0]
    mock_clock.jump(MOVES_S / 2)
    assert list(lines.take_stuck()) == stuck[:1]
    assert list(lines.take_stuck()) == []
    mock_clock.jump(MOVES_S)
    assert {*map(id, lines.take_stuck())} == {id(stuck[1]), id(moving[1])}


async def test_all_are_taken_by_turns_as_far_as_they_are_wanted(lines: Lines) -> None:
    first, second, other = firing(), firing(), firing(THERE)
    for each in (first, second, other):
        lines.join(each)
    assert list(islice(lines.take_all(), 2)) == [first, other]
    assert list(lines.take_all()) == [second]
