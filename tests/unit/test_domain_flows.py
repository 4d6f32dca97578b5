from __future__ import annotations

from math import inf
from typing import Final
from uuid import UUID

import pytest

from tests.contract.timers import NOW
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.flows import MANY_GONE, FlowNow, FlowReading, Flows
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.rules import FlowRules, Rate
from timer_trio.domain.timer import TimerId

FLOW: Final = FlowId(DEFAULT_PROJECT, FlowKey("a"))
OTHER: Final = FlowId(DEFAULT_PROJECT, FlowKey("b"))
SHARD: Final = flow_shard(*FLOW)
ALL: Final = frozenset(range(256))
TWO: Final = FlowRules(max_in_flight=2)
RATE: Final = FlowRules(rate=Rate(2, 60))


def timer(number: int) -> TimerId:
    return TimerId(UUID(int=number))


def known(reading: FlowReading, *, most: int = 20_000) -> Flows:
    flows = Flows(most=most)
    flows.wait_s(FLOW, 0.0)
    flows.take_terms(dict.fromkeys(flows.take_wanted(ALL, 10).shards, 1))
    flows.know(FLOW, reading)
    return flows


def test_nothing_goes_before_its_flow_is_known() -> None:
    flows = Flows()
    assert flows.wait_s(FLOW, 0.0) == inf
    assert flows.held_until_s(FLOW) == -inf
    assert flows.are_wanted
    wanted = flows.take_wanted(ALL, 10)
    assert (wanted.flows, wanted.shards) == ([FLOW], {SHARD})
    assert not flows.are_wanted


def test_term_is_taken_once_and_only_of_our_own_shards() -> None:
    flows = known(FlowReading())
    flows.want([FLOW, OTHER])
    wanted = flows.take_wanted({SHARD}, 10)
    assert (wanted.flows, wanted.shards) == ([FLOW], set())
    assert not flows.are_wanted


def test_as_many_are_taken_as_are_asked_for() -> None:
    flows = Flows()
    flows.want([FLOW, OTHER])
    assert len(flows.take_wanted(ALL, 1).flows) == 1
    assert flows.are_wanted


def test_what_is_read_of_a_shard_that_is_not_ours_is_not_known() -> None:
    flows = Flows()
    flows.know(FLOW, FlowReading())
    assert len(flows) == 0


def test_flow_without_rules_lets_all_go() -> None:
    flows = known(FlowReading())
    for number in range(100):
        assert flows.wait_s(FLOW, 1.0) is None
        flows.begin(FLOW, timer(number))


def test_limit_holds_until_one_has_ended() -> None:
    flows = known(FlowReading(rules=TWO))
    for number in range(2):
        assert flows.wait_s(FLOW, 1.0) is None
        flows.begin(FLOW, timer(number))
    assert flows.wait_s(FLOW, 1.0) == inf
    flows.end(FLOW, timer(0), 5.0)
    assert flows.wait_s(FLOW, 6.0) is None
    assert flows.held_until_s(FLOW) == 6.0


@pytest.mark.parametrize("is_sent", [False, True])
def test_what_was_not_sent_counts_no_more(*, is_sent: bool) -> None:
    flows = known(FlowReading(rules=FlowRules(max_in_flight=1, rate=Rate(1, 60))))
    flows.begin(FLOW, timer(1))
    if is_sent:
        flows.end(FLOW, timer(1), 2.0)
        assert flows.wait_s(FLOW, 3.0) == 62.0
    else:
        flows.release(FLOW, timer(1))
        assert flows.wait_s(FLOW, 3.0) is None
    flows.release(FLOW, timer(1))


def test_what_others_have_in_flight_counts_until_it_has_ended() -> None:
    flows = known(FlowReading(rules=TWO, now=FlowNow([timer(1), timer(2)])))
    assert flows.ending_elsewhere == [FLOW]
    assert flows.wait_s(FLOW, 1.0) == inf
    assert not flows.note_executing(FLOW, [timer(1), timer(2), timer(3)], 2.0)
    assert flows.note_executing(FLOW, [timer(2)], 2.0)
    assert flows.wait_s(FLOW, 2.0) is None
    assert flows.note_executing(FLOW, [], 3.0)
    assert flows.ending_elsewhere == []


def test_what_is_our_own_is_not_counted_twice() -> None:
    flows = Flows()
    flows.begin(FLOW, timer(1))
    flows.take_terms({SHARD: 1})
    flows.know(FLOW, FlowReading(rules=TWO, now=FlowNow([timer(1)])))
    assert flows.wait_s(FLOW, 1.0) is None


def test_flow_is_read_again_where_what_was_taken_for_our_own_is_not() -> None:
    flows = Flows()
    flows.take_terms({SHARD: 1})
    flows.begin(FLOW, timer(1))
    flows.begin(FLOW, timer(2))
    flows.know(FLOW, FlowReading(rules=TWO, now=FlowNow([timer(1), timer(2), timer(3)])))
    flows.end(FLOW, timer(1), 2.0)
    flows.release(FLOW, timer(1))
    assert not flows.are_wanted
    flows.release(FLOW, timer(2))
    assert flows.ending_elsewhere == []
    assert flows.wait_s(FLOW, 3.0) == inf
    assert flows.are_wanted


def test_what_is_known_already_is_newer_than_a_reading() -> None:
    flows = known(FlowReading(rules=RATE))
    flows.begin(FLOW, timer(1))
    flows.end(FLOW, timer(1), 5.0)
    flows.know(FLOW, FlowReading())
    flows.begin(FLOW, timer(2))
    assert flows.wait_s(FLOW, 6.0) == 65.0


