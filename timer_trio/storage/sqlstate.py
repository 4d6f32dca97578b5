"""What an error of PostgreSQL means for its caller."""

from __future__ import annotations

from typing import Final

import psycopg

from timer_trio.domain.errors import ContentionError, RowRefusedError, StorageUnavailableError
from timer_trio.storage.refusal import OUT_OF_RANGE, UNSTORABLE_TEXT

_CONTENTION: Final = {
    "40001": "a serialization conflict",
    "40P01": "a deadlock",
    "55P03": "somebody else holds the row",
}
_REFUSED_CLASSES: Final = frozenset({"22", "23", "54"})
_REFUSED: Final = {
    "22021": UNSTORABLE_TEXT,
    "22P02": UNSTORABLE_TEXT,  # half of a surrogate pair
    "22P05": UNSTORABLE_TEXT,  # NUL
    "22003": OUT_OF_RANGE,
    "22007": OUT_OF_RANGE,
    "22008": OUT_OF_RANGE,
    "23514": OUT_OF_RANGE,
}
# Connections, resources, shutdown and timeouts, the system below.
_AWAY_CLASSES: Final = frozenset({"08", "53", "57", "58"})
# It is a standby; it has ended a transaction that idled.
_AWAY: Final = frozenset({"25006", "25P03"})


def translated(error: psycopg.Error) -> Exception:
    """Turn an error into one of the domain's; one that only a bug can cause stays as it is.

    Its words hold nothing that a consumer wrote.
    """
    state = error.sqlstate or ""
    if state in _CONTENTION:
        return ContentionError(_CONTENTION[state])
    if state[:2] in _REFUSED_CLASSES:
        return RowRefusedError(_REFUSED.get(state, f"the database refuses a value ({state})"))
    if _is_away(error, state):
        return StorageUnavailableError(_first_line(error))
    return error


def _is_away(error: psycopg.Error, state: str) -> bool:
    return (
        isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        or state[:2] in _AWAY_CLASSES
        or state in _AWAY
    )


def _first_line(error: psycopg.Error) -> str:
    words = error.diag.message_primary or str(error)
    return " ".join(words.split("\n", 1)[0].split()) or "the connection was lost"
