"""How many callbacks of one project may be in flight on this replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from timer_trio.domain.project import ProjectId

FREE_SHARE: Final = 4
"""A destination, or a project among others, may hold a quarter of what is free, so that the next
one finds a slot too."""


class ProjectShares:
    """What a project may hold: its limit, and a share of what is free while it is not alone.

    A limit is of all replicas together: each of the `living` ones takes its part, and one slot at
    least.
    """

    def __init__(self, living: Callable[[], int] = lambda: 1) -> None:
        self._living = living
        self._limits: dict[ProjectId, int] = {}
        self.others_exist = False
        """Whether there is more than one project."""

    @property
    def are_set(self) -> bool:
        """Whether there is anything to hold a project to."""
        return self.others_exist or bool(self._limits)

    def set_limit(self, project: ProjectId, limit: int | None) -> None:
        """Have a project hold no more than its part of a limit; None: it has none."""
        if limit is None:
            self._limits.pop(project, None)
        else:
            self._limits[project] = limit

    def most_of(self, project: ProjectId, free: int) -> int | None:
        """How many slots a project may hold while so many are free; None: all of them."""
        limit = self._limits.get(project) if self._limits else None
        part = None if limit is None else max(1, limit // self._living())
        if not self.others_exist:
            return part
        share = max(1, free // FREE_SHARE)
        return share if part is None else min(part, share)
