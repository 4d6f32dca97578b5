"""What the operator lays down for every timer, and a project for those in it."""

from __future__ import annotations

from dataclasses import dataclass

from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.project import NO_SETTINGS, ProjectSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Defaults and limits, and where callbacks may go."""

    timeout_s: float
    misfire_grace_s: float
    max_metadata_keys: int
    guard: AddressGuard
    settings: ProjectSettings = NO_SETTINGS
    """Of the project."""
