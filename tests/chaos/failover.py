"""A primary dies, freezes, is stopped or comes back, and its standby is promoted in its place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import trio

from tests.acceptance.receiver import now
from tests.chaos.aftermath import Aftermath
from tests.chaos.pair import Pair, pair_under_load
from tests.chaos.report import Figure
from tests.chaos.stage import Ground

RESUMED_S: Final = 1.0
FROZEN_RESUMED_S: Final = 7.0
THAWED_S: Final = 1.0
"""After which a server that goes on has done what it had been sent before."""
LAG_S: Final = 1.0
ROUNDS: Final = 4
SHORT_ROUNDS: Final = 2

AT_PROMOTION: Final = {"promoted": RESUMED_S}


async def run_kill(ground: Ground) -> Sequence[Figure]:
    """kill -9 of the primary; its synchronous standby is promoted."""
    async with pair_under_load(ground, synchronous=True) as pair:
        await _kill(pair, "kill -9 of the primary", ground)
        book = await pair.finish()
        return Aftermath.of(pair, book).figures(synchronous=True, resumed=AT_PROMOTION)


async def run_switchover(ground: Ground) -> Sequence[Figure]:
    """An orderly stop of the primary, and a promotion at once.

    Its standby gets all that it has, though no commit waits for it.
    """
    async with pair_under_load(ground, synchronous=False) as pair:
        await _switch_over(pair, "pg_ctl stop -m fast, and promoted")
        book = await pair.finish()
        return Aftermath.of(pair, book).figures(synchronous=True, resumed=AT_PROMOTION)


async def run_freeze(ground: Ground) -> Sequence[Figure]:
    """The primary stands still, its standby is promoted, and then it goes on."""
    async with pair_under_load(ground, synchronous=True) as pair:
        gone_s = now().timestamp()
        pair.primary.freeze()
        await pair.wait_until(gone_s + pair.pace.detected_s)
        await pair.fail_over("SIGSTOP of the primary", gone_s)
        await pair.wait_until(gone_s + pair.pace.frozen_s)
        await pair.thaw(THAWED_S)
        await pair.tempt()
        book = await pair.finish()
        resumed = {"gone": FROZEN_RESUMED_S}
        return Aftermath.of(pair, book).figures(synchronous=True, resumed=resumed)


async def run_zombie(ground: Ground, *, synchronous: bool) -> Sequence[Figure]:
    """The killed primary comes back as it was, and takes writes."""
    async with pair_under_load(ground, synchronous=synchronous) as pair:
        await _kill(pair, "kill -9 of the primary", ground)
        await pair.raise_dead()
        await pair.tempt()
        book = await pair.finish()
        return Aftermath.of(pair, book).figures(synchronous=synchronous, resumed=AT_PROMOTION)


async def run_lag(ground: Ground) -> Sequence[Figure]:
    """An asynchronous standby that lacks the last second is promoted."""
    async with pair_under_load(ground, synchronous=False) as pair:
        await pair.other.stop_receiving()
        await trio.sleep(LAG_S)
        await _kill(pair, f"killed, the standby {LAG_S:g} s behind", ground)
        book = await pair.finish()
        return Aftermath.of(pair, book).figures(synchronous=False, resumed=AT_PROMOTION)


async def run_rejoin(ground: Ground) -> Sequence[Figure]:
    """The former primary comes back as a standby, and the roles change again and again."""
    async with pair_under_load(ground, synchronous=True) as pair:
        for number in range(ROUNDS if ground.is_full else SHORT_ROUNDS):
            if number % 2 == 0:
                await _kill(pair, f"change {number + 1}: killed", ground)
            else:
                await _switch_over(pair, f"change {number + 1}: stopped")
            await pair.rejoin(synchronous=True)
            await trio.sleep(pair.pace.after_s)
        book = await pair.finish()
        return Aftermath.of(pair, book).figures(synchronous=True, resumed=AT_PROMOTION)


async def _kill(pair: Pair, done: str, ground: Ground) -> None:
    await trio.sleep(ground.chance.uniform(0.0, 1.0))
    gone_s = now().timestamp()
    await pair.primary.kill()
    await pair.wait_until(gone_s + pair.pace.detected_s)
    await pair.fail_over(done, gone_s)
    await trio.sleep(pair.pace.after_s)


async def _switch_over(pair: Pair, done: str) -> None:
    gone_s = now().timestamp()
    await pair.primary.stop()
    await pair.fail_over(done, gone_s)
    await trio.sleep(pair.pace.after_s)


SCENARIOS: Final[Mapping[str, Callable[[Ground], Awaitable[Sequence[Figure]]]]] = {
    "failover-kill": run_kill,
    "failover-freeze": run_freeze,
    "failover-lag": run_lag,
    "switchover": run_switchover,
    "zombie-sync": partial(run_zombie, synchronous=True),
    "zombie-async": partial(run_zombie, synchronous=False),
    "rejoin": run_rejoin,
}
