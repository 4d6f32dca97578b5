"""Where a replica can be frozen: each way to get there, and to let go what is held meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

import trio

from tests.acceptance.processes import PATIENCE_S
from tests.acceptance.receiver import ReceiverProcess, now
from tests.chaos.book import Row, read_held
from tests.chaos.fleet import Replica
from tests.chaos.proxy import Moment, Proxy, Trap
from tests.chaos.stage import ANSWER_S, Stage

SOON_S: Final = 0.8
"""Until a timer that is to be caught: long enough for its creation to be answered before."""
FAT_SOON_S: Final = 3.0
FAT_BYTES: Final = 200_000
FAT_TIMERS: Final = 20
"""Together far more than the sockets between a server and a replica hold."""
SLOTS: Final = 100
"""What a replica sends to one destination at once (MAX_IN_FLIGHT_PER_DESTINATION)."""
BUSY_S: Final = 16.0
"""For which the slots of the others are taken: until well after the frozen one goes on."""

Release = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """`quiet`: a receiver beside the stage's, where nothing else arrives."""

    stage: Stage
    proxies: Mapping[str, Proxy]
    quiet: ReceiverProcess
    chance: Random


Reach = Callable[[Scene, Replica], Awaitable[Release]]
"""Returns when the replica is frozen there."""


def at_statement(verb: str, moment: Moment) -> Reach:
    async def reach(scene: Scene, victim: Replica) -> Release:
        return await _spring(scene, victim, Trap(verb, moment, partial(freeze, victim)))

    return reach


async def at_send(scene: Scene, victim: Replica) -> Release:
    timer_id = await _create_told(scene, victim)
    await scene.stage.receiver.wait_fired([timer_id])
    await freeze(victim)
    return _nothing


async def at_answer(scene: Scene, victim: Replica) -> Release:
    timer_id = await _create_told(scene, victim)
    await scene.stage.receiver.wait_answered(timer_id)
    await freeze(victim)
    return _nothing


async def at_any_moment(scene: Scene, victim: Replica) -> Release:
    await trio.sleep(scene.chance.uniform(0, 1))
    await freeze(victim)
    return _nothing


async def at_fat_claim(scene: Scene, victim: Replica) -> Release:
    """Freeze it before it reads the reply to a claim that no buffer can take in."""
    url = scene.stage.receiver.url("/")
    fields: dict[str, Any] = {"callback_url": url, "callback_payload": "x" * FAT_BYTES}
    create = partial(scene.stage.create_at, victim, _soon(FAT_SOON_S), **fields)
    first = await create()
    async with trio.open_nursery() as creating:
        for _ in range(FAT_TIMERS - 1):
            creating.start_soon(create)
    trap = Trap("claim", Moment.BLOCKED, partial(freeze, victim), uuid.UUID(first).bytes)
    return await _spring(scene, victim, trap)


async def at_send_that_nobody_takes_over(scene: Scene, victim: Replica) -> Release:
    """Freeze it at a send whose destination has no free slot at the others."""
    busy = {"delay": 0, "callback_url": scene.quiet.url(f"/wait/{BUSY_S}")}
    others = [other for other in scene.stage.fleet.members.values() if other is not victim]
    for other in others:
        answer = await other.consumer.ask("POST", "/timers/batch", {"timers": [busy] * SLOTS})
        assert answer.status == 201, answer
    await scene.quiet.wait_arrivals(SLOTS * len(others))
    url = scene.quiet.url(f"/wait/{ANSWER_S}")
    timer_id = await scene.stage.create_at(victim, _soon(), callback_url=url)
    await scene.quiet.wait_fired([timer_id])
    await freeze(victim)
    return _nothing


async def catch_sweeper(scene: Scene, prey: Replica) -> tuple[Replica, Release, dict[str, Row]]:
    """Kill one replica, and freeze the one that sweeps it before it hears that this is done.

    Answers with that one, and with what the dead one held.
    """
    caught: list[Replica] = []
    hunters = scene.stage.fleet.others(prey.name)
    sprung = trio.Event()

    async def freeze_first(hunter: Replica) -> None:
        if not caught:
            caught.append(hunter)
            await freeze(hunter)
            sprung.set()

    for hunter in hunters:
        trap = Trap("sweep", Moment.COMMITTED, partial(freeze_first, hunter))
        scene.proxies[hunter.name].trap = trap
    prey_id = prey.id
    await prey.kill()
    held = await read_held(scene.stage.database.url, prey_id)
    with trio.fail_after(PATIENCE_S):
        await sprung.wait()
    for hunter in hunters:
        scene.proxies[hunter.name].trap = None
    return caught[0], _nothing, held


async def freeze(victim: Replica) -> None:
    victim.is_in_turn = False
    await victim.freeze()


async def _spring(scene: Scene, victim: Replica, trap: Trap) -> Release:
    scene.proxies[victim.name].trap = trap
    with trio.fail_after(PATIENCE_S):
        await trap.sprung.wait()
    return trap.released.set


async def _create_told(scene: Scene, victim: Replica) -> str:
    url = scene.stage.receiver.url(f"/tell/{ANSWER_S}")
    return await scene.stage.create_at(victim, _soon(), callback_url=url)


def _soon(in_s: float = SOON_S) -> float:
    return now().timestamp() + in_s


def _nothing() -> None:
    pass


POINTS: Final[Mapping[str, Reach]] = {
    "a claim asked for, not yet arrived": at_statement("claim", Moment.ASKED),
    "a claim committed, not yet replied": at_statement("claim", Moment.COMMITTED),
    "a claim replied": at_statement("claim", Moment.ANSWERED),
    "a callback sent": at_send,
    "a callback answered": at_answer,
    "a settle asked for, not yet arrived": at_statement("settle", Moment.ASKED),
    "a settle committed, not yet replied": at_statement("settle", Moment.COMMITTED),
    "a settle replied": at_statement("settle", Moment.ANSWERED),
    "any moment, first": at_any_moment,
    "any moment, second": at_any_moment,
    "any moment, third": at_any_moment,
    "a claim of 4 MB half replied": at_fat_claim,
    "a callback sent, others busy": at_send_that_nobody_takes_over,
}
SHORT: Final = ("a claim committed, not yet replied", "a settle asked for, not yet arrived")
"""Both of these in one go, each of another replica."""
