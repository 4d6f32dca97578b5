"""Random histories, each out of its seed, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.simulation.checkers import broken_promises
from tests.simulation.history import TimerLog, Verdict
from tests.simulation.retry_checkers import fired, has_failed, policy_of
from tests.simulation.scenarios import Scenario, random_history
from tests.simulation.seeds import FIRST_SEED, met_in, seeds
from timer_trio.domain.attempt import UNKNOWN
from timer_trio.domain.timer import Delivery

SHARES: Final = {Scenario.FLEET: 30, Scenario.CRASH: 2}
"""How many times as many histories these two have: in a fleet all meets all, and a crash and its
successor are what the embedded set-up must survive before all else."""
SAMPLES: Final = {Scenario.FLEET: 50}
"""Of how many one is played by default where it is not of 25: there are thirty times as many."""
SEEDS: Final = [
    pytest.param(seed, scenario, marks=pytest.mark.sampled(of=SAMPLES.get(scenario, 25)))
    for scenario in Scenario
    for seed in seeds(SHARES.get(scenario, 1))
]


@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_hold(seed: int, scenario: Scenario) -> None:
    again = f"make soak SEED={seed} HISTORIES=1 ARGS='-k {seed}-{scenario}'"
    assert not broken_promises(random_history(seed, scenario)), f"once more: {again}"


def test_same_seed_gives_the_same_history() -> None:
    assert random_history(FIRST_SEED, Scenario.CRASH) == random_history(FIRST_SEED, Scenario.CRASH)


def test_histories_meet_what_may_become_of_a_retrying_timer() -> None:
    wanted = {"update", "cancel", "unknown", "at most once", "put off", "final", "gave up"}
    scenarios = (Scenario.CRASH, Scenario.OUTAGE)
    # From the last one on, which meets what is rare.
    histories = (random_history(seed, each) for seed in range(13, 0, -1) for each in scenarios)
    timer_logs = (timer_log for history in histories for timer_log in history.timer_logs)
    assert met_in(map(_met, timer_logs), wanted) == wanted


def _met(timer_log: TimerLog) -> Iterator[str]:
    """Tell what has happened to a timer after the first failure of a callback."""
    tries = [one for one in fired(timer_log) if has_failed(timer_log, one)]
    if not (tries and policy_of(timer_log)):
        return
    for request in timer_log.requests[1:]:
        if request.verdict is Verdict.ACKNOWLEDGED and request.asked_s > tries[0].ended_s:
            yield request.asked
    if any(record.outcome == UNKNOWN for record in timer_log.attempts):
        yield "unknown"
    if timer_log.created.spec.callback.delivery is Delivery.AT_MOST_ONCE and len(tries) > 1:
        yield "at most once"
    if any(one.not_before_s is not None for one in tries[:-1]):
        yield "put off"
    if tries[-1].is_final:
        yield "final"
    if timer_log.row and (timer_log.row.last_error or "").startswith("gave up"):
        yield "gave up"
