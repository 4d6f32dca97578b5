"""The entries of the audit that wait to be written: what adds up is one, and there are so many.

Creations are not told one by one: those of a minute by one key from one address are one entry, and
so are equal changes of one timer, and the pages of a bulk action. Such a sum is written while it
grows, and again when it has grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from timer_trio.domain.api_key import to_the_minute
from timer_trio.domain.audit import Act, Action, Actor, AuditEntry, EntryId, new_entry

MOST: Final = 10_000
"""Some 5 MB: what is done by hand in days, and by a program that changes a thousand timers a second
while the database is away for ten."""
_MINUTE: Final = timedelta(minutes=1)


@dataclass(slots=True)
class _Sum:
    """An entry that grows: in place, since each timer that is created adds to one."""

    entry: AuditEntry
    count: int
    last_at: datetime
    target: str | None
    is_new: bool = True

    def add(self, act: Act, now: datetime) -> None:
        self.count += act.times
        self.last_at = max(self.last_at, now)
        self.is_new = True
        if act.target != self.target:
            self.target = None

    def written(self) -> AuditEntry:
        self.is_new = False
        return replace(self.entry, count=self.count, last_at=self.last_at, target=self.target)


class AuditBacklog:
    """Keeps entries until they are written, `most` of them: the oldest make room for new ones."""

    def __init__(self, new_id: Callable[[], EntryId], most: int = MOST) -> None:
        self._new_id = new_id
        self._most = most
        self._unwritten: dict[EntryId, AuditEntry] = {}
        self._sums: dict[object, _Sum] = {}
        self._minute_ends: datetime | None = None
        self._dropped = 0

    def add(self, actor: Actor, act: Act, now: datetime) -> None:
        """Keep what somebody does, as a part of what he has done before where that adds up."""
        key = _sum_key(actor, act)
        if key is None:
            self._put(new_entry(self._new_id(), actor, act, now))
            return
        if self._minute_ends is None or not self._minute_ends - _MINUTE <= now < self._minute_ends:
            self._end_sums()
            self._minute_ends = to_the_minute(now) + _MINUTE
        if (known := self._sums.get(key)) is not None:
            known.add(act, now)
            return
        if len(self._sums) == self._most:
            self._end_sums()
        entry = new_entry(self._new_id(), actor, act, now)
        self._sums[key] = _Sum(entry, entry.count, now, entry.target)

    def waiting(self) -> Sequence[AuditEntry]:
        """Return the entries that are to be written, the oldest first."""
        self._put_sums()
        return [*self._unwritten.values()]

    def forget(self, entries: Iterable[AuditEntry]) -> None:
        """Forget entries that are written, but those of which there is more to tell by now."""
        for entry in entries:
            if self._unwritten.get(entry.id) is entry:
                del self._unwritten[entry.id]

    def take_dropped(self) -> int:
        """Answer how many entries have made room since the last time."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _put(self, entry: AuditEntry) -> None:
        """Keep an entry in place of the one with its id, if that is not written yet."""
        self._unwritten[entry.id] = entry
        if len(self._unwritten) > self._most:
            del self._unwritten[next(iter(self._unwritten))]
            self._dropped += 1

    def _put_sums(self) -> None:
        for each in self._sums.values():
            if each.is_new:
                self._put(each.written())

    def _end_sums(self) -> None:
        self._put_sums()
        self._sums.clear()


def _sum_key(actor: Actor, act: Act) -> object | None:
    """Name what an act adds up with within a minute; None: it stands alone."""
    match act.action:
        case Action.TIMER_CREATED:
            return actor
        case Action.TIMER_CHANGED | Action.TIMERS_BULK:
            return actor, act.target, act.details
        case _:
            return None
