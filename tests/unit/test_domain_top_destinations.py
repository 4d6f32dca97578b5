from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import NOW
from timer_trio.domain.destination import NO_ENDS, SPAN, DestinationNow, Ends
from timer_trio.domain.outcome import Delivered, TimedOut
from timer_trio.domain.outcome_tally import OutcomeTally
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import Destination, Lane
from timer_trio.domain.top_destinations import Hand, Top, TopDestinations, in_hand


def to(number: int) -> Destination:
    return Destination(f"https://{number}.example:443")


def ends(count: int) -> Ends:
    return Ends(delivered=count)


def counted(**counts: int) -> Mapping[Destination, Ends]:
    return {to(int(name[1:])): ends(count) for name, count in counts.items()}


def test_each_is_named_at_once_while_there_is_room() -> None:
    top = TopDestinations(most=2)
    assert top.look(counted(d1=3)) == Top({to(1): ends(3)}, NO_ENDS)
    assert top.look(counted(d1=3, d2=1)) == Top({to(1): ends(3), to(2): ends(1)}, NO_ENDS)


def test_of_several_at_once_the_busiest_are_named_and_the_others_summed() -> None:
    top = TopDestinations(most=2)
    found = top.look(counted(d1=1, d2=5, d3=2, d4=3))
    assert found == Top({to(2): ends(5), to(4): ends(3)}, ends(3))


def test_busier_one_takes_a_name_at_the_turn_with_what_comes_from_then_on() -> None:
    top = TopDestinations(most=2)
    span = counted(d1=10, d2=3, d3=9)
    top.look(counted(d1=10, d2=3))
    assert top.look(span) == Top({to(1): ends(10), to(2): ends(3)}, ends(9))
    top.turn(span)
    assert top.look({}) == Top({to(1): ends(10), to(3): NO_ENDS}, ends(9))
    assert top.look(counted(d3=4, d2=1)) == Top({to(1): ends(10), to(3): ends(4)}, ends(10))


def test_one_that_is_little_busier_takes_no_name() -> None:
    top = TopDestinations(most=1)
    top.look(counted(d1=10))
    top.turn(counted(d1=10, d2=19))
    assert to(1) in top.look({}).named
    top.turn(counted(d1=10, d2=20))
    assert to(2) in top.look({}).named


def test_idle_one_loses_its_name_to_one_that_is_called_at_all_twice() -> None:
    top = TopDestinations(most=1)
    top.look(counted(d1=10))
    top.turn({})
    assert to(1) in top.look({}).named
    top.turn(counted(d2=2))
    assert to(2) in top.look({}).named


@given(
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 5), st.integers(1, 40)), st.booleans()),
        max_size=12,
    )
)
def test_what_is_shown_only_rises_and_nothing_is_lost_that_kept_its_name(
    spans: list[tuple[dict[int, int], bool]],
) -> None:
    top = TopDestinations(most=2)
    shown = Top({}, NO_ENDS)
    for counts, is_looked_at_before in spans:
        span = {to(number): ends(count) for number, count in counts.items()}
        if is_looked_at_before:
            half = {each: ends(count.delivered // 2) for each, count in span.items()}
            shown = risen(shown, top.look(half))
            shown = risen(shown, top.look(span))
        top.turn(span)
        shown = risen(shown, top.look({}))
        assert len(shown.named) <= 2


def risen(before: Top, now: Top) -> Top:
    """A name that is new may begin anywhere; what is known by it must not fall."""
    assert now.other.delivered >= before.other.delivered
    for destination in before.named.keys() & now.named.keys():
        assert now.named[destination].delivered >= before.named[destination].delivered
    return now


def test_tally_shows_all_projects_together_over_the_spans() -> None:
    tally = OutcomeTally()
    other_project = ProjectId(7)
    tally.add([(to(1), DEFAULT_PROJECT, Delivered(200), 0.1)], NOW)
    tally.add([(to(1), other_project, TimedOut(), 0.1)], NOW + SPAN)
    assert tally.top() == Top({to(1): Ends(delivered=1, timed_out=1)}, NO_ENDS)


def test_tally_shows_what_it_has_no_room_to_count() -> None:
    tally = OutcomeTally(most=1)
    tally.add([(to(number), DEFAULT_PROJECT, Delivered(200), 0.1) for number in (1, 2, 2)], NOW)
    assert tally.top() == Top({to(1): ends(1)}, ends(2))


def test_tally_counts_nothing_twice_once_the_clock_was_set_back() -> None:
    tally = OutcomeTally()
    one = [(to(1), DEFAULT_PROJECT, Delivered(200), 0.1)]
    tally.add(one, NOW)
    tally.add(one, NOW + SPAN)
    tally.add(one, NOW - timedelta(hours=1))
    tally.add(one, NOW)
    assert tally.top().named == {to(1): ends(4)}


def test_hands_are_added_up_by_destination() -> None:
    lanes = [
        DestinationNow(Lane(to(1), DEFAULT_PROJECT), waiting=1, in_flight=2),
        DestinationNow(Lane(to(1), ProjectId(7)), 10, 20, breaker_open_until=NOW),
        DestinationNow(Lane(to(2), DEFAULT_PROJECT), waiting=4, in_flight=0),
        DestinationNow(Lane(to(3), DEFAULT_PROJECT), waiting=0, in_flight=1),
    ]
    named, other = in_hand(lanes, most=1)
    assert named == {to(1): Hand(11, 22, True)}
    assert other == Hand(4, 1)


def test_what_is_counted_again_is_taken_back_from_the_others() -> None:
    top = TopDestinations(most=1)
    top.look(counted(d1=5))
    top.turn(counted(d1=5, d2=3))
    top.take_back(to(2), ends(3))
    assert top.look(counted(d2=3)) == Top({to(1): ends(5)}, ends(3))
