"""The right to probe a destination whose breaker is half open, which one replica has at a time.

A replica asks for the right when something waits for it, and tells how its probe has ended. It has
the right until then, as long as its row is in `replicas`, and no longer than HELD_FOR in any case.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from timer_trio.domain.timer import Lane

HELD_FOR: Final = timedelta(minutes=10)
"""Twice what a callback may take: by then its end was told, or never will be."""
KEPT: Final = timedelta(hours=2)
"""How a probe has ended is asked for within the hour that a breaker may be open at most."""


class ProbeWish(NamedTuple):
    """A lane to be probed, and when the breaker of the replica that asks has opened."""

    lane: Lane
    opened_at: datetime


class Granted(NamedTuple):
    """The right is the asking replica's until then at the latest, and goes by that instant."""

    until: datetime


class Answered(NamedTuple):
    """Another replica's probe was answered since the breaker has opened: it may close."""


class Refused(NamedTuple):
    """Another replica probes; or its probe has failed, and nobody shall probe until then."""

    open_until: datetime | None


ProbeVerdict = Granted | Answered | Refused


class ProbeEnd(NamedTuple):
    """How a right has ended that was granted until `granted_until`.

    `until`: when the probe was answered, or until when nobody shall probe since it has failed.
    None: the right was not used.
    """

    lane: Lane
    granted_until: datetime
    until: datetime | None = None
    is_answered: bool = False
