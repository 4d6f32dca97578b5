from __future__ import annotations

from typing import Final

import pytest

from tests.contract.timers import ALICE, BOB, NOW
from timer_trio.domain.destination import DestinationNow
from timer_trio.domain.in_hand import InHand, News
from timer_trio.domain.timer import Destination, Lane

A, B, C = (Lane(Destination(f"https://{letter}.example:443")) for letter in "abc")
MANY: Final = 100


def told(in_hand: InHand, *current: DestinationNow) -> News:
    in_hand.look(current, ALICE)
    news = in_hand.take(MANY)
    in_hand.confirm(news)
    return news


@pytest.fixture
def in_hand() -> InHand:
    return InHand()


def test_nothing_in_hand_is_no_news(in_hand: InHand) -> None:
    assert told(in_hand) == told(in_hand, DestinationNow(A, 0, 0)) == ([], [])


def test_only_what_has_changed_is_news(in_hand: InHand) -> None:
    first = [DestinationNow(A, 1, 0), DestinationNow(B, 0, 1), DestinationNow(C, 0, 0, NOW)]
    assert told(in_hand, *first) == (first, [])
    assert told(in_hand, *first) == ([], [])
    changed = DestinationNow(B, 2, 1)
    assert told(in_hand, first[0], changed, first[2]) == ([changed], [])


def test_what_is_gone_is_told_once(in_hand: InHand) -> None:
    told(in_hand, DestinationNow(A, 1, 0), DestinationNow(B, 1, 0))
    assert told(in_hand, DestinationNow(A, 1, 0), DestinationNow(B, 0, 0)) == ([], [B])
    assert told(in_hand, DestinationNow(A, 1, 0)) == ([], [])


def test_what_nobody_has_confirmed_is_told_again(in_hand: InHand) -> None:
    now = DestinationNow(A, 1, 0)
    in_hand.look([now], ALICE)
    assert in_hand.take(MANY) == in_hand.take(MANY) == ([now], [])


def test_what_may_have_been_heard_is_taken_back_once_it_is_gone(in_hand: InHand) -> None:
    in_hand.look([DestinationNow(A, 1, 0)], ALICE)
    in_hand.take(MANY)
    in_hand.look([], ALICE)
    for _ in range(2):
        news = in_hand.take(MANY)
        assert news == ([], [A])
    in_hand.confirm(news)
    assert in_hand.take(MANY) == ([], [])


def test_change_back_is_told_if_the_change_may_have_been_heard(in_hand: InHand) -> None:
    before = DestinationNow(A, 1, 0)
    told(in_hand, before)
    in_hand.look([DestinationNow(A, 2, 0)], ALICE)
    in_hand.take(MANY)
    assert told(in_hand, before) == ([before], [])


def test_news_of_many_lanes_are_told_page_by_page(in_hand: InHand) -> None:
    told(in_hand, DestinationNow(A, 1, 0))
    rest = [DestinationNow(B, 1, 0), DestinationNow(C, 1, 0)]
    in_hand.look(rest, ALICE)
    pages = []
    while (news := in_hand.take(2)).size:
        in_hand.confirm(news)
        pages.append(news)
    assert pages == [(rest, []), ([], [A])]


def test_under_another_id_all_of_it_is_news(in_hand: InHand) -> None:
    now = DestinationNow(A, 1, 0)
    told(in_hand, now, DestinationNow(B, 1, 0))
    in_hand.look([now], BOB)
    assert in_hand.take(MANY) == ([now], [])


def test_breakers_that_are_not_closed_are_counted(in_hand: InHand) -> None:
    in_hand.look([DestinationNow(A, 1, 0), DestinationNow(B, 0, 0, NOW)], ALICE)
    assert (in_hand.open_breakers, in_hand.is_nothing) == (1, False)
    in_hand.look([], ALICE)
    assert (in_hand.open_breakers, in_hand.is_nothing) == (0, True)


def test_what_is_in_hand_is_shown_without_what_is_not(in_hand: InHand) -> None:
    now = DestinationNow(A, 1, 0)
    told(in_hand, now, DestinationNow(B, 0, 0))
    assert [*in_hand.current] == [now]
