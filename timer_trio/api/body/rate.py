"""How fast a sender sends, while somebody waits for it."""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 30.0
"""Of waiting for it, after which a sender is judged: time in which nobody reads is not its own."""
MIN_BYTES_PER_S: Final = 1_024
"""Far below what any line carries; who sends slower holds a place that others wait for."""


class ReceiveRate:
    """Judges a sender by each `WINDOW_S` that it was waited for, from its making on."""

    def __init__(self) -> None:
        self._waited_s = 0.0
        self._bytes = 0

    def is_too_slow(self, waited_s: float, size: int) -> bool:
        """Count what came after a wait; returns whether too little has come for too long."""
        self._waited_s += waited_s
        self._bytes += size
        if self._waited_s < WINDOW_S:
            return False
        is_slow = self._bytes < self._waited_s * MIN_BYTES_PER_S
        self._waited_s, self._bytes = 0.0, 0
        return is_slow
