"""The ids of occurrences: schedule, version and instant determine them, and they say what they are.

An id is a UUIDv8 (RFC 9562, section 5.8): the instant in milliseconds since 1970, as a UUIDv7 has
it; two flags; 64 bits of a hash; and the schedule's shard as its last byte. Replicas of all
versions must make the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from typing import Final
from uuid import UUID

from timer_trio.domain.schedule import Overlap, ScheduleId
from timer_trio.domain.timer import TimerId
from timer_trio.domain.unix_time import unix_us

_VERSION_8: Final = 0x8 << 76
_VARIANT: Final = 0b10 << 62
IS_OCCURRENCE: Final = 1 << 65
_IS_EXCLUSIVE: Final = 1 << 64
"""The two lowest of the twelve bits behind the version."""
_OCCURRENCE: Final = _VERSION_8 | IS_OCCURRENCE
_EXCLUSIVE: Final = _OCCURRENCE | _IS_EXCLUSIVE
_OCCURRENCE_MASK: Final = 0xF << 76 | IS_OCCURRENCE
_EXCLUSIVE_MASK: Final = _OCCURRENCE_MASK | _IS_EXCLUSIVE

BACKFILL: Final = 0
"""In place of a version: an occurrence of the past that somebody asks for."""


def occurrence_id(
    schedule_id: ScheduleId, version: int, instant: datetime, overlap: Overlap
) -> TimerId:
    """Return the id of the occurrence at this instant of a version of a schedule."""
    instant_us = unix_us(instant)
    told = schedule_id.bytes + version.to_bytes(8, "big") + instant_us.to_bytes(8, "big")
    drawn = int.from_bytes(blake2b(told, digest_size=8).digest(), "big")
    return _id_of(schedule_id, instant_us // 1_000, drawn, overlap)


def extra_occurrence_id(
    schedule_id: ScheduleId, now: datetime, overlap: Overlap, random_bits: Callable[[int], int]
) -> TimerId:
    """Return the id of an occurrence that is beside the rule: another one each time."""
    return _id_of(schedule_id, unix_us(now) // 1_000, random_bits(64), overlap)


def is_occurrence(timer_id: TimerId) -> bool:
    """Whether a timer is the occurrence of a schedule."""
    return timer_id.int & _OCCURRENCE_MASK == _OCCURRENCE


def is_exclusive(timer_id: TimerId) -> bool:
    """Whether a timer is an occurrence that is skipped while an earlier one is under way."""
    return timer_id.int & _EXCLUSIVE_MASK == _EXCLUSIVE


def _id_of(schedule_id: ScheduleId, unix_ms: int, drawn: int, overlap: Overlap) -> TimerId:
    flags = _EXCLUSIVE if overlap is Overlap.SKIP else _OCCURRENCE
    head = unix_ms << 80 | flags | (drawn >> 54 & 0x3FF) << 66
    tail = (drawn & (1 << 54) - 1) << 8 | schedule_id.int & 0xFF
    return TimerId(UUID(int=head | _VARIANT | tail))
