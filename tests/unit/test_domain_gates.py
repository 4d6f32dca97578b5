from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Final
from uuid import UUID

import pytest

from tests.contract.timers import NOW
from timer_trio.domain.breaker import Breakers
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.flows import FlowNow, FlowReading, Flows
from timer_trio.domain.gates import RESUMED_KEPT_S, Gates
from timer_trio.domain.probes import Granted
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.rules import NOT_PAUSED, FlowRules, Pause, Rate
from timer_trio.domain.timer import Destination, DueTimer, Lane, TimerId

SHOP: Final = ProjectId(7)
LANE: Final = Lane(Destination("https://a.example:443"), SHOP)
OTHER: Final = Lane(Destination("https://b.example:443"), SHOP)
PLAIN: Final = Lane(Destination("https://a.example:443"), DEFAULT_PROJECT)
FLOW: Final = FlowId(SHOP, FlowKey("a"))
PAUSED: Final = Pause(NOW, None)
RESUMED: Final = Pause(None, NOW)
POLICY: Final = BreakerPolicy(failures=2, open_s=30)


def gates() -> Gates:
    flows = Flows()
    flows.take_terms({flow_shard(*FLOW): 1})
    return Gates(flows, Breakers())


def due(number: int = 1, lane: Lane = LANE, flow: FlowId | None = None) -> DueTimer:
    return DueTimer(NOW, TimerId(UUID(int=number)), lane, flow.key if flow else None)


def opened(known: Gates, now_s: float = 0.0) -> list[object]:
    return [*known.take_opened(now_s)]


def fail(known: Gates, number: int, now_s: float = 0.0) -> None:
    assert not known.hold(LANE, LANE, now_s)
    known.begin(due(number))
    known.end(due(number), now_s, has_failed=True)


def grant(known: Gates) -> None:
    """Let it probe; whatever waits is looked at again, as the stage that asked for it does."""
    known.breakers.take(LANE, Granted(NOW), 30.0)
    known.open(LANE)


def test_without_rules_nothing_is_set() -> None:
    known = gates()
    assert not known.are_set
    assert not known.hold(LANE, LANE, 0.0)
    assert (known.opens_s, known.has_opened) == (None, False)
    assert known.held_until_s(LANE, LANE) == -inf


@pytest.mark.parametrize("gate", [SHOP, LANE])
def test_pause_holds_what_it_names_until_it_ends(gate: ProjectId | Lane) -> None:
    known = gates()
    known.set_pause(gate, PAUSED)
    assert known.are_set
    assert known.hold(LANE, LANE, 0.0)
    assert known.hold(OTHER, OTHER, 0.0) is (gate == SHOP)
    assert not known.hold(PLAIN, PLAIN, 0.0)
    assert opened(known) == []
    known.set_pause(gate, RESUMED)
    assert known.has_opened
    assert set(opened(known)) == ({LANE, OTHER} if gate == SHOP else {LANE})
    assert not known.hold(LANE, LANE, 0.0)
    assert known.held_until_s(LANE, LANE) == NOW.timestamp()
    assert known.held_until_s(PLAIN, PLAIN) == -inf
    known.set_pause(gate, NOT_PAUSED)
    assert not known.are_set


def test_pause_of_a_destination_holds_the_flows_that_go_there() -> None:
    known = gates()
    known.flows.know(FLOW, FlowReading())
    known.set_pause(LANE, PAUSED)
    assert known.hold(FLOW, LANE, 0.0)
    known.set_pause(LANE, NOT_PAUSED)
    assert opened(known) == [FLOW]


def test_flow_opens_as_one_ends() -> None:
    known = gates()
    known.flows.know(FLOW, FlowReading(rules=FlowRules(max_in_flight=1)))
    first = due(1, flow=FLOW)
    assert not known.hold(FLOW, LANE, 0.0)
    known.begin(first)
    assert known.hold(FLOW, LANE, 0.0)
    assert opened(known) == []
    known.end(first, 5.0, has_failed=None)
    assert opened(known) == [FLOW]
    assert not known.hold(FLOW, LANE, 6.0)
    assert known.held_until_s(FLOW, LANE) == 6.0


