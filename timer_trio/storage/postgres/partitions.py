"""The partitions of the table `attempts`, one a day: made ahead, and dropped when they are old.

Nobody waits for it. A partition is attached under a lock for which it waits a moment, and dropped
under one for which it does not wait at all, since every settlement would queue up behind it. What
cannot be had now is left for another time: meanwhile the default partition takes the rows. (A
partition cannot be detached CONCURRENTLY from a table that has a default one.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, TypeVar

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from timer_trio.storage.postgres.connections import Connection, rows_of
from timer_trio.storage.protocols import Rotated

Subject = TypeVar("Subject")

DAYS_AHEAD: Final = 2
"""Partitions that are there before they are needed: a day's outage of this leaves one."""

_NAME: Final = re.compile(r"attempts_(\d{4})(\d{2})(\d{2})", re.ASCII)
_DAY: Final = timedelta(days=1)
_IN_THE_WAY: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def rotate(connection: Connection, now: datetime, cutoff: datetime) -> Rotated:
    """Make the partitions of today and the next days, and drop those that end before the cutoff."""
    names = {row["name"] for row in rows_of(connection, "attempt_partitions", {})}
    made, dropped, put_off = 0, 0, None
    for day in days_from(now):
        if name_of(day) not in names:
            reason = _try_to(make, connection, day)
            made += reason is None
            put_off = put_off or reason
    for name in sorted(names):
        if _ends_before(name, cutoff):
            reason = _try_to(_drop, connection, name)
            dropped += reason is None
            put_off = put_off or reason
    return Rotated(made=made, dropped=dropped, put_off=put_off)


def _try_to(
    step: Callable[[Connection, Subject], None], connection: Connection, subject: Subject
) -> str | None:
    """Take a step in a transaction; answer why it could not be taken, None if it was."""
    try:
        with connection.transaction():
            step(connection, subject)
    except _IN_THE_WAY:
        return "somebody uses the table"
    except psycopg.errors.InsufficientPrivilege as error:
        return error.diag.message_primary or "a right is missing"
    except psycopg.errors.CheckViolation:
        return "the default partition has rows of that day"
    except (psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation):
        return None  # another replica was faster
    return None


def make(connection: psycopg.Connection[Any], day: date) -> None:
    """Make the partition of a day, in a transaction of the caller's."""
    name = Identifier(name_of(day))
    connection.execute("SET LOCAL lock_timeout = '50ms'")
    connection.execute(SQL("CREATE TABLE {} (LIKE attempts INCLUDING DEFAULTS)").format(name))
    connection.execute(
        SQL("ALTER TABLE attempts ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            name, Literal(_start_of(day)), Literal(_start_of(day + _DAY))
        )
    )


def _drop(connection: Connection, name: str) -> None:
    connection.execute("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE NOWAIT")
    connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(name)))


def days_from(now: datetime) -> Iterator[date]:
    """List the days whose partitions are to be there."""
    today = now.astimezone(UTC).date()
    return (today + ahead * _DAY for ahead in range(DAYS_AHEAD + 1))


def name_of(day: date) -> str:
    return f"attempts_{day:%Y%m%d}"


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def day_of(name: str) -> date | None:
    """Read which day a partition is of; None: of none, as the default one."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    year, month, day = map(int, match.groups())
    return date(year, month, day)


def _ends_before(name: str, cutoff: datetime) -> bool:
    day = day_of(name)
    return day is not None and _start_of(day) + _DAY <= cutoff
