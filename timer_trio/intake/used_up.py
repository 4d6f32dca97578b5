"""Projects that have no room for new timers: what the database has said of them just now."""

from __future__ import annotations

from typing import Final

from timer_trio.clock import Clock
from timer_trio.domain.errors import QuotaUsedUpError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.quota import LiveCount, Verdict, admitted

MAX_PROJECTS: Final = 1_000
"""Remembered at once: of the others the database is asked."""


class UsedUp:
    """Spares the database what it would refuse for the same count again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[ProjectId, LiveCount] = {}

    def note(self, error: QuotaUsedUpError) -> None:
        """Remember what a refusal says, unless another cell may have room."""
        if error.cell is not None:
            return
        if len(self._known) >= MAX_PROJECTS:
            self._known.clear()
        self._known[error.project] = error.known

    def refusal(
        self, project: ProjectId, max_live: int | None, more: int
    ) -> QuotaUsedUpError | None:
        """Return how so many new timers are refused; None: the database is to be asked."""
        known = self._known.get(project)
        if known is None or max_live is None:
            return None
        if admitted(known, max_live, more, self._clock.now()) is Verdict.REFUSE:
            return QuotaUsedUpError(project, known, max_live, more)
        del self._known[project]
        return None
