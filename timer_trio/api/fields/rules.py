"""What the operator lays down for every timer."""

from __future__ import annotations

from dataclasses import dataclass

from timer_trio.domain.addresses import AddressGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Defaults and limits, and where callbacks may go."""

    timeout_s: float
    misfire_grace_s: float
    max_metadata_keys: int
    guard: AddressGuard
