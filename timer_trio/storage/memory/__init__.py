"""Storage in memory: what PostgreSQL's does, without a thread hop and without keeping anything.

Deterministic tests run on it under a virtual clock. Every verb has one checkpoint, before it does
anything: canceled there, it has not happened.
"""

from __future__ import annotations

from timer_trio.storage.memory.api_keys import MemoryApiKeys
from timer_trio.storage.memory.attempts import MemoryAttempts
from timer_trio.storage.memory.bulk import MemoryBulk
from timer_trio.storage.memory.hints import MemoryHints
from timer_trio.storage.memory.occurrences import MemoryOccurrences
from timer_trio.storage.memory.quotas import MemoryQuotas
from timer_trio.storage.memory.replicas import MemoryReplicas
from timer_trio.storage.memory.retention import MemoryRetention
from timer_trio.storage.memory.schedules import MemorySchedules
from timer_trio.storage.memory.signing import MemorySigning


class MemoryStorage(
    MemorySchedules,
    MemoryBulk,
    MemoryAttempts,
    MemoryOccurrences,
    MemoryApiKeys,
    MemoryQuotas,
    MemoryReplicas,
    MemoryHints,
    MemoryRetention,
    MemorySigning,
):
    """A Storage whose database is this object, and whose database's clock is `now`."""
