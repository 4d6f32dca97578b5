"""What the database is there for and does not do: in the log, and for whoever asks how it is."""

from __future__ import annotations

import threading
import time
from typing import Final

import psycopg
import structlog

SPELL_S: Final = 10.0
"""Met again after so long, a trouble is told again: whoever must go on tries every second."""
STANDS_S: Final = 2.0
"""So long a trouble counts that nobody has met again, as when the only one who did has given up."""

log = structlog.get_logger()


class Troubles:
    """Remembers which verbs fail; may be told from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen_s: dict[tuple[str, str], float] = {}
        self._standing: dict[str, tuple[float, str]] = {}

    def note(self, verb: str, error: psycopg.Error, words: str) -> None:
        """Log it, once for each spell of a verb and its SQLSTATE."""
        now_s, kind = time.monotonic(), error.sqlstate or type(error).__name__
        with self._lock:
            last_s = self._seen_s.get((verb, kind), float("-inf"))
            self._seen_s[verb, kind] = now_s
            self._standing[verb] = now_s, words
        if now_s - last_s > SPELL_S:
            log.error("statement_failed", verb=verb, kind=kind, reason=words)

    def end(self, verb: str) -> None:
        """Forget what has failed of a verb, which does now what it should."""
        if verb in self._standing:
            self._standing.pop(verb, None)

    @property
    def reason(self) -> str | None:
        """Return what has failed last and does so still, as far as is known."""
        seen_s, words = max([*self._standing.values()], default=(float("-inf"), ""))
        return words if time.monotonic() - seen_s <= STANDS_S else None
