"""A small fixed history of breakers, in which each call for a probe fails, or loses its reply."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

import pytest
import trio

from tests.simulation.checkers import CHECKERS, hardly_late
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Fault, Faults
from tests.simulation.history import Ending, History, Try
from tests.simulation.seeds import tried_with
from tests.simulation.world import World, run_in
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.project import DEFAULT_PROJECT

SEED: Final = 9
VERBS: Final = {"ask_probes", "end_probes"}
REPLICAS: Final = 3
OPEN_S: Final = 1.0
TIMERS: Final = 24
SPREAD_S: Final = 7.5
"""Sick receivers are well from 3 s to 6 s, and ill again until 9 s."""
ENDED_S: Final = 12.0
"""They are well again, and a failed call has put a probe off: all have gone."""


def history_with(nth: dict[int, Fault], calls: list[tuple[int, str]]) -> History:
    """Run it; each process fails at its calls of these numbers."""

    async def script(world: World) -> History:
        policy = BreakerPolicy(failures=1, open_s=OPEN_S)
        await world.database.change_project(DEFAULT_PROJECT, {"breaker": policy})
        for _ in range(REPLICAS):
            await (await world.start_process(alone=False)).replica.wait_loaded()
        async with trio.open_nursery() as nursery:
            for number in range(TIMERS):
                nursery.start_soon(_consume, world, SPREAD_S * number / TIMERS)
        await trio.sleep_until(ENDED_S)
        await world.settled()
        for process in world.processes:
            calls.extend(enumerate(process.storage.calls))
        return world.history

    return run_in(World, SEED, Faults(nth=nth), script)


async def _consume(world: World, due_s: float) -> None:
    in_s = max(0.1, due_s - trio.current_time())
    await Consumer(world).create(in_s=in_s, behaviour=Behaviour.FAILING)


def probes_go_one_at_a_time(history: History) -> Iterator[str]:
    """Nobody begins a probe while another one, of whomever, is under way."""
    probes = [*_probes(history)]
    for place, probe in enumerate(probes):
        others = sum(before.ended_s > probe.began_s for before in probes[:place])
        if others:
            yield f"{others + 1} probes at {probe.began_s:.3f}"


def all_go_once_it_is_well(history: History) -> Iterator[str]:
    """Whatever call failed, what waited behind a breaker goes on."""
    for timer_log in history.timer_logs:
        for one in timer_log.tries:
            if one.began_s > ENDED_S:
                yield f"{timer_log.number} went at {one.began_s:.3f}"


def _probes(history: History) -> Iterator[Try]:
    """List what was begun by who knew of a failure, and since which nobody was answered."""
    tries = [one for timer_log in history.timer_logs for one in timer_log.tries]
    for one in sorted(tries, key=lambda one: one.began_s):
        before = [each for each in tries if each.ended_s <= one.began_s]
        own = max((each.ended_s for each in before if each.process == one.process), default=-inf)
        has_failed = any(each.ended_s == own and _is_failure(each) for each in before)
        is_answered = any(each.ended_s > own and not _is_failure(each) for each in before)
        if has_failed and not is_answered:
            yield one


def _is_failure(one: Try) -> bool:
    return one.ending is not Ending.DELIVERED


PROMISES: Final = (
    *(checker for checker in CHECKERS if checker is not hardly_late),
    probes_go_one_at_a_time,
    all_go_once_it_is_well,
)


def broken(history: History) -> list[str]:
    return [
        f"{checker.__name__}: {violation}" for checker in PROMISES for violation in checker(history)
    ]


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST_REPLY])
def test_promises_hold_whichever_call_fails(fault: Fault) -> None:
    calls: list[tuple[int, str]] = []
    history = history_with({}, calls)
    assert not broken(history)
    assert len([*_probes(history)]) > 2
    concerned = sorted({nth for nth, verb in calls if verb in VERBS})
    assert {verb for _, verb in calls} >= VERBS
    found = {nth: broken(history_with({nth: fault}, [])) for nth in tried_with(fault, concerned)}
    assert not {nth: violations for nth, violations in found.items() if violations}
