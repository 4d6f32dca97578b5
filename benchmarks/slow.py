"""What many connections to one slow destination cost: 1,000 beside 50, at the same rate.

250 callbacks a second go to one destination, which answers after 0.2 s, and so holds 50
connections, or after 4 s, and so holds 1,000. Measured once those are open. The limits are raised
for it: a destination may hold a quarter of the slots that are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple

from benchmarks.contender import Contender, service
from benchmarks.cost import Cost, sum_of
from benchmarks.figures import cost_lines, late_lines
from benchmarks.firing import await_all, steady, write_schedule
from benchmarks.machine import sleep, time
from benchmarks.receiving import Receiving, Seen, receiver, together
from benchmarks.report import Line, Size

NAME: Final = "slow"
RATE: Final = 250
FEW: Final = 50
MANY: Final = 1000
WARM_UP_S: Final = 2.0


class _Window(NamedTuple):
    """What was spent while all connections were open, and what came in the whole run."""

    cost: Cost
    fired: int
    seen: Seen


def measure(size: Size) -> Iterator[Line]:
    rounds, seconds = (1, 6) if size is Size.QUICK else (2, 12)
    few: list[_Window] = []
    many: list[_Window] = []
    with ExitStack() as stack:
        limits = {"MAX_IN_FLIGHT": str(6 * MANY), "MAX_IN_FLIGHT_PER_DESTINATION": str(2 * MANY)}
        contender = stack.enter_context(service(limits))
        quick, slow = (stack.enter_context(receiver(1, each / RATE)) for each in (FEW, MANY))
        for _ in range(rounds):
            few.append(_fire(contender, quick, FEW / RATE, seconds))
            many.append(_fire(contender, slow, MANY / RATE, seconds))
    few_s, many_s = (sum(each.cost.worker_s for each in windows) for windows in (few, many))
    yield Line(NAME, f"{MANY} connections, times {FEW}", many_s / few_s, at_most=1.3)
    # They would come seconds late if a limit kept them from being open at once.
    for connections, windows in ((FEW, few), (MANY, many)):
        where = f", {connections} connections"
        cost, fired = sum_of([each.cost for each in windows]), sum(each.fired for each in windows)
        yield from cost_lines(NAME, cost, fired, of="a callback", where=where)
        yield from late_lines(NAME, together([each.seen for each in windows]), where=where)


def _fire(
    contender: Contender, far_end: Receiving, answer_after_s: float, seconds: float
) -> _Window:
    warm_s = answer_after_s + WARM_UP_S
    instants = write_schedule(contender, far_end, steady(RATE, warm_s + seconds + 1, 1))
    sleep(instants[0] + warm_s - time())
    before = contender.cost()
    sleep(seconds)
    cost = contender.cost() - before
    seen = await_all(contender, far_end, instants)
    return _Window(cost, int(RATE * seconds), seen)
