"""Timers: one call at an instant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Unpack

from timer_trio.client.answers import (
    Attempt,
    Bulk,
    Canceled,
    Import,
    ListedTimer,
    Page,
    Timer,
    TimerSummary,
)
from timer_trio.client.call import JSON, NDJSON, Call, Run, at, encoded, given, lines_of, parameters
from timer_trio.client.fields import (
    BulkAction,
    Duration,
    Instant,
    NamedTimerFields,
    NewTimer,
    TimerChanges,
    TimerFields,
    TimerFilters,
    TimerQuery,
)
from timer_trio.client.operation import D, Resource, listing, operation
from timer_trio.client.reading import members, record

_SUMMARY: Final = record(TimerSummary)
_TIMER: Final = record(Timer)
_CANCELED: Final = record(Canceled)


class Timers(Resource[D]):
    """`client.timers`."""

    @operation
    def create(
        self,
        callback_url: str,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[NamedTimerFields],
    ) -> Call[TimerSummary]:
        """Create a timer.

        It is sent again where its answer is lost, under an idempotency key that is made up where
        you name none. One with a `key` has none, and is sent once.
        """
        wanted = {"callback_url": callback_url, **fields}
        takes_key = "key" not in fields
        return Call.create("/timers", wanted, _SUMMARY, idempotency_key, takes_key=takes_key)

    @operation
    def create_many(
        self, timers: Sequence[NewTimer], *, idempotency_key: str | None = None
    ) -> Call[tuple[TimerSummary, ...]]:
        """Create up to 1,000 timers, all or none; sent again as `create` is."""
        takes_key = not any("key" in timer for timer in timers)
        read = members("timers", TimerSummary)
        return Call.create(
            "/timers/batch", {"timers": timers}, read, idempotency_key, takes_key=takes_key
        )

    @operation
    def import_(
        self,
        timers: Iterable[NewTimer],
        *,
        on_progress: Callable[[Import], None] | None = None,
    ) -> Run[Import]:
        """Create up to a million timers, some thousand at a time; each refused one is told.

        Raises:
            IncompleteError: not all were taken; `progress.through_line` says how far it came.
        """
        return Run(
            path="/timers/import",
            media=NDJSON,
            content=lines_of(timers),
            read=record(Import),
            on_progress=on_progress,
        )

    def _listed(
        self, *, page_size: int = 50, **query: Unpack[TimerQuery]
    ) -> Call[Page[ListedTimer]]:
        """List timers, the newest first where `sort` and `order` say nothing else."""
        return Call.listed("timers", ListedTimer, query, page_size)

    list = listing(_listed)
    page = operation(_listed)
    """The first page of the list, and how many timers there are in all."""

    @operation
    def get(self, timer_id: str) -> Call[Timer]:
        return Call.get(at("/timers/{}", timer_id), _TIMER)

    @operation
    def update(self, timer_id: str, **changes: Unpack[TimerChanges]) -> Call[TimerSummary]:
        """Change a timer that has not begun: what is answered is what fires."""
        return Call.put(at("/timers/{}", timer_id), changes, _SUMMARY)

    @operation
    def cancel(self, timer_id: str) -> Call[Canceled]:
        """Cancel a timer: once this returns it never fires."""
        return Call.delete(at("/timers/{}", timer_id), _CANCELED)

    @operation
    def attempts(self, timer_id: str) -> Call[tuple[Attempt, ...]]:
        """Tell what a timer's callbacks met, the newest first."""
        return Call.get(at("/timers/{}/attempts", timer_id), members("attempts", Attempt))

    @operation
    def redrive(
        self,
        timer_id: str,
        *,
        execute_at: Instant | None = None,
        delay: Duration | None = None,
    ) -> Call[TimerSummary]:
        """Have a timer that has ended fire again: now, or when you say."""
        wanted = given({"execute_at": execute_at, "delay": delay})
        return Call.post(at("/timers/{}/redrive", timer_id), wanted, _SUMMARY)

    @operation
    def get_by_key(self, key: str) -> Call[Timer]:
        """Return the live timer of this key, or else the last one that ended."""
        return Call.get(at("/timers/by-key/{}", key), _TIMER)

    @operation
    def put_by_key(
        self, key: str, callback_url: str, **fields: Unpack[TimerFields]
    ) -> Call[TimerSummary]:
        """Create a timer of this key, or have the live one become what you say."""
        wanted = {"callback_url": callback_url, **fields}
        # Sent twice it would be a second timer if the first has fired in between.
        return Call.put(at("/timers/by-key/{}", key), wanted, _SUMMARY, is_safe=False)

    @operation
    def cancel_by_key(self, key: str) -> Call[Canceled]:
        """Cancel the live timer of this key."""
        return Call.delete(at("/timers/by-key/{}", key), _CANCELED, is_safe=False)

    @operation
    def bulk(
        self,
        action: BulkAction,
        filters: TimerFilters,
        *,
        rate_per_second: float | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        as_of: Instant | None = None,
        on_progress: Callable[[Bulk], None] | None = None,
    ) -> Run[Bulk]:
        """Cancel, redrive or delete all timers that the filters find.

        Raises:
            IncompleteError: it was cut short; the same with `progress.as_of` goes on there.
        """
        wanted = {
            "action": action,
            "filter": parameters(filters),
            "rate_per_second": rate_per_second,
            "limit": limit,
            "dry_run": dry_run,
            "as_of": as_of,
        }
        return Run(
            path="/timers/bulk",
            media=JSON,
            content=encoded(given(wanted)),
            read=record(Bulk),
            on_progress=on_progress,
            lasting=frozenset({"as_of"}),
        )
