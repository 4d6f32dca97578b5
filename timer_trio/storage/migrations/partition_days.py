"""The partitions of `attempts` that a database which is being filled has as well as the other one.

No replica makes any there. What the default partition takes meanwhile would keep the partition of
that day from ever being made.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import psycopg

from timer_trio.storage.migrations.division import Division
from timer_trio.storage.migrations.indexes import partition_names
from timer_trio.storage.migrations.patience import IN_THE_WAY
from timer_trio.storage.postgres.partitions import day_of, days_from, make, name_of

_IN_THE_WAY: Final = (*IN_THE_WAY, psycopg.errors.CheckViolation)


def copy_days(division: Division) -> None:
    """Make the partitions that the source has, and those that it will have next."""
    source, target = division.source.connection, division.target.connection
    wanted = {day_of(name) for name in partition_names(source, "attempts")} - {None}
    [(now,)] = source.execute("SELECT now()").fetchall()
    wanted |= {*days_from(now)}
    there = {*partition_names(target, "attempts")}
    for day in sorted(day for day in wanted if day and name_of(day) not in there):
        # A copy that goes on may hold what is needed, and have put rows of the day elsewhere.
        with suppress(*_IN_THE_WAY), target.transaction():
            make(target, day)
