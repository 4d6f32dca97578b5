"""A queue of creates whose projects limit how many live timers they have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NoReturn, Protocol, TypeVar

from timer_trio.domain.errors import QuotaUsedUpError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import TimerSpec
from timer_trio.intake.create_queue import CreateQueue
from timer_trio.intake.used_up import UsedUp
from timer_trio.telemetry.metrics import Metrics


class OfProject(Protocol):
    @property
    def project(self) -> ProjectId: ...


Row = TypeVar("Row", bound=OfProject)
Reply = TypeVar("Reply")


class CountedQueue(Generic[Row, Reply]):
    """Queues such creates: they share no statement with others, and none with another project's.

    `commit` writes some of one project, all or none.
    """

    def __init__(
        self,
        verb: str,
        commit: Callable[[Sequence[Row]], Awaitable[Sequence[Reply]]],
        used_up: UsedUp,
        metrics: Metrics,
    ) -> None:
        self._commit = commit
        self._used_up = used_up
        self._queue = CreateQueue[Row, Reply | QuotaUsedUpError](verb, self._commit_all, metrics)

    async def run(self) -> NoReturn:
        await self._queue.run()

    async def submit(self, row: Row, spec: TimerSpec) -> Reply:
        """Return when the create of timers such as this spec has committed.

        Raises:
            RowRefusedError: the database refuses it.
            QuotaUsedUpError: its project has no room for it.
        """
        reply = await self._queue.submit(row, spec)
        if isinstance(reply, QuotaUsedUpError):
            raise reply
        return reply

    async def _commit_all(self, rows: Sequence[Row]) -> Sequence[Reply | QuotaUsedUpError]:
        if not rows:  # whoever asks wants to know whether the database does this at all
            return await self._commit(rows)
        replies: dict[int, Reply | QuotaUsedUpError] = {}
        for project in dict.fromkeys(row.project for row in rows):
            places = [place for place, row in enumerate(rows) if row.project == project]
            own = await self._commit_some([rows[place] for place in places])
            replies.update(zip(places, own, strict=True))
        return [replies[place] for place in range(len(rows))]

    async def _commit_some(self, rows: Sequence[Row]) -> Sequence[Reply | QuotaUsedUpError]:
        """Write creates of one project together or, if they do not fit, those that do."""
        try:
            return await self._commit(rows)
        except QuotaUsedUpError as error:
            self._used_up.note(error)
            if len(rows) == 1:
                return [error]
        return [reply for row in rows for reply in await self._commit_some([row])]
