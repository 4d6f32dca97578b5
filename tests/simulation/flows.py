"""Random histories of flows: what goes wrong, and what people limit and pause, out of one seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

import trio

from tests.simulation.changes import CHANGE_S, KNOWN_S, REPLICAS, Change, make_change
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour, url_of
from tests.simulation.faults import Faults
from tests.simulation.flow_world import PROJECTS, SECOND_PROJECT, FlowWorld
from tests.simulation.history import History
from tests.simulation.scenarios import FLEET_SPAN_S, SPAN_S, Scenario, faults_of, play
from tests.simulation.world import Build, run_in
from timer_trio.callback_url import read_url
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import ProjectId
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.rules import FlowChange, Rate
from timer_trio.domain.timer import Delivery, Lane

FLOWS: Final = 6
TIMERS: Final = 9
"""Of each flow."""
PLAIN: Final = 8
PLAIN_PLACE: Final = 9
"""Of timers in no flow: nobody pauses it, so none of them is late."""
CHANGES: Final = 6
"""Of rules, in a history where there are any."""
PAUSED_S: Final = (0.0, 0.5, 6.0, 9.0, 15.0)
BUSY_FLOWS: Final = 6
BUSY_TIMERS: Final = 30
"""Of each busy flow: they go one after the other, for seconds around a change."""
SLOW_RATE: Final = Rate(count=3, per_s=10)
RULES: Final[tuple[FlowChange, ...]] = (
    {"max_in_flight": 1},
    {"max_in_flight": 1},
    {"max_in_flight": 2},
    {"max_in_flight": 5},
    {"rate": SLOW_RATE},
    {"rate": Rate(count=2, per_s=5)},
    {"max_in_flight": 1, "rate": Rate(count=4, per_s=6)},
    {"max_in_flight": 2, "rate": SLOW_RATE},
    {},
)
BUSY_TIMEOUT_S: Final = 0.5
BUSY_RULES: Final[tuple[FlowChange, ...]] = (
    {"max_in_flight": 1},
    {"max_in_flight": 1},
    {"max_in_flight": 2},
    {"rate": Rate(count=6, per_s=1)},
    {"max_in_flight": 1, "rate": Rate(count=8, per_s=2)},
)
RECEIVERS: Final = (
    *[Behaviour.FAST] * 4,
    *[Behaviour.SLOW] * 3,
    *[Behaviour.FAILING] * 2,
    Behaviour.BUSY,
    Behaviour.DOWN,
    Behaviour.ERROR,
    Behaviour.REFUSED,
    Behaviour.SILENT,
    Behaviour.DEAD,
    Behaviour.GONE,
)
Receiver = tuple[Behaviour, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A flow as a history has it: where its timers go, and how it is limited at first."""

    flow: FlowId
    receivers: tuple[Receiver, ...]
    rules: FlowChange

    @property
    def lanes(self) -> list[Lane]:
        return [lane_of(self.flow, receiver) for receiver in self.receivers]


def lane_of(flow: FlowId, receiver: Receiver) -> Lane:
    return Lane(read_url(url_of(*receiver)).destination, flow.project)


def history_of_flows(seed: int, scenario: Scenario, build: Build | None = None) -> History:
    """Run the history of a seed."""
    random = Random(f"flows {scenario} {seed}")
    span_s = FLEET_SPAN_S if scenario is Scenario.FLEET else SPAN_S
    climax_s = random.uniform(1.0, span_s * 0.75)
    streams = [_stream(random, number) for number in range(FLOWS)]

    async def script(world: FlowWorld) -> History:
        await begin(world, streams)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, world, scenario, climax_s)
            for stream in streams:
                for _ in range(TIMERS):
                    nursery.start_soon(_consume, world, stream, climax_s, span_s)
            for _ in range(PLAIN):
                nursery.start_soon(_consume_plain, world, climax_s, span_s)
            for _ in range(random.choice([0, CHANGES, CHANGES])):
                nursery.start_soon(_rule, world, random.choice(streams), climax_s, span_s)
        await world.resume_all()
        await world.settled()
        return world.history

    return run_in(FlowWorld, seed, faults_of(random, scenario, climax_s), script, build)


async def begin(world: FlowWorld, streams: list[Stream]) -> None:
    """Have a second project, and limit the flows."""
    assert (await world.database.create_project("second", world.now())).id == SECOND_PROJECT
    for stream in streams:
        if stream.rules:
            await world.database.put_flow(stream.flow, stream.rules, world.now())


def history_of_busy_flows(seed: int, change: Change | None, build: Build | None = None) -> History:
    """Run the history of a seed: one change of membership, as much of each flow waits or goes.

    None: there is a pause instead.
    """
    random = Random(f"busy flows {change} {seed}")
    change_s = CHANGE_S + random.uniform(-0.5, 0.5)
    streams = [_busy_stream(random, number) for number in range(BUSY_FLOWS)]
    # Who dies makes others late; a pause makes nobody miss anything.
    grace_s = 300.0 if change else 1.0

    async def script(world: FlowWorld) -> History:
        await begin(world, streams)
        for _ in range(REPLICAS):
            await world.start_process(alone=False)
        await trio.sleep_until(KNOWN_S)
        async with trio.open_nursery() as nursery:
            for stream in streams:
                for _ in range(BUSY_TIMERS):
                    nursery.start_soon(_wait_in_line, world, stream, change_s, grace_s)
            await trio.sleep_until(change_s)
            if change is None:
                await _pause_for_a_while(world, random.choice(streams))
            else:
                nursery.start_soon(make_change, world, change, random.choice([3.5, 5.0, 7.0]))
        await world.settled()
        return world.history

    return run_in(FlowWorld, seed, Faults(), script, build)


