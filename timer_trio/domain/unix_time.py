"""Instants as whole microseconds since 1970: as seconds in a float some are a little less."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def unix_us(instant: datetime) -> int:
    """Count the microseconds from 1970 to an instant; exact for each one that a datetime can be."""
    return (instant - EPOCH) // MICROSECOND
