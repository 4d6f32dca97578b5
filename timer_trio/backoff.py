"""How long to wait before something is tried again: twice as long each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that double, from the first to the longest; all in seconds."""

    first_s: float
    longest_s: float

    def next_s(self, last_s: float) -> float:
        """Return the pause that follows one of `last_s`; 0: there was none."""
        return min(max(2 * last_s, self.first_s), self.longest_s)


LONG_LIFE_S: Final = 30.0
"""What ends a process that has lived for so long is no trouble of its start."""

_RESTARTS: Final = Backoff(first_s=0.1, longest_s=5.0)


def restart_pause_s(last_s: float, lived_s: float) -> float:
    """Return the pause before a process is started again that has lived for `lived_s`.

    `last_s` is the pause before that life; 0: there was none.
    """
    return _RESTARTS.next_s(0.0 if lived_s >= LONG_LIFE_S else last_s)
