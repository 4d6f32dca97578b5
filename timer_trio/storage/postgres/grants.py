"""What a role must be granted to run the service, and what it lacks of that."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier

from timer_trio.storage.postgres.queries import QUERIES

_ROWS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_NEEDED: Final = {
    "timers": _ROWS,
    "attempts": _ROWS,
    "destination_outcomes": _ROWS,
    "destination_now": _ROWS,
    "breaker_probes": _ROWS,
    "signing_secrets": _ROWS,
    "timer_keys": _ROWS,
    "schedules": _ROWS,
    "replicas": _ROWS,
    "projects": _ROWS,
    "project_quotas": _ROWS,
    "api_keys": _ROWS,
    "flows": _ROWS,
    "flow_terms": _ROWS,
    "paused_destinations": _ROWS,
    "rule_changes": ("SELECT", "UPDATE"),
    "audit": _ROWS,
    "key_seal": ("SELECT", "UPDATE"),
    "cell_map": ("SELECT", "INSERT"),
    "timer_trio_migrations": ("SELECT",),
}


def missing_grants(connection: psycopg.Connection[Any]) -> str | None:
    """Write the statements that grant this role what it lacks of the tables that are there."""
    pairs = [(table, privilege) for table, needed in _NEEDED.items() for privilege in needed]
    tables, privileges = zip(*pairs, strict=True)
    parameters = {"tables": [*tables], "privileges": [*privileges]}
    rows = connection.execute(QUERIES["missing_grants"], parameters).fetchall()
    lacking: dict[str, list[str]] = {}
    for table, privilege in rows:
        lacking.setdefault(table, []).append(privilege)
    grants = [f"GRANT {', '.join(each)} ON {table}" for table, each in lacking.items()]
    role = SQL("{}").format(Identifier(connection.info.user)).as_string(connection)
    return "; ".join(f"{grant} TO {role}" for grant in grants) or None
