"""Consumers who redrive timers, change many at once, use keys and names, and ask for results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import trio

from tests.simulation.consumers import PATIENCE_S, REFUSALS, spec_of
from tests.simulation.far_end import Behaviour, url_of
from tests.simulation.history import Act, History, Verb, Verdict
from tests.simulation.scenarios import Consume, Scenario, history_of
from tests.simulation.world import Build, ConnectionLostError, World
from timer_trio.callback_url import read_url
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage, BulkProgress
from timer_trio.domain.errors import (
    ContentionError,
    NameTakenError,
    NoSuchNameError,
    NotEndedError,
    StorageUnavailableError,
)
from timer_trio.domain.keys import FirstAnswer, KeyedCreate, OnConflict
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.query import TimerFilter
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import JsonText, ResultTarget, TimerId, TimerSpec
from timer_trio.intake.names import Names
from timer_trio.run.replica import Replica

POLICY: Final = RetryPolicy(max_attempts=3, delays=(0.3, 0.8), jitter=0.2)
NAMES: Final = ("invoice", "reminder")
NAMED: Final = "named"
"""The group of all timers that have a name."""
PAGE: Final = 3
"""Small, so that a bulk action has several and what goes wrong comes between two."""
PAUSE_S: Final = 0.01
SECOND_BODY: Final = 1


class Answer(NamedTuple):
    timer_id: TimerId | None
    data: str = ""


class _SmallPages(BulkProgress):
    def next_page(self, now: datetime) -> BulkPage | None:
        page = super().next_page(now)
        return page and replace(page, size=min(page.size, PAGE))


def verb_history(seed: int, scenario: Scenario, build: Build | None = None) -> History:
    """Run the history of a seed."""
    return history_of(CONSUMERS, seed, scenario, build)


async def act(
    world: World,
    verb: Verb,
    subject: str,
    call: Callable[[Replica], Awaitable[Answer]],
    body: int = 0,
) -> Act:
    """Ask any process; what it answered is in the history."""
    process = await world.any_process()
    one = Act(verb=verb, subject=subject, body=body, asked_s=trio.current_time())
    world.history.acts.append(one)
    try:
        one.timer_id, one.data = await process.request(call)
        one.verdict = Verdict.ACKNOWLEDGED
    except (StorageUnavailableError, ContentionError, ConnectionLostError):
        await trio.sleep(PATIENCE_S)  # a 503, if anything: nothing is said of the request
    except (*REFUSALS, NameTakenError, NoSuchNameError, NotEndedError):
        one.verdict = Verdict.REFUSED
    one.answered_s = trio.current_time()
    return one


def wanted(
    world: World,
    group: str,
    *,
    in_s: float,
    behaviour: Behaviour = Behaviour.FAST,
    version: int = 0,
) -> TimerSpec:
    """Say what a consumer wants: a timer of this group that tells how it ends."""
    spec = spec_of(world, None, version, in_s=in_s, behaviour=behaviour, grace_s=None)
    told = ResultTarget(url=read_url(url_of(Behaviour.FAILING, place=1)), headers={})
    return replace(spec, metadata={"group": group}, retry=POLICY, on_completed=told, on_failed=told)


async def create(world: World, spec: TimerSpec) -> TimerId | None:
    """Create a plain timer; None: it may be there or not."""
    process = await world.any_process()
    try:
        summary = await process.request(
            lambda replica: replica._intake.create(spec, replica._clock.now(), DEFAULT_PROJECT)
        )
    except (*REFUSALS, StorageUnavailableError, ConnectionLostError):
        return None
    return summary.id


async def redrive(world: World, timer_id: TimerId, in_s: float) -> Act:
    async def call(replica: Replica) -> Answer:
        due_at = replica._clock.now() + timedelta(seconds=in_s)
        await replica._redriver.redrive(timer_id, due_at, DEFAULT_PROJECT)
        return Answer(timer_id)

    return await act(world, Verb.REDRIVE, str(timer_id), call)


async def create_keyed(world: World, key: str, spec: TimerSpec, body: int = 0) -> Act:
    async def call(replica: Replica) -> Answer:
        now = replica._clock.now()
        timer = replica._intake.new_timer(spec, now, DEFAULT_PROJECT, under=key)
        data = JsonText(f'"created by request {world.random.getrandbits(32)}"')
        own = FirstAnswer(fingerprint=bytes([body]), timer_ids=(timer.id,), status=201, data=data)
        first = await replica._intake.create_keyed(KeyedCreate(key=key, timers=[timer], answer=own))
        if first.fingerprint != own.fingerprint:
            raise NameTakenError(first.timer_ids[0], "stands for another request")
        return Answer(first.timer_ids[0], first.data)

    return await act(world, Verb.KEYED, key, call, body)


async def create_named(world: World, name: str, spec: TimerSpec, on_conflict: OnConflict) -> Act:
    async def call(replica: Replica) -> Answer:
        arrived_at = replica._clock.now()
        written = await _names(replica).create(name, spec, arrived_at, on_conflict)
        is_kept = on_conflict is OnConflict.KEEP and not written.is_new
        return Answer(written.timer.id, "" if is_kept else spec.callback.payload or "")

    return await act(world, Verb.NAMED, name, call)


async def cancel_named(world: World, name: str) -> Act:
    async def call(replica: Replica) -> Answer:
        return Answer((await _names(replica).cancel(name)).id)

    return await act(world, Verb.UNNAMED, name, call)


async def bulk(world: World, bulk: Bulk) -> bool:
    """Do a bulk action; false: it was broken off, and some of it may be done."""

    async def call(replica: Replica) -> None:
        progress = _SmallPages(bulk)
        await replica._bulk_writer.require_allowed(bulk)
        while await replica._bulk_writer.write_page(progress):  # noqa: ASYNC110 - as a run does it
            await trio.sleep(PAUSE_S)

    process = await world.any_process()
    try:
        await process.request(call)
    except (*REFUSALS, StorageUnavailableError, ConnectionLostError):
        await trio.sleep(PATIENCE_S)
        return False
    return True


async def bulk_until_done(
    world: World, action: BulkAction, group: str, *, spacing_s: float = 0.0, again: bool = False
) -> None:
    """Do a bulk action on a group, and repeat it while it is broken off; `again`: once more."""
    one = Bulk(
        action=action,
        wanted=TimerFilter(metadata={"group": [group]}),
        as_of=await _now(world),
        spacing=timedelta(seconds=spacing_s),
    )
    while not await bulk(world, one):
        pass
    if again:
        await trio.sleep(world.random.choice([0.0, 0.5, 3.0]))
        await bulk(world, one)


async def _now(world: World) -> datetime:
    """Ask what time it is until one is there that knows: who has just been started does not."""
    while True:
        process = await world.any_process()
        try:
            return process.replica._clock.now()
        except StorageUnavailableError:
            await trio.sleep(PATIENCE_S)


async def _redrive(world: World, climax_s: float, span_s: float) -> None:
    random = world.random
    await trio.sleep(random.uniform(0.0, span_s))
    in_s = _in_s(world, climax_s)
    spec = wanted(world, "redriven", in_s=in_s, behaviour=random.choice(RECEIVERS))
    timer_id = await create(world, spec)
    await trio.sleep(in_s)
    for _ in range(random.choice([1, 2, 3])):
        await trio.sleep(random.choice([0.05, 0.3, random.uniform(0.0, 4.0)]))
        if timer_id is not None:
            await redrive(world, timer_id, random.choice([0.0, 0.0, 0.2, 2.0]))


async def _repeat_key(world: World, climax_s: float, span_s: float) -> None:
    random, group = world.random, f"key {world.random.getrandbits(32)}"
    await trio.sleep(_moment_s(world, climax_s, span_s))
    spec = wanted(world, group, in_s=random.choice([0.0, 0.5, 5.0]))

    async def ask(body: int) -> None:
        await trio.sleep(random.choice([0.0, 0.0, 0.002, 0.3]))
        while (await create_keyed(world, group, spec, body)).verdict is Verdict.UNKNOWN:
            pass

    async with trio.open_nursery() as nursery:
        for _ in range(random.choice([2, 4])):
            nursery.start_soon(ask, 0)
        if random.random() < 0.3:
            nursery.start_soon(ask, SECOND_BODY)


async def _fight_for_names(world: World, climax_s: float, span_s: float) -> None:
    random = world.random
    await trio.sleep(_moment_s(world, climax_s, span_s))
    own: list[TimerId] = []
    for version in range(random.choice([4, 6])):
        # All come at once, again and again.
        await trio.sleep_until(trio.current_time() // 1 + 1)
        name = random.choice(NAMES)
        match random.choice(["create", "create", "replace", "cancel", "redrive", "redrive"]):
            case "cancel":
                await cancel_named(world, name)
            case "redrive" if own:
                await redrive(world, random.choice(own), 0.1)
            case what:
                how = OnConflict.REPLACE if what == "replace" else random.choice([*OnConflict])
                spec = wanted(
                    world,
                    NAMED,
                    in_s=random.choice([0.0, 0.2, 1.0, 4.0]),
                    behaviour=random.choice(RECEIVERS),
                    version=version + 100 * random.getrandbits(20),
                )
                done = await create_named(world, name, spec, how)
                own += [done.timer_id] if done.timer_id else []


async def _change_many(world: World, climax_s: float, span_s: float) -> None:
    random, group = world.random, f"group {world.random.getrandbits(32)}"
    start_s = _moment_s(world, climax_s, span_s)
    await trio.sleep(max(0.0, start_s - 2.0))
    for _ in range(random.choice([4, 8])):
        in_s = random.choice([0.0, 1.0, 2.0, 2.2, 6.0, 12.0])
        await create(world, wanted(world, group, in_s=in_s, behaviour=random.choice(RECEIVERS)))
    for _ in range(random.choice([1, 2])):
        await trio.sleep(random.choice([0.0, 0.5, 2.0]))
        await bulk_until_done(
            world,
            random.choice([*BulkAction]),
            random.choice([group, group, group, NAMED]),
            spacing_s=random.choice([0.0, 0.1]),
            again=random.random() < 0.5,
        )


def _names(replica: Replica) -> Names:
    return Names(replica._storage, replica._intake, DEFAULT_PROJECT)


def _moment_s(world: World, climax_s: float, span_s: float) -> float:
    """Choose how long to wait: what goes wrong finds half of the consumers in the middle."""
    if world.random.random() < 0.5:
        return max(0.0, climax_s + world.random.uniform(-0.5, 0.2))
    return world.random.uniform(0.0, span_s)


def _in_s(world: World, climax_s: float) -> float:
    if world.random.random() < 0.5:
        return max(0.0, climax_s + world.random.uniform(-0.3, 0.3) - trio.current_time())
    return world.random.choice([0.0, 0.3, 2.0])


RECEIVERS: Final = (Behaviour.FAST, Behaviour.FAST, Behaviour.FAILING, Behaviour.ERROR)
CONSUMERS: Final[Sequence[Consume]] = (
    *[_redrive] * 5,
    *[_repeat_key] * 3,
    *[_fight_for_names] * 4,
    *[_change_many] * 3,
)
