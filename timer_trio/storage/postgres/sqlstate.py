"""What an error of PostgreSQL means for its caller."""

from __future__ import annotations

import re
from typing import Final

import psycopg

from timer_trio.domain.errors import (
    ContentionError,
    RowRefusedError,
    RowsFailedError,
    StorageUnavailableError,
)
from timer_trio.storage.refusal import OUT_OF_RANGE, UNSTORABLE_TEXT

_CONTENTION: Final = {
    "40001": "a serialization conflict",
    "40P01": "a deadlock",
    "55P03": "somebody else holds the row",
}
# A value that cannot be, and a constraint.
_VALUE_CLASSES: Final = frozenset({"22", "23"})
# Resources, limits, the system below: states of the database, whatever row is written in them. What
# else fails may do so for one row alone, as where a page is damaged or a trigger objects.
_STATE_CLASSES: Final = frozenset({"53", "54", "58"})
_REFUSED: Final = {
    "22021": UNSTORABLE_TEXT,
    "22P02": UNSTORABLE_TEXT,  # half of a surrogate pair
    "22P05": UNSTORABLE_TEXT,  # NUL
    "22003": OUT_OF_RANGE,
    "22007": OUT_OF_RANGE,
    "22008": OUT_OF_RANGE,
    "23514": OUT_OF_RANGE,
}
# Connections; shutdown and timeouts.
_GONE_CLASSES: Final = frozenset({"08", "57"})
# It has ended a transaction that idled, or took too long.
_GONE: Final = frozenset({"25P03", "25P04"})

_LACKS_GRANT: Final = "42501"
# Why a connection was refused comes without an SQLSTATE. Where the server speaks another language
# its own words must do.
_HINTS: Final = (
    (
        re.compile(r'database ".*" does not exist|no such database'),
        "`timer-trio db create` makes it, or let DATABASE_URL name another",
    ),
    (
        re.compile(r'role ".*" does not exist|authentication failed|no password supplied'),
        "look at the user and the password in DATABASE_URL",
    ),
    (
        re.compile(r"permission denied for database"),
        "let an administrator GRANT CONNECT on it to the user in DATABASE_URL",
    ),
)


def translated(
    error: psycopg.Error, *, refuses: bool = False
) -> ContentionError | RowRefusedError | StorageUnavailableError:
    """Turn an error into one of the domain's.

    `refuses`: the statement writes values of a consumer's, so a class 22 or 23 is theirs. The words
    hold nothing that a consumer wrote.
    """
    state = error.sqlstate or ""
    if state in _CONTENTION:
        return ContentionError(_CONTENTION[state])
    if refuses and state[:2] in _VALUE_CLASSES:
        return RowRefusedError(_REFUSED.get(state, f"the database refuses a value ({state})"))
    if refuses and error.sqlstate is None and isinstance(error, psycopg.DataError):
        return RowRefusedError(UNSTORABLE_TEXT)  # psycopg itself refuses to send a NUL
    if is_gone(error) or state[:2] in _STATE_CLASSES:
        return StorageUnavailableError(words_of(error))
    return RowsFailedError(words_of(error))


def leaves_session_sound(error: psycopg.Error) -> bool:
    """Whether the session may be used again; a plan that it keeps may be what has failed."""
    state = error.sqlstate or ""
    return state in _CONTENTION or state[:2] in _VALUE_CLASSES


def is_gone(error: psycopg.Error) -> bool:
    """Whether the connection is lost or was ended: the database may be well otherwise."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _GONE_CLASSES or state in _GONE


def words_of(error: psycopg.Error) -> str:
    """Describe in one line what has happened, and what to do where that is known."""
    told = error.diag.message_primary or str(error)
    words = " ".join(told.split("\n", 1)[0].split()) or "the connection was lost"
    if error.sqlstate == _LACKS_GRANT:
        return f"{words}: README, Database operations, lists the grants that the service needs"
    hint = next((hint for pattern, hint in _HINTS if pattern.search(told)), None)
    return f"{words}: {hint}" if hint else words
