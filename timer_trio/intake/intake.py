"""Where timers come in: they are durable when the caller is answered, and near ones are cached."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NoReturn, Protocol, TypeVar

import trio

from timer_trio.callback_url import read_url
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.cells import CellNumber
from timer_trio.domain.errors import (
    CreatesUnknownError,
    CreateUnknownError,
    KeyedCreateUnknownError,
    QuotaUsedUpError,
    RowRefusedError,
)
from timer_trio.domain.flow import FlowKey, refuse_other_flow
from timer_trio.domain.keys import FirstAnswer, KeyedCreate, key_shard
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import (
    NEW_COLUMNS,
    DueTimer,
    Lane,
    NewTimer,
    SpecChange,
    Status,
    TimerId,
    TimerSpec,
    TimerSummary,
    due_timer,
    new_timer_id,
    shard_of,
)
from timer_trio.intake.counted_queue import CountedQueue
from timer_trio.intake.create_queue import CreateQueue
from timer_trio.intake.places import Places
from timer_trio.intake.used_up import UsedUp
from timer_trio.storage.group_commit import repeat_until_answered
from timer_trio.storage.protocols import KeyStorage, TimerStorage
from timer_trio.telemetry.metrics import Metrics
from timer_trio.telemetry.tracing import UNDER_WAY

Reply = TypeVar("Reply")

CREATE_DEADLINE_S: Final = 10.0
"""How long a consumer waits for its commit: below what HTTP clients use to wait."""
OFFER_SLICE: Final = 100
"""Timers offered to the cache in one go: half a millisecond, which no callback notices."""


class IntakeStorage(TimerStorage, KeyStorage, Protocol):
    """What the intake asks of a storage."""


class _Queues:
    """What waits to be written into one cell."""

    def __init__(
        self,
        commit: Callable[[Sequence[NewTimer]], Awaitable[Sequence[None]]],
        commit_keyed: Callable[[Sequence[KeyedCreate]], Awaitable[Sequence[FirstAnswer]]],
        used_up: UsedUp,
        metrics: Metrics,
    ) -> None:
        self.plain = CreateQueue[NewTimer, None]("create", commit, metrics)
        # A plain create never waits for a stranger's key.
        self.keyed = CreateQueue[KeyedCreate, FirstAnswer]("create_keyed", commit_keyed, metrics)
        # Nor for a project that limits its live timers.
        self.counted = CountedQueue[NewTimer, None]("create_counted", commit, used_up, metrics)
        self.counted_keyed = CountedQueue[KeyedCreate, FirstAnswer](
            "create_keyed_counted", commit_keyed, used_up, metrics
        )

    async def run(self) -> NoReturn:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.plain.run)
            nursery.start_soon(self.keyed.run)
            nursery.start_soon(self.counted.run)
            nursery.start_soon(self.counted_keyed.run)
        raise AssertionError("none of them ends")


class Intake:
    """Writes what consumers ask for, and offers it to be fired once it has committed.

    What is written together is in one cell: one that is away keeps no create of another waiting.
    `encrypts`: no replica of the first release can read what is written.
    """

    def __init__(
        self,
        *,
        storage: IntakeStorage,
        clock: Clock,
        offer: Callable[[Iterable[DueTimer]], None],
        metrics: Metrics,
        releases: Releases,
        places: Places,
        window_s: float,
        encrypts: bool = False,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._offer = offer
        self._metrics = metrics
        self._releases = releases
        self._places = places
        self._cells = places.cells
        self._window = timedelta(seconds=window_s)
        self._encrypts = encrypts
        self._random_bits = random_bits
        self._used_up = UsedUp(clock)
        self._queues = [
            _Queues(self._commit, self._commit_keyed, self._used_up, metrics)
            for _ in self._cells.numbers
        ]

    async def run(self) -> NoReturn:
        async with trio.open_nursery() as nursery:
            for queues in self._queues:
                nursery.start_soon(queues.run)
        raise AssertionError("none of them ends")

    async def create(
        self,
        spec: TimerSpec,
        arrived_at: datetime,
        project: ProjectId,
        flow_key: FlowKey | None = None,
        *,
        max_live: int | None = None,
    ) -> TimerSummary:
        """Write a new timer; it is durable when this returns.

        It is created as of `arrived_at`, from which a delay counts: not later than it is due.

        Raises:
            QuotaUsedUpError: its project has `max_live` live timers.
            RowRefusedError: the database refuses a value.
            OlderReplicasError: replicas are alive that do not know what it asks for.
            CreateUnknownError: it was not answered in time, and may be there or not.
        """
        timer = self.new_timer(spec, arrived_at, project, flow_key=flow_key, max_live=max_live)
        await self._require_known([timer])
        self._refuse_if_used_up([timer])
        queues = self._queues_of(timer)
        queue = queues.plain if max_live is None else queues.counted
        with trio.move_on_after(CREATE_DEADLINE_S):
            await queue.submit(timer, spec)
            return new_summary(timer)
        raise CreateUnknownError(timer.id)

    async def create_keyed(self, create: KeyedCreate) -> FirstAnswer:
        """Write new timers under an idempotency key, unless it stands for others already.

        Returns what the key stands for; that is durable.

        Raises:
            RowRefusedError: the database refuses a value of one of them.
            OlderReplicasError: replicas are alive that do not know what one of them asks for.
            KeyedCreateUnknownError: it was not answered in time, and they may be there or not.
            QuotaUsedUpError: the key is free, and the project has not room for them.
        """
        await self._require_known(create.timers)
        first = create.timers[0]
        queues = self._queues_of(first)
        queue = queues.keyed if first.max_live is None else queues.counted_keyed
        with trio.move_on_after(CREATE_DEADLINE_S):
            if refusal := self._refusal(create.timers):
                return await self._earlier_answer(create, refusal)
            if len(create.timers) == 1:
                return await queue.submit(create, first.spec)
            return await self._create_many_keyed(create)
        raise KeyedCreateUnknownError

    async def create_named(self, timers: Sequence[NewTimer], before: Mapping[str, TimerId]) -> bool:
        """Write new timers under their names, as KeyStorage.create_named, until that is answered.

        Raises:
            RowRefusedError, OlderReplicasError, QuotaUsedUpError: as `create_all`.

        Cancellation: as `create_all`.
        """
        await self._require_known(timers)
        self._refuse_if_used_up(timers)
        return await self._write(
            "create_named",
            timers,
            lambda: self._storage.create_named(timers, before, self._clock.now()),
            lambda is_there: is_there,
        )

    def new_timer(
        self,
        spec: TimerSpec,
        now: datetime,
        project: ProjectId,
        key: str | None = None,
        *,
        flow_key: FlowKey | None = None,
        max_live: int | None = None,
        under: str | None = None,
    ) -> NewTimer:
        """Return a timer with an id of its own; nothing is written yet.

        One in a flow gets the flow's shard, else one with a name the name's, else one to be written
        under an idempotency key, `under`, the key's. Any other near one gets a shard of our own:
        nobody else need hear of it. With `max_live` it is counted, and written only if its project
        has not as many live timers already.

        Raises:
            SeveralCellsError: its name is of another cell than its flow.
        """
        shard = self._places.said(project, flow_key, key)
        if shard is None and under is not None:
            shard = key_shard(project, under)
        if shard is None:
            shard = self._places.choose(own=self._is_near(spec, now))
        return NewTimer(
            id=new_timer_id(now, shard, self._random_bits),
            created_at=now,
            spec=spec,
            key=key,
            project=project,
            flow_key=flow_key,
            max_live=max_live,
            traceparent=UNDER_WAY.get(),
        )

    def together(self, timers: Sequence[NewTimer], under: str | None = None) -> Sequence[NewTimer]:
        """Return new timers that are all in one cell; those that may be in any get other ids.

        It is the cell of what has a flow or a name, else of an idempotency key, `under`.

        Raises:
            SeveralCellsError: their flows and names are of several.
        """
        if self._cells.is_single:
            return timers
        cell = self._cells.only(shard_of(timer.id) for timer in timers if _is_placed(timer))
        if cell is None:
            first = shard_of(timers[0].id) if under is None else key_shard(timers[0].project, under)
            cell = self._cells.of_shard(first)
        return [self._moved_to(cell, timer) for timer in timers]

    def runs(self, timers: Iterable[NewTimer]) -> Iterator[list[NewTimer]]:
        """Divide new timers, in their order, into as few parts as can be written together each."""
        run: list[NewTimer] = []
        cell = None
        for timer in timers:
            wanted = self._cells.of_timer(timer.id) if cell is None or _is_placed(timer) else cell
            if wanted != cell and run:
                yield run
                run = []
            cell = wanted
            run.append(self._moved_to(cell, timer))
        if run:
            yield run

    async def create_all(self, timers: Sequence[NewTimer]) -> None:
        """Write new timers of one cell, all or none; they are durable when this returns.

        Raises:
            RowRefusedError: the database refuses a value of one of them.
            OlderReplicasError: replicas are alive that do not know what one of them asks for.
            CreatesUnknownError: it was not answered in time, and all may be there or none.
            QuotaUsedUpError: their project has not room for all of them.

        Cancellation: what is being written is written to its end, and offered.
        """
        await self._require_known(timers)
        self._refuse_if_used_up(timers)
        now = self._clock.now()
        with trio.move_on_after(CREATE_DEADLINE_S):
            return await self._write(
                "create_many",
                timers,
                lambda: self._storage.create_many(timers, now),
                lambda _none: True,
            )
        raise CreatesUnknownError([timer.id for timer in timers])

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        project: ProjectId,
        flow_key: FlowKey | None = None,
    ) -> TimerSummary:
        """Change a timer that waits.

        `flow_key` is the flow that it is said to be in; None: nothing is said.

        Raises:
            FlowFixedError: it is not in that flow; it was not changed.
            TimerNotFoundError, NotPendingError, IsResultError, RowRefusedError: as
                TimerStorage.update.
            OlderReplicasError: replicas are alive that do not know what it asks for.
            StorageUnavailableError: it may have been changed or not.
            ContentionError: it was not changed.
        """
        if self._encrypts or change.keys() & NEW_COLUMNS:
            await self._releases.require_all_new()
        if flow_key is not None:
            # A look before is enough: nothing moves a timer to another flow.
            known = await self._storage.get(timer_id, project)
            refuse_other_flow(known.flow_key, flow_key)
        summary = await self._storage.update(timer_id, change, self._clock.now(), project)
        if summary.status is Status.PENDING or "execute_at" in change:
            destination = read_url(summary.callback_url).destination
            lane = Lane(destination, project)
            self._offer([DueTimer(summary.execute_at, summary.id, lane, summary.flow_key)])
        return summary

    async def cancel(self, timer_id: TimerId, project: ProjectId) -> TimerSummary:
        """Cancel a timer that waits; a canceled one stays as it is.

        Raises:
            TimerNotFoundError, NotPendingError: as TimerStorage.cancel.
            StorageUnavailableError: it may have been canceled or not.
            ContentionError: it was not canceled.
        """
        return await self._storage.cancel(timer_id, self._clock.now(), project)

    def _queues_of(self, timer: NewTimer) -> _Queues:
        return self._queues[self._cells.of_timer(timer.id)]

    def _is_near(self, spec: TimerSpec, now: datetime) -> bool:
        return spec.execute_at < now + self._window

    def _moved_to(self, cell: CellNumber, timer: NewTimer) -> NewTimer:
        if self._cells.of_timer(timer.id) == cell:
            return timer
        is_near = self._is_near(timer.spec, timer.created_at)
        shard = self._places.choose(own=is_near, cell=cell)
        return replace(timer, id=new_timer_id(timer.created_at, shard, self._random_bits))

    async def _require_known(self, timers: Sequence[NewTimer]) -> None:
        if self._encrypts or not all(timer.is_plain for timer in timers):
            await self._releases.require_all_new()

    def _refusal(self, timers: Sequence[NewTimer]) -> QuotaUsedUpError | None:
        """Return how new timers of a project are refused of which we know that it is full."""
        first = timers[0]
        return self._used_up.refusal(first.project, first.max_live, len(timers))

    def _refuse_if_used_up(self, timers: Sequence[NewTimer]) -> None:
        if refusal := self._refusal(timers):
            raise refusal

    async def _earlier_answer(self, create: KeyedCreate, refusal: QuotaUsedUpError) -> FirstAnswer:
        """Return what a key stands for already; what it does not is refused."""
        first = await repeat_until_answered(
            lambda: self._storage.first_answer(create.key, self._clock.now(), create.project)
        )
        if first is None:
            raise refusal
        return first

    async def _create_many_keyed(self, create: KeyedCreate) -> FirstAnswer:
        now = self._clock.now()
        (answer,) = await self._write(
            "create_keyed",
            create.timers,
            lambda: self._storage.create_keyed([create], now),
            lambda answers: answers[0].timer_ids == create.answer.timer_ids,
        )
        return answer

    async def _write(
        self,
        verb: str,
        timers: Sequence[NewTimer],
        call: Callable[[], Awaitable[Reply]],
        are_there: Callable[[Reply], bool],
    ) -> Reply:
        """Make a call that writes timers until it is answered, and offer them if they are there.

        Cancellation: they are offered. Nobody else knows of near ones until the loader's next look,
        and what is not there after all does no harm in the cache.
        """
        began_s, is_offered = trio.current_time(), True
        try:
            reply = await repeat_until_answered(call)
            is_offered = are_there(reply)
        except RowRefusedError:
            is_offered = False
            raise
        except QuotaUsedUpError as error:
            is_offered = False
            self._used_up.note(error)
            raise
        finally:
            if is_offered:
                with trio.CancelScope(shield=True):
                    await self._offer_all(timers)
        self._metrics.flushed(verb, len(timers), trio.current_time() - began_s)
        return reply

    async def _offer_all(self, timers: Sequence[NewTimer]) -> None:
        for start in range(0, len(timers), OFFER_SLICE):
            some = timers[start : start + OFFER_SLICE]
            self._offer(map(due_timer, some))
            await trio.lowlevel.checkpoint()

    async def _commit(self, timers: Sequence[NewTimer]) -> Sequence[None]:
        await self._storage.create(timers, self._clock.now())
        self._offer(map(due_timer, timers))
        return [None] * len(timers)

    async def _commit_keyed(self, creates: Sequence[KeyedCreate]) -> Sequence[FirstAnswer]:
        """Write the first create of each key, and answer each what its key stands for."""
        first = {(create.project, create.key): create for create in reversed(creates)}
        answers = await self._storage.create_keyed([*first.values()], self._clock.now())
        stands = dict(zip(first, answers, strict=True))
        self._offer(
            due_timer(timer)
            for name, create in first.items()
            if stands[name].timer_ids == create.answer.timer_ids
            for timer in create.timers
        )
        return [stands[create.project, create.key] for create in creates]


def _is_placed(timer: NewTimer) -> bool:
    """Whether a flow or a name says where it is."""
    return timer.flow_key is not None or timer.key is not None


def new_summary(timer: NewTimer) -> TimerSummary:
    return TimerSummary(
        id=timer.id,
        created_at=timer.created_at,
        execute_at=timer.spec.execute_at,
        callback_url=timer.spec.callback.url.text,
        status=Status.PENDING,
        executed_at=None,
        flow_key=timer.flow_key,
    )