def test_what_ends_while_a_flow_is_read_counts_once() -> None:
    flows = Flows()
    flows.take_terms({SHARD: 1})
    flows.begin(FLOW, timer(1))
    flows.begin(FLOW, timer(2))
    flows.want([FLOW])
    flows.take_wanted(ALL, 10)
    flows.end(FLOW, timer(1), 5.0)
    flows.end(FLOW, timer(2), 6.0)
    flows.know(FLOW, FlowReading(rules=RATE, now=FlowNow([timer(2)])))
    assert flows.wait_s(FLOW, 7.0) == 65.0
    flows.note_executing(FLOW, [], 8.0)
    assert flows.wait_s(FLOW, 65.0) is None


def test_rate_counts_a_whole_window_from_the_end() -> None:
    flows = known(FlowReading(rules=RATE))
    for number, ends_s in ((1, 10.0), (2, 25.0)):
        assert flows.wait_s(FLOW, ends_s) is None
        flows.begin(FLOW, timer(number))
        flows.end(FLOW, timer(number), ends_s)
    assert flows.wait_s(FLOW, 69.999) == 70.0
    assert flows.wait_s(FLOW, 70.0) is None
    flows.begin(FLOW, timer(3))
    assert flows.wait_s(FLOW, 71.0) == 85.0


def test_what_is_in_flight_counts_against_the_rate() -> None:
    flows = known(FlowReading(rules=RATE))
    for number in (1, 2):
        flows.begin(FLOW, timer(number))
    assert flows.wait_s(FLOW, 1.0) == inf


def test_rate_goes_on_where_the_one_before_was() -> None:
    flows = known(FlowReading(rules=RATE, ends_s=[40.0, 50.0], last_end_s=50.0))
    assert flows.wait_s(FLOW, 60.0) == 100.0
    assert flows.held_until_s(FLOW) == 50.0


def test_what_ended_elsewhere_counts_against_the_rate() -> None:
    flows = known(FlowReading(rules=RATE, now=FlowNow([timer(1), timer(2)])))
    flows.note_executing(FLOW, [], 30.0)
    assert flows.wait_s(FLOW, 31.0) == 90.0


def test_pause_holds_and_its_end_tells_since_when_nothing_does() -> None:
    flows = known(FlowReading())
    flows.change(FLOW, FlowRules(paused_at=NOW))
    assert flows.wait_s(FLOW, 1.0) == inf
    flows.change(FLOW, FlowRules(resumed_at=NOW))
    assert flows.wait_s(FLOW, 2.0) is None
    assert flows.held_until_s(FLOW) == NOW.timestamp()


def test_limit_that_is_new_is_read_with_what_is_in_flight() -> None:
    flows = known(FlowReading())
    flows.change(FLOW, TWO)
    assert flows.wait_s(FLOW, 1.0) == inf
    assert flows.take_wanted(ALL, 10).flows == [FLOW]


def test_limit_that_is_another_holds_at_once() -> None:
    flows = known(FlowReading(rules=TWO))
    flows.begin(FLOW, timer(1))
    flows.change(FLOW, FlowRules(max_in_flight=1))
    assert flows.wait_s(FLOW, 1.0) == inf
    flows.change(FLOW, FlowRules())
    assert flows.wait_s(FLOW, 1.0) is None


def test_change_of_what_is_not_known_is_none() -> None:
    flows = Flows()
    flows.change(FLOW, TWO)
    assert len(flows) == 0


def test_lost_shard_is_forgotten() -> None:
    flows = known(FlowReading(rules=TWO, now=FlowNow([timer(1)])))
    flows.lose({SHARD ^ 1})
    assert len(flows) == 1
    flows.lose({SHARD})
    assert (len(flows), flows.ending_elsewhere) == (0, [])
    assert flows.wait_s(FLOW, 1.0) == inf
    assert flows.take_wanted(ALL, 10).shards == {SHARD}


def test_end_of_a_flow_that_is_not_known_any_more_counts_nowhere() -> None:
    flows = known(FlowReading(rules=RATE))
    flows.begin(FLOW, timer(1))
    flows.lose({SHARD})
    flows.end(FLOW, timer(1), 1.0)
    flows.end(FLOW, timer(2), 1.0)
    assert not flows.note_executing(FLOW, [], 1.0)


def test_of_many_flows_those_with_nothing_in_flight_are_forgotten() -> None:
    flows = Flows(most=10)
    flows.take_terms(dict.fromkeys(ALL, 1))
    named = [FlowId(DEFAULT_PROJECT, FlowKey(str(number))) for number in range(12)]
    flows.begin(named[0], timer(1))
    for flow in named[:11]:
        flows.know(flow, FlowReading(rules=TWO))
    assert len(flows) == 11  # the oldest has something in flight
    flows.release(named[0], timer(1))
    flows.know(named[11], FlowReading(rules=TWO))
    assert len(flows) == 11


def test_flow_is_read_anew_once_claims_have_found_nothing_for_long() -> None:
    flows = known(FlowReading(rules=TWO))
    told = [flows.note_claim(FLOW, 1, is_any_taken=False) for _ in range(2 * MANY_GONE)]
    assert [place for place, is_stale in enumerate(told, 1) if is_stale] == [8, 16]


def test_claim_that_finds_one_tells_that_a_flow_is_known() -> None:
    flows = known(FlowReading(rules=TWO))
    assert not flows.note_claim(FLOW, MANY_GONE - 1, is_any_taken=False)
    assert not flows.note_claim(FLOW, MANY_GONE, is_any_taken=True)
    assert not flows.note_claim(FLOW, 1, is_any_taken=False)
    assert flows.note_claim(FLOW, MANY_GONE - 1, is_any_taken=False)


def test_flow_that_is_not_known_is_not_read_anew() -> None:
    assert not Flows().note_claim(FLOW, MANY_GONE, is_any_taken=False)
