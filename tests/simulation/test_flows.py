"""Random histories of flows, each out of its seed, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

import pytest

from tests.simulation.changes import Change
from tests.simulation.checkers import broken_promises
from tests.simulation.flow_checkers import broken_flow_promises, tries_of_flows
from tests.simulation.flow_turns import rules_between
from tests.simulation.flows import history_of_busy_flows, history_of_flows
from tests.simulation.history import History, TimerLog, Verdict
from tests.simulation.scenarios import Scenario
from tests.simulation.seeds import met_in, seeds
from timer_trio.domain.flow import FlowId
from timer_trio.domain.timer import Lane

SHARES: Final = {Scenario.FLEET: 1.0, Scenario.CALM: 0.4}
"""How many times as many histories these have: in a fleet all meets all."""
SEEDS: Final = [
    (seed, scenario) for scenario in Scenario for seed in seeds(SHARES.get(scenario, 0.2))
]


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_hold(seed: int, scenario: Scenario) -> None:
    history = history_of_flows(seed, scenario)
    again = f"make soak SEED={seed} HISTORIES=10 ARGS='-k {seed}-{scenario}'"
    assert not [*broken_promises(history), *broken_flow_promises(history)], f"once more: {again}"


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize("seed", seeds(0.2))
@pytest.mark.parametrize("change", [*Change, None])
def test_promises_hold_where_many_wait_as_replicas_come_and_go(
    seed: int, change: Change | None
) -> None:
    history = history_of_busy_flows(seed, change)
    again = f"make soak SEED={seed} HISTORIES=10 ARGS='-k {seed}-{change}'"
    assert not [*broken_promises(history), *broken_flow_promises(history)], f"once more: {again}"


def test_histories_meet_what_may_become_of_a_flow() -> None:
    wanted = {
        "update",
        "cancel",
        "one after the other",
        "at a rate",
        "sent by several",
        "sent again",
        "flow paused",
        "destination paused",
        "project paused",
    }
    histories = (history_of_flows(seed, Scenario.FLEET) for seed in range(1, 13))
    assert met_in(map(_met, histories), wanted) == wanted


def _met(history: History) -> Iterator[str]:
    for timer_log in history.timer_logs:
        if timer_log.flow is not None:
            yield from _become(timer_log)
    for ruling in history.rulings:
        if ruling.rules.paused_at is not None:
            kinds = {FlowId: "flow", Lane: "destination"}
            yield f"{kinds.get(type(ruling.gate), 'project')} paused"
    for flow, tries in tries_of_flows(history).items():
        if len({one.process for one in tries}) > 1:
            yield "sent by several"
        if len(tries) > 1:
            yield from _limits(history, flow)


def _become(timer_log: TimerLog) -> Iterator[str]:
    """Tell what has become of a timer that is more than one callback."""
    for request in timer_log.requests[1:]:
        if request.verdict is Verdict.ACKNOWLEDGED:
            yield request.asked
    if len(timer_log.sends) > 1:
        yield "sent again"


def _limits(history: History, flow: FlowId) -> Iterator[str]:
    """Tell how what was sent of a flow was limited."""
    rules = rules_between(history, flow, -inf, inf)
    if any(each.max_in_flight == 1 for each in rules):
        yield "one after the other"
    if any(each.rate for each in rules):
        yield "at a rate"
