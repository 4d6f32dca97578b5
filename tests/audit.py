"""Entries of the audit to try it with."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from tests.contract.timers import NOW
from timer_trio.domain.api_key import KeyId
from timer_trio.domain.audit import Action, Actor, AuditEntry, EntryId
from timer_trio.domain.project import DEFAULT_PROJECT

KEY: Final = KeyId("0" * 24)
SOMEBODY: Final = Actor(DEFAULT_PROJECT, KEY, "10.0.0.7")


def entry(number: int, **changes: Any) -> AuditEntry:
    """Return an entry of this id."""
    usual: dict[str, Any] = {
        "project": DEFAULT_PROJECT,
        "at": NOW,
        "last_at": changes.get("at", NOW),
        "key_id": KEY,
        "address": "10.0.0.7",
        "action": Action.TIMER_CANCELED,
        "target": "it",
        "count": 1,
        "details": None,
    }
    return AuditEntry(id=EntryId(UUID(int=number)), **{**usual, **changes})
