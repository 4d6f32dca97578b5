"""Who locks our rows: named in the log, once for each spell of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog

from timer_trio.storage.postgres.queries import QUERIES

HELD_S: Final = 1.0
"""A transaction that has been open for longer is none of ours, nor one that will end just now."""
LOOK_S: Final = 1.0
"""Between two looks that found nobody: a look costs the database about a millisecond."""
SPELL_S: Final = 10.0
"""A spell is over when nothing was found locked for so long: its rows are tried every second."""
MAX_NAMED: Final = 3
"""The oldest ones: a line of the log is for people."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Locked:
    """What was found locked: by whom it was asked for, and if they are known how many rows."""

    verb: str
    rows: int | None = None
    timer_id: str | None = None


class LockWatch:
    """Decides when to look who it is; may be asked from several threads at once."""

    def __init__(self) -> None:
        self._noticed_s = float("-inf")
        self._looked_s = float("-inf")
        self._is_told = False

    def notice(self, connection: psycopg.Connection[Any], locked: Locked) -> None:
        """Log who locks what a statement has just waited for in vain, if anybody knows.

        Never fails: what the role may not see is left out.
        """
        now_s = time.monotonic()
        if now_s - self._noticed_s > SPELL_S:
            self._is_told = False
        self._noticed_s = now_s
        if self._is_told or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        holders = _holders(connection)
        if holders:
            self._is_told = True
            log.warning("rows_locked", **_words(locked), holders=holders)


def _holders(connection: psycopg.Connection[Any]) -> Sequence[dict[str, object]]:
    parameters = {"held_s": HELD_S, "limit": 10 * MAX_NAMED}
    with suppress(psycopg.Error):
        rows = connection.execute(QUERIES["lock_holders"], parameters, prepare=False).fetchall()
        # One that holds several locks is named by the first of them.
        named = {(row["pid"], row["prepared"]): row for row in reversed(rows)}
        return [_told(row) for row in reversed(named.values())][:MAX_NAMED]
    return []


def _told(row: dict[str, Any]) -> dict[str, object]:
    since = row["since"]
    told = {**row, "since": since and since.isoformat()}
    return {name: value for name, value in told.items() if value not in (None, [], "")}


def _words(locked: Locked) -> dict[str, object]:
    words = {"verb": locked.verb, "rows": locked.rows, "timer_id": locked.timer_id}
    return {name: value for name, value in words.items() if value is not None}