@pytest.mark.parametrize("gate", [LANE, SHOP])
def test_grace_counts_from_when_the_end_of_a_pause_is_heard_of(gate: ProjectId | Lane) -> None:
    known = gates()
    known.set_pause(gate, PAUSED)
    assert known.hold(LANE, LANE, 0.0)
    known.set_pause(gate, RESUMED)
    heard_s = NOW.timestamp() + 100.0
    assert opened(known, heard_s) == [LANE]
    assert known.held_until_s(LANE, LANE) == heard_s
    assert opened(known, heard_s + 1.0) == []
    assert known.held_until_s(LANE, LANE) == heard_s


def test_grace_of_a_whole_flow_counts_from_the_end_of_the_pause_of_its_first_timer() -> None:
    known = gates()
    known.flows.know(FLOW, FlowReading())
    known.set_pause(OTHER, PAUSED)
    assert known.hold(FLOW, OTHER, 0.0)
    known.set_pause(OTHER, RESUMED)
    assert opened(known, 100.0) == [FLOW]
    assert known.held_until_s(FLOW, LANE) == 100.0
    known.set_pause(OTHER, PAUSED)
    known.set_pause(OTHER, RESUMED)
    assert opened(known, 200.0) == []
    assert known.held_until_s(FLOW, LANE) == 100.0
    known.set_pause(OTHER, PAUSED)
    known.set_pause(OTHER, RESUMED)
    assert opened(known, 100.0 + RESUMED_KEPT_S) == []
    assert known.held_until_s(FLOW, LANE) == -inf


def test_flow_opens_as_one_is_given_back() -> None:
    known = gates()
    known.flows.know(FLOW, FlowReading(rules=FlowRules(max_in_flight=1)))
    known.begin(due(1, flow=FLOW))
    assert known.hold(FLOW, LANE, 0.0)
    known.release(due(1, flow=FLOW))
    assert opened(known) == [FLOW]


def test_rate_opens_by_itself_and_tells_when() -> None:
    known = gates()
    known.flows.know(FLOW, FlowReading(rules=FlowRules(rate=Rate(1, 60)), ends_s=[10.0]))
    for _ in range(3):
        assert known.hold(FLOW, LANE, 20.0)
    assert known.opens_s == 70.0
    assert opened(known, 69.0) == []
    assert opened(known, 70.0) == [FLOW]
    assert known.opens_s is None
    assert not known.hold(FLOW, LANE, 70.0)


def test_opening_that_is_no_more_does_nothing() -> None:
    known = gates()
    known.flows.know(FLOW, FlowReading(rules=FlowRules(rate=Rate(1, 60)), ends_s=[10.0]))
    assert known.hold(FLOW, LANE, 20.0)
    known.set_flow_rules(FLOW, FlowRules(rate=Rate(1, 30)))
    assert opened(known, 20.0) == [FLOW]
    assert known.hold(FLOW, LANE, 20.0)
    assert opened(known, 40.0) == [FLOW]
    assert opened(known, 80.0) == []


def test_other_rules_of_a_flow_have_it_looked_at() -> None:
    known = gates()
    known.flows.know(FLOW, FlowReading(rules=FlowRules(paused_at=NOW)))
    assert known.hold(FLOW, LANE, 0.0)
    known.set_flow_rules(FLOW, FlowRules(resumed_at=NOW))
    assert opened(known) == [FLOW]


def test_flow_that_is_lost_is_looked_at_and_read_again() -> None:
    known = gates()
    reading = FlowReading(rules=FlowRules(max_in_flight=1), now=FlowNow([due(1).id]))
    known.flows.know(FLOW, reading)
    assert known.hold(FLOW, LANE, 0.0)
    known.lose([flow_shard(*FLOW)])
    assert opened(known) == [FLOW]
    assert not known.flows.are_wanted
    assert known.hold(FLOW, LANE, 0.0)
    assert known.flows.are_wanted


