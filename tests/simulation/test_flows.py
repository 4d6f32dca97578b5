"""Random histories of flows, each out of its seed, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.simulation.changes import Change
from tests.simulation.checkers import broken_promises
from tests.simulation.flow_checkers import (
    broken_flow_promises,
    changes_of,
    flows_of,
    tries_of_flows,
)
from tests.simulation.flows import history_of_busy_flows, history_of_flows
from tests.simulation.history import History, Verdict
from tests.simulation.scenarios import Scenario
from tests.simulation.seeds import seeds
from timer_trio.domain.flow import FlowId
from timer_trio.domain.timer import Lane

SHARES: Final = {Scenario.FLEET: 1.0, Scenario.CALM: 0.4}
"""How many times as many histories these have: in a fleet all meets all."""
SEEDS: Final = [
    (seed, scenario) for scenario in Scenario for seed in seeds(SHARES.get(scenario, 0.2))
]


@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_hold(seed: int, scenario: Scenario) -> None:
    history = history_of_flows(seed, scenario)
    again = f"make soak SEED={seed} HISTORIES=10 ARGS='-k {seed}-{scenario}'"
    assert not [*broken_promises(history), *broken_flow_promises(history)], f"once more: {again}"


@pytest.mark.parametrize("seed", seeds(0.2))
@pytest.mark.parametrize("change", [*Change, None])
def test_promises_hold_where_many_wait_as_replicas_come_and_go(
    seed: int, change: Change | None
) -> None:
    history = history_of_busy_flows(seed, change)
    again = f"make soak SEED={seed} HISTORIES=10 ARGS='-k {seed}-{change}'"
    assert not [*broken_promises(history), *broken_flow_promises(history)], f"once more: {again}"


def test_histories_meet_what_may_become_of_a_flow() -> None:
    met: set[str] = set()
    for seed in range(1, 13):
        met |= {*_met(history_of_flows(seed, Scenario.FLEET))}
    assert met == {
        "update",
        "cancel",
        "one after the other",
        "full",
        "sent by several",
        "sent again",
        "flow paused",
        "destination paused",
        "project paused",
    }


def _met(history: History) -> Iterator[str]:
    for timer_log in history.timer_logs:
        for request in timer_log.requests[1:]:
            if timer_log.flow and request.verdict is Verdict.ACKNOWLEDGED:
                yield request.asked
        if timer_log.flow and len(timer_log.sends) > 1:
            yield "sent again"
    for ruling in history.rulings:
        if ruling.rules.paused_at is not None:
            gate = ruling.gate
            kinds = {FlowId: "flow", Lane: "destination"}
            yield f"{kinds.get(type(gate), 'project')} paused"
    for flow, tries in tries_of_flows(history).items():
        if len({one.process for one in tries}) > 1:
            yield "sent by several"
        rules = [ruling.rules for ruling in history.rulings if ruling.gate == flow]
        if len(changes_of(history, flow)) > 1 and any(each.max_in_flight == 1 for each in rules):
            yield "one after the other"
        if len(tries) > 1 and any(each.rate for each in rules):
            yield "full"
    assert flows_of(history)
