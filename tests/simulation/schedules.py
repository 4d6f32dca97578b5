"""Random histories of schedules: what goes wrong, and what consumers do, out of one seed."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import Final

import trio

from tests.simulation.far_end import RETRIED, Behaviour
from tests.simulation.faults import Away, Fault, Faults
from tests.simulation.schedule_consumers import ScheduleConsumer, template_of
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.world import Build, Process, run_in
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.schedule import CatchUp, Overlap, ScheduleSpec, Timing
from timer_trio.domain.schedule_rule import CronRule, EveryRule, RecurrenceRule, Rule
from timer_trio.domain.timer import Delivery, TimerSpec

SPANS_S: Final = (90.0, 240.0, 600.0)
"""In which consumers act and things go wrong; in the longest what was planned first runs out."""
FIRST_S: Final = 1.0
"""By then the first replica serves."""
CONSUMERS: Final = 6
NAMES: Final = ("a name", "another name")
HOUR_S: Final = 3_600.0
QUICK_RULES: Final = (
    EveryRule(seconds=2),
    EveryRule(seconds=7.5),
    CronRule(text="*/5 * * * * *", timezone="Europe/Berlin"),
)
RULES: Final = (
    EveryRule(seconds=30),
    EveryRule(seconds=90),
    EveryRule(seconds=700),
    CronRule(text="* * * * *", timezone="UTC"),
    CronRule(text="30 1-59/2 * * * *", timezone="America/New_York"),
    RecurrenceRule(
        text="FREQ=DAILY;BYHOUR=0,1;BYMINUTE=0,1,2,3,5,8,13,21,34,55;BYSECOND=0,20",
        timezone="UTC",
    ),
)


class Trial(StrEnum):
    """The one great thing that goes wrong in a history of schedules."""

    CALM = "calm"
    CRASH = "crash"
    OUTAGE = "outage"
    HOUR = "outage-of-up-to-an-hour"
    FREEZE = "freeze"
    DEATH = "one-of-two-dies"
    HAND_OVER = "one-of-two-stops"
    JOIN = "two-join"
    CUT_OFF = "one-of-two-is-cut-off"


class _Plan:
    """What a seed decides before the world begins."""

    def __init__(self, seed: int, trial: Trial) -> None:
        self.random = random = Random(f"schedules {trial} {seed}")
        self.trial = trial
        self.span_s = random.choice(SPANS_S)
        self.climax_s = random.uniform(5.0, self.span_s * 0.75)
        self.away_s = random.choice([0.3, 5.0, 45.0, random.uniform(1.0, 120.0)])
        if trial is Trial.HOUR:
            self.away_s = random.uniform(0.1, 1.0) * HOUR_S

    @property
    def faults(self) -> Faults:
        random, rates, outages = self.random, dict[Fault, float](), list[Away]()
        if random.random() < 0.5:
            rates = {fault: random.choice([0.0, 0.01, 0.05]) for fault in Fault}
        if self.trial in {Trial.OUTAGE, Trial.HOUR, Trial.CUT_OFF}:
            process = "process 0" if self.trial is Trial.CUT_OFF else None
            ended_s = self.climax_s + self.away_s
            outages = [Away(began_s=self.climax_s, ended_s=ended_s, process=process)]
        return Faults(
            rates=rates,
            outages=outages,
            delay_s=random.choice([0.001, 0.01]),
            lost_hints=random.choice([0.0, 0.0, 0.3]),
        )


def history_of_schedules(seed: int, trial: Trial, build: Build | None = None) -> ScheduleWorld:
    """Run the history of a seed; returns its world, in which nothing goes on."""
    plan = _Plan(seed, trial)

    async def script(world: ScheduleWorld) -> ScheduleWorld:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_play, world, plan)
            for _ in range(CONSUMERS):
                nursery.start_soon(_consume, world, plan)
        await world.healed()
        await end_all(world)
        await world.settled()
        return world

    return run_in(ScheduleWorld, seed, plan.faults, script, build)


async def end_all(world: ScheduleWorld) -> None:
    """End every schedule that lives, as its consumer does."""
    for schedule_id in [*world.schedules]:
        consumer = ScheduleConsumer(world)
        consumer.schedule_id = schedule_id
        await consumer.end()


async def _play(world: ScheduleWorld, plan: _Plan) -> None:
    two = {Trial.FREEZE, Trial.DEATH, Trial.HAND_OVER, Trial.CUT_OFF}
    first = await world.start_process(alone=plan.trial is Trial.CRASH)
    if plan.trial in two or (plan.trial is not Trial.CRASH and world.random.random() < 0.3):
        await first.replica.wait_loaded()
        await world.start_process(alone=False)
    await trio.sleep_until(plan.climax_s)
    await _go_wrong(world, plan.trial, first)
    await trio.sleep_until(plan.span_s)


async def _go_wrong(world: ScheduleWorld, trial: Trial, first: Process) -> None:
    match trial:
        case Trial.CRASH:
            await _crash(world, first)
        case Trial.FREEZE:
            await first.freeze(world.random.choice([0.5, 2.9, 4.5, 9.0, 20.0]))
        case Trial.DEATH:
            first.die()
        case Trial.HAND_OVER:
            await first.stop()
        case Trial.JOIN:
            await world.start_process(alone=False)
            await trio.sleep(world.random.choice([0.0, 0.5, 3.0, 20.0]))
            await world.start_process(alone=False)
        case Trial.CALM | Trial.OUTAGE | Trial.HOUR | Trial.CUT_OFF:
            pass


async def _crash(world: ScheduleWorld, first: Process) -> None:
    began_s = trio.current_time()
    first.kill()
    await trio.sleep(world.random.choice([0.0, 0.05, 2.0, 10.0, 100.0]))
    await world.start_process(alone=True)
    world.trouble("a crash", began_s, recovery_s=2.0)


async def _consume(world: ScheduleWorld, plan: _Plan) -> None:
    random, consumer = world.random, ScheduleConsumer(world)
    await trio.sleep(random.choice([FIRST_S, random.uniform(FIRST_S, plan.span_s / 2)]))
    retry = _policy(random) if random.random() < 0.4 else None
    name = random.choice(NAMES) if random.random() < 0.4 else None
    template = random_template(world, retry)
    await consumer.create(ScheduleSpec(name=name, timing=_timing(world, plan), template=template))
    moments_s = sorted(_moment_s(random, plan) for _ in range(random.choice([0, 1, 2, 4, 8])))
    for moment_s in moments_s:
        await trio.sleep_until(moment_s)
        if consumer.schedule_id is None:
            return
        await _act(world, plan, consumer, retry)


def _moment_s(random: Random, plan: _Plan) -> float:
    """Choose when to do something: what is done while something goes wrong shows most."""
    around = [plan.climax_s, plan.climax_s + plan.away_s]
    if random.random() < 0.4:
        return random.choice(around) + random.choice([0.0, random.uniform(-1.0, 5.0)])
    return random.uniform(FIRST_S, plan.span_s)


async def _act(
    world: ScheduleWorld, plan: _Plan, consumer: ScheduleConsumer, retry: RetryPolicy | None
) -> None:
    random = world.random
    actions = (
        "rule rule fields both pause pause resume resume trigger trigger backfill backfill"
        " cancel cancel end"
    )
    match random.choice([*actions.split(), "put"] if retry is None else actions.split()):
        case "rule":
            await consumer.change(_timing(world, plan), None)
        case "fields":
            await consumer.change(None, random_template(world, retry))
        case "both":
            await consumer.change(_timing(world, plan), random_template(world, retry))
        case "pause":
            await consumer.pause()
        case "resume":
            await consumer.resume()
        case "trigger":
            await consumer.trigger()
        case "backfill":
            spacing_s, limit = random.choice([0.0, 0.5, 5.0]), random.choice([1, 5, 30])
            await consumer.backfill(ago_s=120.0, limit=limit, spacing_s=spacing_s)
        case "cancel":
            await consumer.cancel_one()
        case "end":
            await consumer.end()
        case _:
            spec = ScheduleSpec(
                name=random.choice(NAMES),
                timing=_timing(world, plan),
                template=random_template(world, None),
            )
            await consumer.create(spec)


def _timing(world: ScheduleWorld, plan: _Plan) -> Timing:
    random, now = world.random, world.now()
    starts_s = random.choice([None, None, None, -1000.0, -7.0, 0.0, 3.0, 40.0])
    ends_s = random.choice([*[None] * 6, 20.0, 100.0])
    jitter_s = random.choice([0.0, 0.0, 0.0, 1.5, 30.0])
    return Timing(
        rule=_rule(random, plan),
        start_at=None if starts_s is None else now + timedelta(seconds=starts_s),
        end_at=None if ends_s is None else now + timedelta(seconds=ends_s),
        max_occurrences=random.choice([*[None] * 6, 1, 5, 40]),
        catch_up=random.choice([*CatchUp]),
        overlap=random.choice([*Overlap]),
        jitter_s=jitter_s,
    )


def _rule(random: Random, plan: _Plan) -> Rule:
    """Choose a rule: in long histories few of the quick ones, which cost the most."""
    is_quick = random.random() < (0.5 if plan.span_s + plan.away_s < 500.0 else 0.1)
    return random.choice(QUICK_RULES if is_quick else RULES)


def random_template(world: ScheduleWorld, retry: RetryPolicy | None) -> TimerSpec:
    random = world.random
    healthy = RETRIED if retry else (Behaviour.FAST,)
    odd = (*healthy, Behaviour.SLOW, Behaviour.SLOW, Behaviour.ERROR, Behaviour.BROKEN)
    return template_of(
        world,
        behaviour=random.choice(odd if random.random() < 0.5 else healthy),
        delivery=random.choice([*Delivery, Delivery.AT_LEAST_ONCE]),
        timeout_s=random.choice([0.5, 3.0, 12.0]),
        grace_s=random.choice([5.0, 300.0, None]),
        retry=retry,
    )


def _policy(random: Random) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=random.choice([2, 3, 4]),
        delays=random.choice([(0.5,), (1.0, 3.0), (8.0,)]),
        jitter=random.choice([0.0, 0.2]),
    )