@pytest.mark.parametrize(("refused", "lost"), [(1, [FLOW]), (2, [])])
def test_claim_that_is_refused_in_a_term_loses_the_flows_of_that_term(
    refused: int, lost: list[FlowId]
) -> None:
    known = gates()
    reading = FlowReading(rules=FlowRules(max_in_flight=1), now=FlowNow([due(1).id]))
    known.flows.know(FLOW, reading)
    assert known.hold(FLOW, LANE, 0.0)
    known.lose_terms({flow_shard(*FLOW): refused})
    assert opened(known) == lost


def test_flows_are_looked_at_when_shards_have_moved() -> None:
    known = gates()
    known.set_pause(LANE, PAUSED)
    assert known.hold(LANE, LANE, 0.0)
    assert known.hold(FLOW, OTHER, 0.0)
    known.open_flows()
    assert opened(known) == [FLOW]


def test_breaker_holds_and_lets_one_probe_go() -> None:
    known = gates()
    known.set_policy(SHOP, POLICY)
    assert known.are_set
    fail(known, 1)
    fail(known, 2)
    assert known.hold(LANE, LANE, 1.0)
    assert not known.hold(OTHER, OTHER, 1.0)
    assert known.opens_s == 30.0
    assert opened(known, 30.0) == [LANE]
    assert known.hold(LANE, LANE, 30.0)
    grant(known)
    assert opened(known, 30.0) == [LANE]
    assert not known.hold(LANE, LANE, 30.0)
    known.begin(due(3))
    assert known.hold(LANE, LANE, 30.0)
    known.end(due(3), 31.0, has_failed=False)
    assert opened(known, 31.0) == [LANE]
    assert not known.hold(LANE, LANE, 31.0)


@pytest.mark.parametrize("is_sent", [False, True])
def test_probe_that_tells_nothing_makes_room_for_another(*, is_sent: bool) -> None:
    known = gates()
    known.set_policy(SHOP, POLICY)
    fail(known, 1)
    fail(known, 2)
    assert known.hold(LANE, LANE, 30.0)
    grant(known)
    assert opened(known, 30.0) == [LANE]
    assert not known.hold(LANE, LANE, 30.0)
    known.begin(due(3))
    assert known.hold(LANE, LANE, 30.0)
    known.release(due(4))  # of which nobody knows that it is no probe
    assert known.hold(LANE, LANE, 30.0)
    if is_sent:
        known.end(due(3), 31.0, has_failed=None)
    else:
        known.release(due(3))
    assert opened(known, 31.0) == [LANE]
    assert not known.hold(LANE, LANE, 31.0)
    assert not known.breakers.have_news
    known.begin(due(5))
    known.release(due(5))  # behind which nobody waits
    assert known.breakers.have_news


def test_other_policy_begins_anew_and_none_ends_it() -> None:
    known = gates()
    known.set_policy(SHOP, POLICY)
    known.set_policy(SHOP, POLICY)
    fail(known, 1)
    fail(known, 2)
    assert known.hold(LANE, LANE, 30.0)
    grant(known)
    assert opened(known, 30.0) == [LANE]
    assert not known.hold(LANE, LANE, 30.0)
    known.begin(due(3))
    assert known.hold(LANE, LANE, 30.0)
    known.set_pause(PLAIN, PAUSED)
    assert known.hold(PLAIN, PLAIN, 0.0)
    known.set_policy(SHOP, replace(POLICY, failures=1))
    assert opened(known, 1.0) == [LANE]
    assert not known.hold(LANE, LANE, 1.0)
    known.set_policy(SHOP, None)
    known.set_policy(SHOP, None)
    known.end(due(3), 2.0, has_failed=True)
    assert not known.hold(LANE, LANE, 2.0)
