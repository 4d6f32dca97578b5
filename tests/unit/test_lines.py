from __future__ import annotations

from itertools import islice

import pytest

from tests.contract.timers import FIRST, NOW, new_timer
from tests.unit.parts import OTHER
from timer_trio.delivery.firing import Firing
from timer_trio.delivery.lines import FAIR_TURNS, GROWTH, Lines
from timer_trio.domain.timer import ClaimedTimer, Destination, DueTimer, Lane

HERE = Destination("http://here.example:80")
THERE = Destination("http://there.example:80")


def firing(destination: Destination = HERE) -> Firing:
    new = new_timer()
    timer = ClaimedTimer(id=new.id, claim=FIRST, attempt=1, requested_at=NOW, spec=new.spec)
    return Firing(timer, DueTimer(NOW, new.id, Lane(destination)), OTHER, None)


@pytest.fixture
def lines() -> Lines:
    return Lines()


def line_up(lines: Lines, count: int, destination: Destination = HERE) -> list[Firing]:
    waiting = [firing(destination) for _ in range(count)]
    for each in waiting:
        lines.join(each)
    return waiting


def test_each_destination_has_a_line_in_the_order_of_coming(lines: Lines) -> None:
    first, second = line_up(lines, 2)
    (other,) = line_up(lines, 1, THERE)
    assert lines.take_next(THERE) is other
    assert (HERE in lines, THERE in lines) == (True, False)
    assert [lines.take_next(HERE) for _ in range(3)] == [first, second, None]
    assert not lines


def test_line_is_stuck_while_nothing_ends(lines: Lines) -> None:
    waiting = line_up(lines, 10)
    assert list(lines.take_stuck()) == waiting[:1]
    assert list(lines.take_stuck()) == waiting[1 : 1 + GROWTH]
    lines.take_next(THERE)
    assert list(lines.take_stuck()) == []
    assert list(lines.take_stuck()) == waiting[1 + GROWTH :]
    assert not lines


def test_line_is_stuck_once_others_have_moved_often(lines: Lines) -> None:
    waiting = line_up(lines, 3)
    line_up(lines, 3 * FAIR_TURNS, THERE)
    for _ in range(2 * FAIR_TURNS - 1):
        lines.take_next(THERE)
    assert list(lines.take_stuck()) == []
    lines.take_next(THERE)
    assert list(lines.take_stuck()) == waiting[:1]


def test_what_was_left_by_one_look_comes_first_at_the_next(lines: Lines) -> None:
    here, there = line_up(lines, 9), line_up(lines, 9, THERE)
    assert list(islice(lines.take_stuck(), 1)) == here[:1]
    assert next(lines.take_stuck()) == there[0]


def test_all_are_taken(lines: Lines) -> None:
    waiting = [*line_up(lines, 2), *line_up(lines, 1, THERE)]
    assert list(lines.take_all()) == waiting
    assert not lines