def _busy_stream(random: Random, number: int) -> Stream:
    return Stream(
        flow=FlowId(random.choice(PROJECTS), FlowKey(f"busy {number} {random.getrandbits(16)}")),
        receivers=((random.choice([Behaviour.FAST, Behaviour.SLOW]), 0), (Behaviour.ERROR, 1)),
        rules=random.choice(BUSY_RULES),
    )


async def _pause_for_a_while(world: FlowWorld, stream: Stream) -> None:
    gates: list[ProjectId | Lane] = [SECOND_PROJECT, *stream.lanes]
    gate = world.random.choice(gates)
    await world.pause(gate)
    await trio.sleep(world.random.uniform(2.0, 6.0))
    await world.pause(gate, resume=True)


async def _wait_in_line(world: FlowWorld, stream: Stream, change_s: float, grace_s: float) -> None:
    """Have a timer that is due at about the change, at its begin or in its middle."""
    random = world.random
    await trio.sleep(random.uniform(0.0, 2.0))
    consumer = Consumer(world, stream.flow)
    in_s = change_s + random.uniform(-2.0, 2.0) - trio.current_time()
    behaviour, place = random.choice(stream.receivers)
    await consumer.create(
        in_s=max(0.0, in_s),
        behaviour=behaviour,
        place=place,
        timeout_s=BUSY_TIMEOUT_S,
        grace_s=grace_s,
    )
    if random.random() < 0.2 and consumer.timer_id is not None:
        await trio.sleep(max(0.0, in_s + random.uniform(-0.5, 1.0)))
        if random.random() < 0.5:
            await consumer.cancel()
        else:
            await consumer.update(in_s=random.choice([0.0, 0.2, 1.0]))


def _stream(random: Random, number: int) -> Stream:
    receivers = [(random.choice(RECEIVERS), random.choice([0, 1, 2])) for _ in range(3)]
    key = FlowKey(f"flow {number} {random.getrandbits(16)}")
    return Stream(
        flow=FlowId(random.choice(PROJECTS), key),
        receivers=tuple(receivers[: random.choice([1, 2, 3])]),
        rules=random.choice(RULES),
    )


async def _consume(world: FlowWorld, stream: Stream, climax_s: float, span_s: float) -> None:
    """Have a timer in a flow, many of which fall due at once, and change it now and then."""
    random = world.random
    await trio.sleep(random.choice([0.0, 0.0, random.uniform(0.0, span_s)]))
    consumer = Consumer(world, stream.flow)
    in_s = random.uniform(*random.choice([(0.0, 0.0), (0.0, 2.0), (0.0, 15.0)]))
    if random.random() < 0.5:
        # What waits, or is in flight, when something goes wrong shows most.
        in_s = max(0.0, climax_s + random.uniform(-5.0, 0.3) - trio.current_time())
    behaviour, place = random.choice(stream.receivers)
    await consumer.create(
        in_s=in_s,
        behaviour=behaviour,
        place=place,
        delivery=random.choice(list(Delivery)),
        timeout_s=random.choice([0.5, 3.0]),
        grace_s=random.choice([1.0, 1.0, 5.0, None]),
        retry=_policy(random) if random.random() < 0.4 else None,
    )
    if random.random() < 0.3 and consumer.timer_id is not None:
        await trio.sleep(max(0.0, in_s + random.uniform(-1.0, 6.0)))
        await _change(world, stream, consumer)


async def _change(world: FlowWorld, stream: Stream, consumer: Consumer) -> None:
    random = world.random
    match random.choice(["update", "update", "cancel", "look"]):
        case "update":
            in_s = random.choice([0.0, 0.2, 3.0, random.uniform(0.0, 10.0)])
            behaviour, place = random.choice(stream.receivers)
            is_moved = random.random() < 0.5
            await consumer.update(in_s=in_s, behaviour=behaviour if is_moved else None, place=place)
        case "cancel":
            await consumer.cancel()
        case _:
            await consumer.look()


async def _consume_plain(world: FlowWorld, climax_s: float, span_s: float) -> None:
    await trio.sleep(world.random.uniform(0.0, span_s))
    in_s = max(0.0, climax_s + world.random.uniform(-0.3, 5.0) - trio.current_time())
    await Consumer(world).create(in_s=in_s, place=PLAIN_PLACE)


async def _rule(world: FlowWorld, stream: Stream, climax_s: float, span_s: float) -> None:
    """Change a rule at some moment, and it may be back."""
    random = world.random
    moment_s = random.choice([random.uniform(0.0, span_s), climax_s + random.uniform(-6.0, 1.0)])
    await trio.sleep(max(0.0, moment_s))
    back_s = random.choice(PAUSED_S)
    match random.choice(["limit", "limit", "delete", "flow", "flow", "destination", "project"]):
        case "limit":
            await world.limit(stream.flow, random.choice(RULES[:-1]))
            await trio.sleep(back_s)
            none: FlowChange = {"max_in_flight": None, "rate": None}
            as_before: FlowChange = {**none, **stream.rules}
            await world.limit(stream.flow, random.choice([none, as_before]))
        case "delete":
            await world.forget(stream.flow)
        case "flow":
            await world.limit(stream.flow, {"paused": True})
            await trio.sleep(back_s)
            await world.limit(stream.flow, {"paused": False})
        case "destination":
            lane = random.choice(stream.lanes)
            await world.pause(lane)
            await trio.sleep(back_s)
            await world.pause(lane, resume=True)
        case _:
            await world.pause(SECOND_PROJECT)
            await trio.sleep(back_s)
            await world.pause(SECOND_PROJECT, resume=True)


def _policy(random: Random) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=random.choice([2, 3]),
        delays=random.choice([(0.2,), (0.5, 1.0), (4.0,)]),
        jitter=random.choice([0.0, 0.2]),
    )
