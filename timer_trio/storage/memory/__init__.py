"""Storage in memory: what PostgreSQL's does, without a thread hop and without keeping anything.

Deterministic tests run on it under a virtual clock. Every verb has one checkpoint, before it does
anything: canceled there, it has not happened.
"""

from __future__ import annotations

from timer_trio.storage.memory.api_keys import MemoryApiKeys
from timer_trio.storage.memory.attempts import MemoryAttempts
from timer_trio.storage.memory.audit import MemoryAudit
from timer_trio.storage.memory.bulk import MemoryBulk
from timer_trio.storage.memory.cell_map import MemoryCellMap
from timer_trio.storage.memory.destinations import MemoryDestinations
from timer_trio.storage.memory.flow_terms import MemoryFlowTerms
from timer_trio.storage.memory.flows import MemoryFlows
from timer_trio.storage.memory.hints import MemoryHints
from timer_trio.storage.memory.occurrences import MemoryOccurrences
from timer_trio.storage.memory.probes import MemoryProbes
from timer_trio.storage.memory.quotas import MemoryQuotas
from timer_trio.storage.memory.replicas import MemoryReplicas
from timer_trio.storage.memory.retention import MemoryRetention
from timer_trio.storage.memory.rules import MemoryRules
from timer_trio.storage.memory.samples import MemorySamples
from timer_trio.storage.memory.schedules import MemorySchedules
from timer_trio.storage.memory.signing import MemorySigning


class MemoryStorage(
    MemorySchedules,
    MemorySamples,
    MemoryBulk,
    MemoryAttempts,
    MemoryOccurrences,
    MemoryFlows,
    MemoryFlowTerms,
    MemoryProbes,
    MemoryRules,
    MemoryApiKeys,
    MemoryAudit,
    MemoryQuotas,
    MemoryReplicas,
    MemoryHints,
    MemoryRetention,
    MemorySigning,
    MemoryDestinations,
    MemoryCellMap,
):
    """A Storage whose database is this object, and whose database's clock is `now`."""
