"""Ended timers made live again, and offered to be fired."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from timer_trio.callback_url import read_url
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.errors import NameTakenError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import ENDED, DueTimer, Lane, TimerId, TimerSummary
from timer_trio.storage import ApiStorage


class Redriver:
    """Makes ended timers pending again."""

    def __init__(
        self,
        *,
        storage: ApiStorage,
        clock: Clock,
        offer: Callable[[Iterable[DueTimer]], None],
        releases: Releases,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._offer = offer
        self._releases = releases

    async def redrive(
        self,
        timer_id: TimerId,
        due_at: datetime,
        project: ProjectId,
        max_live: int | None = None,
    ) -> TimerSummary:
        """Make an ended timer pending, due at `due_at`.

        Raises:
            TimerNotFoundError, NotEndedError: as RedriveStorage.redrive.
            NameTakenError: a live timer has its name.
            QuotaUsedUpError: the project has `max_live` live timers.
            OlderReplicasError: replicas are alive that know of no redrive.
            StorageUnavailableError: it may have been redriven or not.
            ContentionError: it was not redriven.
        """
        await self._releases.require_all_new()
        summary = None
        while summary is None:
            holder = await self._holder_of_its_name(timer_id, project)
            summary = await self._storage.redrive(
                timer_id, due_at, self._clock.now(), holder, project, max_live=max_live
            )
        destination = read_url(summary.callback_url).destination
        lane = Lane(destination, project)
        self._offer([DueTimer(summary.execute_at, summary.id, lane, summary.flow_key)])
        return summary

    async def _holder_of_its_name(self, timer_id: TimerId, project: ProjectId) -> TimerId | None:
        """Return what the name of a timer stands for; None: it has none, or that for nothing."""
        key = (await self._storage.get(timer_id, project)).key
        holder = None if key is None else await self._storage.name_holder(key, project)
        if holder is None:
            return None
        other = holder.timer
        if other is not None and other.id != timer_id and other.status not in ENDED:
            raise NameTakenError(other.id, f"lives already, and is {other.status}")
        return holder.timer_id
