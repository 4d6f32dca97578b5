"""One bulk action: its pages are done one after the other, with as many pauses as work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio

from timer_trio.api.context import ApiContext
from timer_trio.api.errors import Code
from timer_trio.api.run_body import COMPLETE, Ending
from timer_trio.domain.audit import Action, told_filter
from timer_trio.domain.bulk import Bulk, BulkProgress
from timer_trio.domain.errors import (
    ContentionError,
    QuotaUsedUpError,
    RowRefusedError,
    StorageUnavailableError,
)
from timer_trio.domain.timer import rfc3339

MIN_PAUSE_S: Final = 0.01
"""After a page: others have their turn, however little it found."""
_AGAIN: Final = "repeat it with the same as_of to go on"
_STOPPING: Final = Ending(Code.INTERNAL, f"the service stops: {_AGAIN}")
_AWAY: Final = Ending(Code.INTERNAL, f"the database cannot be reached: {_AGAIN}")
_CONTENDED: Final = Ending(Code.INTERNAL, f"somebody locks the table: {_AGAIN}")
_REFUSED: Final = Ending(Code.INVALID, "the database refuses a value of the filter")


class BulkRun:
    """Does a bulk action until there is no more, or it cannot go on; `told`: its filter as sent."""

    failed, ended = "bulk_failed", "bulk_ended"
    busy = Ending(
        Code.INTERNAL, "too many bulk actions are under way: try again when one has ended"
    )
    broken = Ending(Code.INTERNAL, f"internal error: {_AGAIN}")

    def __init__(self, bulk: Bulk, told: Mapping[str, object], context: ApiContext) -> None:
        self._as_of = rfc3339(bulk.as_of)
        self._progress = BulkProgress(bulk)
        self._writer = context.bulk_writer
        self._stopping = context.stopping
        self._audit = context.audit
        self._told = told_filter(told)
        self.ending: Ending | None = None

    async def run(self) -> None:
        """Do what there is to do: `ending` says how that ended.

        Cancellation: a page under way is done to its end.
        """
        try:
            self.ending = await self._write_all()
        except RowRefusedError:
            self.ending = _REFUSED
        except QuotaUsedUpError as error:
            self.ending = Ending(Code.RATE_LIMITED, f"{error}; then {_AGAIN}")
        except ContentionError:
            self.ending = _CONTENDED
        except StorageUnavailableError:
            self.ending = _AWAY

    async def _write_all(self) -> Ending:
        while not self._stopping.is_set():
            began = trio.current_time()
            before = self._progress.done
            goes_on = await self._writer.write_page(self._progress)
            self._note(self._progress.done - before)
            if not goes_on:
                return COMPLETE
            await trio.sleep(max(MIN_PAUSE_S, trio.current_time() - began))
        return _STOPPING

    def _note(self, count: int) -> None:
        bulk = self._progress.bulk
        if count and not bulk.is_dry_run:
            told = self._told
            self._audit.note(Action.TIMERS_BULK, count=count, action=bulk.action, filter=told)

    @property
    def opening(self) -> Mapping[str, object]:
        return {"as_of": self._as_of}

    @property
    def counts(self) -> Mapping[str, int]:
        progress = self._progress
        return {"matched": progress.matched, "done": progress.done, "skipped": progress.skipped}

    @property
    def progress(self) -> Mapping[str, object]:
        return {"as_of": self._as_of, **self.counts}

    def result(self, ending: Ending) -> Mapping[str, object]:
        return self.counts if ending.code is Code.SUCCESS else self.progress
