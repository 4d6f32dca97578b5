"""Random histories over two cells: one of them goes and comes, whatever else goes wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

import trio

from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import PATIENCE_S, REFUSALS, Consumer, spec_of
from tests.simulation.faults import Away
from tests.simulation.history import Asked, History, Request, Verdict
from tests.simulation.scenarios import Consume, Scenario, consume, history_of
from tests.simulation.world import Build, ConnectionLostError, World
from timer_trio.domain.cells import Cell, CellMap, CellNumber
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import NewTimer
from timer_trio.run.replica import Replica

HALVES: Final = CellMap([Cell(0, 127), Cell(128, 255)])
CELLS: Final = [CellNumber(number) for number in HALVES.numbers]
PLAIN: Final = 20
IN_FLOWS: Final = 10
BATCHES: Final = 5
FLOWS: Final = 5


def history_of_cells(
    seed: int, scenario: Scenario, consumers: Sequence[Consume], build: Build | None = None
) -> History:
    """Run the history of a seed, over two cells unless the build has it otherwise."""
    return history_of(consumers, seed, scenario, build or Build(cells=HALVES), _one_goes)


def broken_cell_promises(history: History) -> list[str]:
    """Name all that is wrong; each cell is held to what one database is, as if it were alone."""
    within = {cell: history.within(CellNumber(n), HALVES) for n, cell in enumerate(HALVES.cells)}
    broken = [f"{cell}: {each}" for cell in within for each in broken_promises(within[cell])]
    return [*broken, *broken_batches(history)]


def broken_batches(history: History) -> Iterator[str]:
    """Of a batch all timers are there or none, and all are in one cell."""
    batches: defaultdict[object, list[CellNumber | None]] = defaultdict(list)
    for timer_log in history.timer_logs:
        metadata = timer_log.created.spec.metadata if timer_log.requests else None
        if metadata is not None:
            row = timer_log.row
            cell = None if row is None else HALVES.of_timer(row.id)
            batches[metadata["batch"]].append(cell)
    for batch, cells in batches.items():
        if len({*cells}) > 1:
            yield f"broken_batches: the timers of batch {batch} are in cells {cells}"


def _one_goes(random: Random, climax_s: float) -> Sequence[Away]:
    """Take one cell away at about the great moment, once or twice, from all or from one process."""
    gone, began_s = [], max(0.5, climax_s + random.uniform(-5.0, 2.0))
    for _ in range(random.choice([1, 2])):
        ended_s = began_s + random.choice([0.3, 2.0, 10.0, random.uniform(0.1, 30.0)])
        process = random.choice([None, None, "process 0"])
        gone.append(
            Away(began_s=began_s, ended_s=ended_s, process=process, cell=random.choice(CELLS))
        )
        began_s = ended_s + random.uniform(0.0, 8.0)
    return gone


async def _consume_in_flow(world: World, climax_s: float, span_s: float) -> None:
    random = world.random
    await trio.sleep(random.uniform(0.0, span_s))
    flow = FlowId(DEFAULT_PROJECT, FlowKey(f"flow {random.randrange(FLOWS)}"))
    consumer = Consumer(world, flow)
    in_s = random.choice([0.0, 0.3, max(0.0, climax_s - trio.current_time())])
    await consumer.create(in_s=in_s)
    if random.random() < 0.3 and consumer.timer_id is not None:
        await trio.sleep(max(0.0, in_s + random.uniform(-0.3, 0.1)))
        await consumer.cancel()


async def _create_batch(world: World, climax_s: float, span_s: float) -> None:
    random = world.random
    moment_s = random.choice([random.uniform(0.0, span_s), climax_s + random.uniform(-1.0, 4.0)])
    await trio.sleep(max(0.0, moment_s))
    await create_batch(world, [Consumer(world) for _ in range(random.choice([2, 5, 20]))])


async def create_batch(world: World, consumers: Sequence[Consumer]) -> Request:
    """Create a timer for each with one request; the request of the first tells of all."""
    process, batch = await world.any_process(), len(world.history.timer_logs)
    requests: list[Request] = []
    for consumer in consumers:
        spec = spec_of(world, consumer.timer_log.number, 0, in_s=world.random.uniform(0.0, 5.0))
        request = Request(
            asked=Asked.CREATE,
            version=0,
            spec=replace(spec, metadata={"batch": batch}),
            asked_s=trio.current_time(),
            process=process.name,
        )
        requests.append(request)
        consumer.timer_log.requests.append(request)

    async def create(replica: Replica) -> Sequence[NewTimer]:
        intake, now = replica._intake, replica._clock.now()
        timers = [intake.new_timer(each.spec, now, DEFAULT_PROJECT) for each in requests]
        timers = [*intake.together(timers)]
        await intake.create_all(timers)
        return timers

    verdict = Verdict.UNKNOWN
    try:
        timers = await process.request(create)
        verdict = Verdict.ACKNOWLEDGED
    except REFUSALS:
        verdict = Verdict.REFUSED
    except (StorageUnavailableError, ConnectionLostError):
        await trio.sleep(PATIENCE_S)
    for request in requests:
        request.verdict, request.answered_s = verdict, trio.current_time()
    if verdict is Verdict.ACKNOWLEDGED:
        for consumer, timer in zip(consumers, timers, strict=True):
            consumer.timer_id = timer.id
    return requests[0]


CONSUMERS: Final[Sequence[Consume]] = (
    *[consume] * PLAIN,
    *[_consume_in_flow] * IN_FLOWS,
    *[_create_batch] * BATCHES,
)
