"""What can go wrong between the service and its storage, split by who must act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timer_trio.domain.quota import BEYOND, LiveCount
from timer_trio.domain.releases import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from timer_trio.domain.cells import Cell
    from timer_trio.domain.project import ProjectId
    from timer_trio.domain.schedule import ScheduleId
    from timer_trio.domain.timer import Status, TimerId


class TimerTrioError(Exception):
    """Any error that this service raises on purpose."""


class TimerNotFoundError(TimerTrioError):
    """No timer has this id."""

    def __init__(self, timer_id: TimerId) -> None:
        super().__init__(f"no timer has the id {timer_id}")


class NotPendingError(TimerTrioError):
    """The timer's status forbids the change."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the timer is {status}")
        self.status = status


class IsResultError(TimerTrioError):
    """The timer is the result of another one, and has no results of its own."""

    def __init__(self) -> None:
        super().__init__("the timer is a result")


class FlowFixedError(TimerTrioError):
    """What was created in a flow, or in none, stays so."""

    def __init__(self) -> None:
        super().__init__("cannot be changed: leave it out, or create another one in that flow")


class NotEndedError(TimerTrioError):
    """The timer has not ended, so there is nothing to redrive."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the timer is {status}")
        self.status = status


class StorageError(TimerTrioError):
    """The storage did not do what it was asked for."""


class StorageUnavailableError(StorageError):
    """The database cannot be reached, or the answer was lost: the statement may have committed."""


class CellAwayError(StorageUnavailableError):
    """A cell is needed, and cannot be reached; `words` are for a consumer."""

    def __init__(self, words: str, reason: str) -> None:
        super().__init__(f"{words}: {reason}")
        self.words = words


class JustDividedError(CellAwayError):
    """Some shards of a cell have just been moved out of its database, and are not found yet."""

    def __init__(self) -> None:
        super().__init__("a cell has just been divided", "ask again")


class RowsFailedError(StorageUnavailableError):
    """The database did nothing: for one of the rows, or for a state that is to be waited out."""


class ContentionError(StorageError):
    """A lock, a deadlock or a serialization conflict: nothing was done, so ask again."""


class RowRefusedError(StorageError):
    """The database refuses a value of a row (SQLSTATE classes 22 and 23): nothing was done."""


class SealedError(StorageError):
    """A value is encrypted, and nobody here has the key that opens it."""

    def __init__(self) -> None:
        super().__init__(
            "its headers, its payload or an answer is encrypted with a key that the service does"
            " not have: add that key to ENCRYPTION_KEYS"
        )


class ReplicaGoneError(StorageError):
    """This replica's row is gone: another one swept it, and it holds no claim any more."""


class OlderReplicasError(StorageError):
    """Replicas of older releases live, which could not live with this: nothing was done."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            "this release can do that, but not until replicas of older releases"
            f" ({listed(names)}) have stopped: stop or upgrade them, then try again"
        )


class CreateUnknownError(StorageUnavailableError):
    """The write of a new timer was not answered in time: it may be there or not."""

    def __init__(self, timer_id: TimerId) -> None:
        super().__init__(f"it is not known whether timer {timer_id} was written")
        self.timer_id = timer_id


class NameTakenError(TimerTrioError):
    """A live timer has the name, and stays as it is."""

    def __init__(self, timer_id: TimerId, why: str) -> None:
        super().__init__(f"a timer with this key {why}")
        self.timer_id = timer_id


class NoSuchNameError(TimerTrioError):
    """No live timer has this name."""


class ScheduleNotFoundError(TimerTrioError):
    """No schedule has this id, or this name."""


class ScheduleEndedError(TimerTrioError):
    """The schedule has ended, and stays so."""


class ScheduleNameTakenError(TimerTrioError):
    """A schedule that has not ended has the name, and stays as it is."""

    def __init__(self, schedule_id: ScheduleId) -> None:
        super().__init__(f"the schedule {schedule_id} has this name")
        self.schedule_id = schedule_id


class ScheduleCreateUnknownError(StorageUnavailableError):
    """The write of a new schedule was not answered in time: it may be there or not."""

    def __init__(self, schedule_id: ScheduleId) -> None:
        super().__init__(f"it is not known whether schedule {schedule_id} was written")
        self.schedule_id = schedule_id


class KeyedCreateUnknownError(StorageUnavailableError):
    """A write under a key was not answered in time: it may be there or not."""

    def __init__(self) -> None:
        super().__init__("it is not known whether what has the key was written")


class CreatesUnknownError(StorageUnavailableError):
    """The write of many new timers was not answered in time: all may be there, or none."""

    def __init__(self, timer_ids: Sequence[TimerId]) -> None:
        super().__init__(f"it is not known whether {len(timer_ids)} timers were written")
        self.timer_ids = timer_ids


class QuotaUsedUpError(TimerTrioError):
    """A project has as many live timers as it may: nothing was done."""

    def __init__(
        self,
        project: ProjectId,
        known: LiveCount,
        max_live: int,
        more: int,
        *,
        cell: Cell | None = None,
    ) -> None:
        live = f"{max_live:,} or more" if known.live == BEYOND else f"{known.live:,}"
        limit, where = "max_live_timers", ""
        if cell is not None:
            limit, where = f"its part of {limit}", f" in cell {cell}"
        what = (
            f"and {limit} allows {max_live:,}{where}, too few for {more:,} more"
            if known.live < max_live
            else f"as many as {limit} allows{where}"
        )
        super().__init__(
            f"the project has {live} live timers, {what}: wait until some have ended, cancel some,"
            " or have the setting raised"
        )
        self.project = project
        self.known = known
        self.max_live = max_live
        self.more = more
        self.cell = cell
        """What is full; None: all that there is."""


class ProjectNotFoundError(TimerTrioError):
    """No project has this name, or it is being deleted."""


class ProjectNameTakenError(TimerTrioError):
    """A project has the name already."""


class FlowNotFoundError(TimerTrioError):
    """No flow of the project has this key: it has neither settings nor timers that live."""


class TooManyPausesError(TimerTrioError):
    """The project has as many paused destinations as it may."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most:,} destinations of the project are paused or were so of late, and no more can"
            " be: pause the project, or wait until earlier ones have been resumed for a week"
        )


class ApiKeyNotFoundError(TimerTrioError):
    """No key of the project has this id."""


class SecretNotFoundError(TimerTrioError):
    """No signing secret of the project that is valid has this id."""


class LastSecretError(TimerTrioError):
    """The signing secret is the only valid one of its project."""

    def __init__(self) -> None:
        super().__init__("this is the last valid secret: rotate it, then delete it")


class TooManySecretsError(TimerTrioError):
    """The project has as many valid signing secrets as it may."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} secrets are valid, and no more can be: delete one, or wait")
