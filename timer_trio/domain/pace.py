"""How fast a destination answers, as its last callbacks tell."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from timer_trio.domain.flow import FlowId
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Lane

PROMPT_S: Final = 1.0
"""Who answers within it holds a slot for so short a time that thousands a second can share them."""
LAST_WEIGHT: Final = 0.25
"""Of the last duration in the mean: three or four prompt answers in a row outweigh a slow one."""
WORST_S: Final = PROMPT_S / LAST_WEIGHT
"""A longer duration counts as this: it alone makes any destination slow, and a receiver that has
recovered is soon prompt again."""


class Pace(StrEnum):
    """NEW: no callback has ended yet."""

    NEW = "new"
    PROMPT = "prompt"
    SLOW = "slow"


BacklogKey = Lane | FlowId
"""What timers wait behind each other for: their destination, or the flow that they are in."""
Queue = Lane | ProjectId | Pace
"""What may have no slot left: one destination, a project, or all of one pace together."""


def mean_after(mean_s: float | None, duration_s: float) -> float:
    """Weigh the duration of one more callback in; None: it is the first."""
    counted_s = min(duration_s, WORST_S)
    return counted_s if mean_s is None else mean_s + LAST_WEIGHT * (counted_s - mean_s)


def pace_of(mean_s: float | None) -> Pace:
    """Judge by the mean of the last durations; None: there was none."""
    if mean_s is None:
        return Pace.NEW
    return Pace.PROMPT if mean_s < PROMPT_S else Pace.SLOW
