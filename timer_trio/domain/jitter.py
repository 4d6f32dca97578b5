"""By how much an occurrence is later than its rule says, so that many schedules spread."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b
from uuid import UUID


def jittered(instant: datetime, occurrence_id: UUID, jitter_s: float) -> datetime:
    """Return `instant` moved by 0 up to `jitter_s` seconds, evenly, as the id determines.

    The draw is the first 53 bits of the 8-byte BLAKE2b of the id's 16 bytes, big-endian: replicas
    of all versions must draw the same. Past the last instant that there is, nothing is moved.
    """
    drawn = blake2b(occurrence_id.bytes, digest_size=8).digest()
    share = (int.from_bytes(drawn, "big") >> 11) / (1 << 53)
    try:
        return instant + timedelta(seconds=jitter_s * share)
    except OverflowError:
        return instant
