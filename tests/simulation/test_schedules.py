"""Random histories of schedules, each out of its seed, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.simulation.history import Verdict
from tests.simulation.schedule_checkers import broken_schedule_promises
from tests.simulation.schedule_history import OccurrenceLog
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.schedules import Trial, history_of_schedules
from tests.simulation.seeds import met_in, seeds
from timer_trio.domain.settlement import OVERLAPPED, SUPERSEDED

SHARES: Final = {Trial.HOUR: 0.1}
"""How many times as many histories it has: in an hour of outage little happens, at great cost."""
SEEDS: Final = [(seed, trial) for trial in Trial for seed in seeds(SHARES.get(trial, 0.2))]


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize(("seed", "trial"), SEEDS)
def test_promises_hold(seed: int, trial: Trial) -> None:
    again = f"make soak SEED={seed} HISTORIES=1 ARGS='-k {seed}-{trial}'"
    assert not broken_schedule_promises(history_of_schedules(seed, trial)), f"once more: {again}"


def test_histories_meet_what_may_become_of_an_occurrence() -> None:
    acknowledged = {"create", "change", "pause", "resume", "end", "trigger", "backfill", "cancel"}
    wanted = acknowledged | {"superseded", "overlapped", "missed", "sent again", "deleted"}
    trials = (Trial.OUTAGE, Trial.CRASH)
    worlds = (history_of_schedules(seed, trial) for seed in range(1, 11) for trial in trials)
    assert met_in(map(_met, worlds), wanted) == wanted


def _met(world: ScheduleWorld) -> Iterator[str]:
    for request in world.requests:
        if request.verdict is Verdict.ACKNOWLEDGED:
            yield request.asked
    for log in world.schedules.values():
        for one in log.occurrences.values():
            yield from _become(one)


def _become(one: OccurrenceLog) -> Iterator[str]:
    """Tell what has become of an occurrence that is more than one callback."""
    words = {SUPERSEDED: "superseded", OVERLAPPED: "overlapped"}
    if one.words in words:
        yield words[one.words]
    if one.words.startswith("missed"):
        yield "missed"
    if len(one.sends) > 1:
        yield "sent again"
    if not one.is_there:
        yield "deleted"
