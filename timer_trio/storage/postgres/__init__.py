"""Storage in PostgreSQL: each verb is one statement of the .sql beside its module, or a list's."""

from __future__ import annotations

from timer_trio.storage.postgres.api_keys import PostgresApiKeys
from timer_trio.storage.postgres.attempts import PostgresAttempts
from timer_trio.storage.postgres.audit import PostgresAudit
from timer_trio.storage.postgres.bulk import PostgresBulk
from timer_trio.storage.postgres.cell_map import PostgresCellMap
from timer_trio.storage.postgres.destinations import PostgresDestinations
from timer_trio.storage.postgres.flow_terms import PostgresFlowTerms
from timer_trio.storage.postgres.flows import PostgresFlows
from timer_trio.storage.postgres.hints import PostgresHints
from timer_trio.storage.postgres.keys import PostgresKeys
from timer_trio.storage.postgres.occurrences import PostgresOccurrences
from timer_trio.storage.postgres.probes import PostgresProbes
from timer_trio.storage.postgres.projects import PostgresProjects
from timer_trio.storage.postgres.quotas import PostgresQuotas
from timer_trio.storage.postgres.redrive import PostgresRedrive
from timer_trio.storage.postgres.replicas import PostgresReplicas
from timer_trio.storage.postgres.retention import PostgresRetention
from timer_trio.storage.postgres.rules import PostgresRules
from timer_trio.storage.postgres.samples import PostgresSamples
from timer_trio.storage.postgres.schedules import PostgresSchedules
from timer_trio.storage.postgres.signing import PostgresSigning
from timer_trio.storage.postgres.timers import PostgresTimers


class PostgresStorage(
    PostgresTimers,
    PostgresSamples,
    PostgresKeys,
    PostgresRedrive,
    PostgresBulk,
    PostgresAttempts,
    PostgresOccurrences,
    PostgresSchedules,
    PostgresProjects,
    PostgresFlows,
    PostgresFlowTerms,
    PostgresProbes,
    PostgresRules,
    PostgresQuotas,
    PostgresApiKeys,
    PostgresAudit,
    PostgresReplicas,
    PostgresCellMap,
    PostgresHints,
    PostgresRetention,
    PostgresSigning,
    PostgresDestinations,
):
    """A Storage in one PostgreSQL database, reached when it is first asked for something."""
