"""Timers by the names that consumers give them: at most one live timer has a name.

A live timer keeps its name, so what is done to it is done by its id; whoever finds it ended looks
again. A new timer takes the name of one that has ended in the statement that writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, assert_never

import trio

from timer_trio.domain.errors import (
    CreatesUnknownError,
    CreateUnknownError,
    NameTakenError,
    NoSuchNameError,
    NotPendingError,
    TimerNotFoundError,
)
from timer_trio.domain.flow import FlowKey, refuse_other_flow
from timer_trio.domain.keys import HeldName, OnConflict
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import (
    ENDED,
    NewTimer,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSpec,
    TimerSummary,
)
from timer_trio.intake.intake import CREATE_DEADLINE_S, Intake, new_summary
from timer_trio.storage.columns import change_to
from timer_trio.storage.group_commit import repeat_until_answered
from timer_trio.storage.protocols import KeyStorage


class Written(NamedTuple):
    timer: TimerSummary
    is_new: bool


class Names:
    """What the consumers of one project do to timers by their names.

    With `max_live` the project has no more live timers than so many.
    """

    def __init__(
        self,
        storage: KeyStorage,
        intake: Intake,
        project: ProjectId,
        max_live: int | None = None,
    ) -> None:
        self._storage = storage
        self._intake = intake
        self._project = project
        self._max_live = max_live

    async def create(
        self,
        key: str,
        spec: TimerSpec,
        arrived_at: datetime,
        on_conflict: OnConflict,
        flow_key: FlowKey | None = None,
    ) -> Written:
        """Write a new timer under a name, or do as told with the live one that has it.

        That one stays in its flow; a `flow_key` of None says nothing of it.

        Raises:
            FlowFixedError: the live one is to be replaced, and is not in this flow.
            NameTakenError: a live timer has the name and stays as it is.
            RowRefusedError: the database refuses a value.
            CreateUnknownError: it was not answered in time, and may be there or not.
            QuotaUsedUpError: the name is free, and the project has no room for a live timer.
            StorageUnavailableError: the live one may have been changed or not.
        """
        timer = self._intake.new_timer(
            spec, arrived_at, self._project, key, flow_key=flow_key, max_live=self._max_live
        )
        with trio.move_on_after(CREATE_DEADLINE_S):
            while True:
                before, live = await self._look_up(key)
                if live is not None:
                    if written := await self._meet(live, timer, on_conflict):
                        return written
                elif await self._intake.create_named([timer], before):
                    return Written(new_summary(timer), is_new=True)
        raise CreateUnknownError(timer.id)

    async def create_all(self, timers: Sequence[NewTimer]) -> Mapping[str, HeldName]:
        """Write new timers, all or none, those that have a name under it: each name once.

        Answers which of their names live timers have: none was written then, if there are any.

        Raises:
            RowRefusedError, OlderReplicasError, CreatesUnknownError, QuotaUsedUpError: as
                Intake.create_all.

        Cancellation: as Intake.create_all.
        """
        keys = [timer.key for timer in timers if timer.key is not None]
        if not keys:
            await self._intake.create_all(timers)
            return {}
        with trio.move_on_after(CREATE_DEADLINE_S):
            while True:
                held = await repeat_until_answered(
                    lambda: self._storage.held_names(keys, self._project)
                )
                if taken := {key: name for key, name in held.items() if name.is_live}:
                    return taken
                before = {key: name.timer_id for key, name in held.items()}
                if await self._intake.create_named(timers, before):
                    return {}
        raise CreatesUnknownError([timer.id for timer in timers])

    def runs(self, timers: Iterable[NewTimer]) -> Iterator[Sequence[NewTimer]]:
        """Divide new timers as Intake.runs: `create_all` takes one such part at a time."""
        return self._intake.runs(timers)

    async def get(self, key: str) -> Timer:
        """Read the live timer of this name, or the last one that ended.

        Raises:
            NoSuchNameError: there is none.
        """
        holder = await self._storage.name_holder(key, self._project)
        if holder is None or holder.timer is None:
            raise NoSuchNameError
        return holder.timer

    async def cancel(self, key: str) -> TimerSummary:
        """Cancel the live timer of this name.

        Raises:
            NoSuchNameError: there is none.
            NameTakenError: it is executing.
            StorageUnavailableError: it may have been canceled or not.
        """
        while True:
            holder = await self._storage.name_holder(key, self._project)
            if holder is None or holder.timer is None or holder.timer.status in ENDED:
                raise NoSuchNameError
            try:
                return await self._intake.cancel(holder.timer_id, self._project)
            except NotPendingError as error:
                _refuse_unless_ended(holder.timer_id, error, "canceled")
            except TimerNotFoundError:
                pass

    async def _look_up(self, key: str) -> tuple[Mapping[str, TimerId], Timer | None]:
        """Name the timer that a name stands for, by that name; it comes whole if it lives."""
        holder = await repeat_until_answered(lambda: self._storage.name_holder(key, self._project))
        if holder is None:
            return {}, None
        timer = holder.timer
        return {key: holder.timer_id}, timer if timer and timer.status not in ENDED else None

    async def _meet(self, live: Timer, new: NewTimer, on_conflict: OnConflict) -> Written | None:
        match on_conflict:
            case OnConflict.REJECT:
                raise name_taken(live.id, live.status)
            case OnConflict.KEEP:
                return Written(live.summary, is_new=False)
            case OnConflict.REPLACE:
                refuse_other_flow(live.flow_key, new.flow_key)
                return await self._replace(live.id, change_to(new.spec))
            case _:
                assert_never(on_conflict)

    async def _replace(self, timer_id: TimerId, change: SpecChange) -> Written | None:
        """Change a timer that lived just now; None: it does not any more."""
        try:
            summary = await self._intake.update(timer_id, change, self._project)
            return Written(summary, is_new=False)
        except NotPendingError as error:
            _refuse_unless_ended(timer_id, error, "replaced")
        except TimerNotFoundError:
            pass
        return None


def name_taken(timer_id: TimerId, status: Status | None) -> NameTakenError:
    """Return what a new timer meets whose name this live one has."""
    return NameTakenError(timer_id, f"is there already, and {status}")


def _refuse_unless_ended(timer_id: TimerId, error: NotPendingError, what: str) -> None:
    if error.status not in ENDED:
        raise NameTakenError(timer_id, f"is {error.status} and cannot be {what}") from None
