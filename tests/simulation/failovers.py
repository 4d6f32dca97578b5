"""Random histories in which an asynchronous standby takes over, and what is promised then.

What its primary had written last is gone. The timers that this was about are *touched*: what was
acknowledged of them may not hold, and what was under way is made again. All others are held to
every promise, as if it had been an outage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random

import trio

from tests import promises
from tests.simulation.checkers import (
    all_are_genuine,
    broken_promises,
    ending_of,
    never_early,
    sent_of,
)
from tests.simulation.faults import Away, Fault, Faults
from tests.simulation.history import History, TimerLog, Try
from tests.simulation.retry_checkers import fired, is_excused
from tests.simulation.scenarios import SPAN_S, TIMERS, consume
from tests.simulation.world import Build, World, run_world


def history_of_failover(seed: int, build: Build | None = None) -> History:
    """Run the history of a seed: one replica or two, and a standby that takes over."""
    random = Random(f"failover {seed}")
    at_s = random.uniform(5.0, SPAN_S * 0.75)
    lost_s = random.choice([0.05, 0.3, 1.0, 4.0])
    away_s = random.choice([0.3, 1.0, 2.0, 5.0])
    replicas = random.choice([1, 2])
    rates = {fault: random.choice([0.0, 0.0, 0.01]) for fault in Fault}
    away = Away(began_s=at_s, ended_s=at_s + away_s)

    async def script(world: World) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.fail_over, at_s, lost_s)
            for number in range(replicas):
                process = await world.start_process(alone=number == 0)
                await process.replica.wait_loaded()
            for _ in range(TIMERS):
                nursery.start_soon(consume, world, at_s, SPAN_S)
        await world.settled()

    return run_world(seed, Faults(rates=rates, outages=[away]), script, build)


def broken_in_failover(history: History) -> list[str]:
    """Name all that is wrong with a history in which a standby has taken over."""
    touched = {number for failover in history.failovers for number in failover.touched}
    logs = history.timer_logs
    untouched = replace(history, timer_logs=[log for log in logs if log.number not in touched])
    others = replace(history, timer_logs=[log for log in logs if log.number in touched])
    return [*broken_promises(untouched), *_broken_of_touched(others)]


def _broken_of_touched(history: History) -> Iterator[str]:
    yield from never_early(history)
    yield from all_are_genuine(history)
    yield from promises.one_webhook_id(sent_of(history))
    for timer_log in history.timer_logs:
        if timer_log.row is not None:
            yield from promises.all_ended({str(timer_log.number): ending_of(timer_log.row)})
        for before, after in pairwise(fired(timer_log)):
            if not is_excused(history, timer_log, before, after) and not _is_undone(
                history, timer_log, before, after
            ):
                yield f"{timer_log.number} was sent again: {before}, {after}"


def _is_undone(history: History, timer_log: TimerLog, before: Try, after: Try) -> bool:
    """Tell whether a failover has undone what was known of a try: its claim or its outcome.

    Who has made it knows it all the same, unless its consumer has asked for something else since.
    """
    is_known = after.process == before.process and after.version == before.version
    return not is_known and any(
        timer_log.number in failover.touched
        and failover.at_s <= after.fired_s
        and (before.began_s <= failover.at_s or not before.is_held)
        for failover in history.failovers
    )
