"""The planner: writes the next occurrences of the schedules in this replica's shards.

It stands beside the loader, and works as that one does: whoever owns a shard plans its schedules,
and two who both believe to own one do no harm, since a plan holds only for what it began from.
Who creates or changes a schedule plans its first occurrences at once, so no other replica need be
told of it: a look a minute finds what must be planned, minutes before it is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from math import inf
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.calendar import RuleError
from timer_trio.clock import Clock
from timer_trio.domain.errors import (
    ContentionError,
    RowRefusedError,
    RowsFailedError,
    StorageUnavailableError,
)
from timer_trio.domain.planning import Calendar, plan
from timer_trio.domain.schedule import (
    Plan,
    Schedule,
    ScheduleId,
    UnreadableSchedule,
    due_occurrences,
)
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import DueTimer
from timer_trio.scheduler.replanning import Replanner
from timer_trio.storage import ScheduleStorage
from timer_trio.storage.group_commit import RETRY_PAUSE_S
from timer_trio.storage.halving import by_halves
from timer_trio.telemetry.metrics import Metrics

INTERVAL_S: Final = 60.0
"""Between two looks at most: what is planned has LEAST_LEAD minutes until it is needed."""
LEAST_PAUSE_S: Final = 30.0
"""Between two looks at least, whatever is to be planned: one plan serves many schedules."""
AGAIN_S: Final = 1.0
"""After a look that left something: a schedule that somebody locks or has just changed."""
PAGE: Final = 100
"""Schedules that are read, and planned, in one go."""
MAX_ROWS: Final = 500
"""Occurrences in one statement: some 20 ms, so that a claim never waits long for it."""
COUNT_INTERVAL_S: Final = 300.0
"""Between two counts of the schedules, which reads them all."""

log = structlog.get_logger()


class Planner:
    """Plans what must be planned, and looks at once when shards were gained.

    `offer` gets what is near, for whoever is to fire it. `interval_s` passes between two looks if
    nothing is known that must be planned before.
    """

    def __init__(
        self,
        *,
        storage: ScheduleStorage,
        clock: Clock,
        calendar: Calendar,
        replanner: Replanner,
        shards: Shards,
        offer: Callable[[Iterable[DueTimer]], None],
        metrics: Metrics,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._calendar = calendar
        self._replanner = replanner
        self._shards = shards
        self._offer = offer
        self._metrics = metrics
        self._interval_s = interval_s
        self._is_wanted = trio.Event()
        self._pause = trio.CancelScope()
        self._expected_s = inf
        self._has_new_shards = True
        self._counted_s = -inf
        self._counted: Counter[str] = Counter()
        self._lag_s = 0.0
        metrics.planner_lag_s.add(lambda: self._lag_s)

    def look(self) -> None:
        """Have it look at once, by other zone data too: shards were gained, or time went by."""
        self._has_new_shards = True
        self._is_wanted.set()

    def expect(self, plan_at: datetime) -> None:
        """Take note that a schedule must be planned then: this process has just written it."""
        look_at_s = trio.current_time() + self._pause_s(plan_at)
        self._expected_s = min(self._expected_s, look_at_s)
        self._pause.deadline = min(self._pause.deadline, look_at_s)

    async def run(self) -> NoReturn:
        """Plan for ever."""
        while True:
            self._is_wanted, self._expected_s = trio.Event(), inf
            until_s = await self._look() + trio.current_time()
            # What was written during the look may not have been seen by it.
            with trio.move_on_at(min(until_s, self._expected_s)) as self._pause:
                await self._is_wanted.wait()

    async def _look(self) -> float:
        """Plan what must be planned, and answer how long nothing more must be."""
        try:
            await self._replan_outdated()
            await self._count()
            plan_at = await self._storage.next_plan_at(self._shards.own)
            if plan_at is None or plan_at > self._clock.now():
                return self._pause_s(plan_at)
            return LEAST_PAUSE_S if await self._plan_due() else AGAIN_S
        except (StorageUnavailableError, ContentionError) as error:
            log.debug("planning_failed", reason=str(error))
            return RETRY_PAUSE_S

    def _pause_s(self, plan_at: datetime | None) -> float:
        """Return how long to pause if a schedule must be planned then; None: none is known."""
        if plan_at is None:
            return self._interval_s
        return min(self._interval_s, max(LEAST_PAUSE_S, self._clock.seconds_until(plan_at)))

    async def _plan_due(self) -> bool:
        """Plan all that must be planned; answers whether nothing was left."""
        while True:
            now = self._clock.now()
            found = await self._storage.due_schedules(self._shards.own, now, PAGE)
            self._note_lag(found, now)
            plans = await self._plans_of(found, now)
            held = await self._write(plans)
            if len(found) < PAGE and all(held) and not any(_is_due(one, now) for one in plans):
                return True
            if not any(held):
                return not found

    def _note_lag(self, found: Sequence[Schedule | UnreadableSchedule], now: datetime) -> None:
        planned_at = [one.plan_at for one in found if isinstance(one, Schedule) and one.plan_at]
        waited_s = (now - min(planned_at, default=now)).total_seconds()
        self._lag_s = max(0.0, waited_s - self._interval_s)

    async def _plans_of(
        self, schedules: Sequence[Schedule | UnreadableSchedule], now: datetime
    ) -> list[Plan]:
        """Decide what to write of each; one whose rule cannot be followed is paused in words."""
        plans: list[Plan] = []
        for schedule in schedules:
            try:
                if isinstance(schedule, UnreadableSchedule):
                    await self._break(schedule.id, schedule.version, schedule.reason)
                else:
                    plans.append(plan(schedule, self._calendar, now))
            except RuleError as error:
                await self._break(schedule.id, schedule.version, f"{error.field} {error}")
            except Exception as error:
                log.exception("schedule_broke", schedule_id=str(schedule.id))
                words = f"internal error: {type(error).__name__}"
                await self._break(schedule.id, schedule.version, words)
            await trio.lowlevel.checkpoint()
        return plans

    async def _write(self, plans: Sequence[Plan]) -> list[bool]:
        """Write plans, and offer what is near; answers which of them held."""
        answers: list[bool] = []
        for some in _statements(plans):
            answers += await self._write_some(some)
        return answers

    async def _write_some(self, plans: Sequence[Plan]) -> list[bool]:
        held: dict[ScheduleId, bool] = {}
        failed: list[tuple[Plan, str]] = []

        async def write(some: Sequence[Plan]) -> None:
            answers = await self._storage.plan(some, self._clock.now())
            held.update(zip((each.schedule.id for each in some), answers, strict=True))

        def on_failed(one: Plan, error: RowRefusedError | RowsFailedError) -> None:
            failed.append((one, str(error)))

        await by_halves(plans, write, on_failed)
        for one in plans:
            if held.get(one.schedule.id):
                self._take_note(one)
        for one, reason in failed:
            words = f"the database refuses its occurrences: {reason}"
            await self._break(one.schedule.id, one.schedule.version, words)
        return [held.get(one.schedule.id, False) for one in plans]

    def _take_note(self, written: Plan) -> None:
        self._offer(due_occurrences(written.occurrences))
        self._metrics.planned.inc(len(written.occurrences))
        if written.skipped:
            self._metrics.skipped.inc(written.skipped)
            log.info(
                "occurrences_skipped",
                schedule_id=str(written.schedule.id),
                count=written.skipped,
                reason="the service was away when they were due",
            )

    async def _replan_outdated(self) -> None:
        """Plan those anew that were planned with older zone data, once for new shards."""
        if not self._has_new_shards:
            return
        shards, zone_data = self._shards.own, self._calendar.zone_data
        while found := await self._storage.outdated_schedules(shards, zone_data, PAGE):
            for schedule in found:
                await self._replan(schedule)
        self._has_new_shards = shards != self._shards.own

    async def _replan(self, schedule: Schedule | UnreadableSchedule) -> None:
        if isinstance(schedule, UnreadableSchedule):
            await self._break(schedule.id, schedule.version, schedule.reason)
            return
        try:
            await self._replanner.replan(schedule.id, schedule.project)
        except RuleError as error:
            await self._break(schedule.id, schedule.version, f"{error.field} {error}")

    async def _break(self, schedule_id: ScheduleId, version: int, reason: str) -> None:
        if await self._storage.break_schedule(schedule_id, version, reason, self._clock.now()):
            log.error("schedule_paused", schedule_id=str(schedule_id), reason=reason)

    async def _count(self) -> None:
        now_s = trio.current_time()
        if now_s < self._counted_s + COUNT_INTERVAL_S:
            return
        for status, count in (await self._storage.count_schedules()).items():
            # Those of other cells are counted beside.
            self._metrics.schedules.labels(status).inc(count - self._counted[status])
            self._counted[status] = count
        self._counted_s = now_s


def _is_due(written: Plan, now: datetime) -> bool:
    """Whether there is more of it to be planned."""
    plan_at = written.schedule.plan_at
    return plan_at is not None and plan_at <= now


def _statements(plans: Sequence[Plan]) -> Iterator[list[Plan]]:
    """Divide plans so that a statement has no more than MAX_ROWS occurrences, if it can be."""
    some: list[Plan] = []
    rows = 0
    for one in plans:
        if some and rows + len(one.occurrences) > MAX_ROWS:
            yield some
            some, rows = [], 0
        some.append(one)
        rows += len(one.occurrences)
    if some:
        yield some
