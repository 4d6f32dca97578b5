"""What is known of destinations: how callbacks to them ended of late, and what is due there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final, NamedTuple

from timer_trio.domain.outcome import CallbackOutcome, Delivered, Rejected, TimedOut, Unreachable
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import Destination, Lane, ReplicaId

SPAN: Final = timedelta(minutes=5)
"""Callbacks are counted by the span in which they ended."""
RECENT: Final = timedelta(hours=1)
KEPT: Final = timedelta(hours=2)
"""Older counts are deleted: nobody asks for them."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLASSES: Final = 24
_LEAST_S: Final = 0.0005
_MOST_S: Final = 300.0
"""A callback's timeout is no longer."""
DURATION_LIMITS_S: Final[tuple[float, ...]] = tuple(
    _LEAST_S * (_MOST_S / _LEAST_S) ** (number / (_CLASSES - 1)) for number in range(_CLASSES)
)
"""Durations are counted by classes, each up to a limit 1.8 times the one before."""


class Ends(NamedTuple):
    """How many callbacks ended in which way; `other`: interrupted, or broken by our own code."""

    delivered: int = 0
    rejected: int = 0
    unreachable: int = 0
    timed_out: int = 0
    other: int = 0


_PLACES: Final = {Delivered: 0, Rejected: 1, Unreachable: 2, TimedOut: 3}
_OTHER: Final = 4
NO_ENDS: Final = Ends()
NO_DURATIONS: Final = (0,) * _CLASSES


class Counted(NamedTuple):
    """The callbacks of a lane that one replica has seen end in the span that began at `since`.

    `durations` has a number for each of DURATION_LIMITS_S, and counts all but the other ends.
    """

    lane: Lane
    since: datetime
    ends: Ends
    durations: tuple[int, ...]


class DestinationNow(NamedTuple):
    """What one replica has in hand of a lane.

    `waiting` timers are due and held back, `in_flight` ones are claimed and not answered.
    `breaker_open_until`: when its breaker is half open; None: it is closed, or there is none.
    """

    lane: Lane
    waiting: int
    in_flight: int
    breaker_open_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationReport:
    """What is new of lanes to a replica: what it has counted, and what it has in hand at `at`.

    Numbers take the place of those of an earlier report. `counter` is whom the counts are of, the
    replica by the id that it first had; `now` and `gone` (nothing is in hand any more) are of
    `replica`, the id that it has.
    """

    counter: ReplicaId
    replica: ReplicaId
    at: datetime
    counted: Sequence[Counted] = ()
    now: Sequence[DestinationNow] = ()
    gone: Sequence[Lane] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationQuery:
    """A page of the destinations of a project, by their names, behind `after`.

    `recent_at`: what ended in an earlier span is left out.
    """

    project: ProjectId = DEFAULT_PROJECT
    """Whose: nobody sees the destinations of several."""
    recent_at: datetime = EPOCH
    destination: Destination | None = None
    """This one alone."""
    limit: int = 50
    after: Destination | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFacts:
    """What all replicas together know of a destination of a project."""

    destination: Destination
    waiting: int = 0
    in_flight: int = 0
    breaker_open_until: datetime | None = None
    ends: Ends = NO_ENDS
    durations: Sequence[int] = NO_DURATIONS
    paused_at: datetime | None = None
    """Since when callbacks are held back; None: it is not paused by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationPage:
    """`next` is None on the last page."""

    destinations: Sequence[DestinationFacts]
    next: Destination | None


def together(facts: Sequence[DestinationFacts]) -> DestinationFacts:
    """Add what is known of one destination in several places, in each of which it is paused."""
    opened = [each.breaker_open_until for each in facts if each.breaker_open_until is not None]
    paused = [each.paused_at for each in facts if each.paused_at is not None]
    return DestinationFacts(
        destination=facts[0].destination,
        waiting=sum(each.waiting for each in facts),
        in_flight=sum(each.in_flight for each in facts),
        breaker_open_until=max(opened, default=None),
        ends=Ends(*map(sum, zip(*(each.ends for each in facts), strict=True))),
        durations=tuple(map(sum, zip(*(each.durations for each in facts), strict=True))),
        paused_at=min(paused, default=None),
    )


def place_of(outcome: CallbackOutcome) -> int:
    """Tell which of the Ends an outcome is."""
    return _PLACES.get(type(outcome), _OTHER)


def class_of(duration_s: float) -> int:
    """Tell by which limit a duration is counted; what is longer than all by the last."""
    return min(bisect_left(DURATION_LIMITS_S, duration_s), _CLASSES - 1)


def span_of(instant: datetime) -> datetime:
    """Return when the span of an instant began."""
    return instant - (instant - EPOCH) % SPAN


def recent_since(now: datetime) -> datetime:
    """Return when the first span began that has a part in the last hour."""
    return span_of(now - RECENT)


def quantile_s(durations: Sequence[int], share: float) -> float | None:
    """Estimate within which time a share of the callbacks ended; None: there was none.

    Those of one class count as evenly spread over it.
    """
    wanted = share * sum(durations)
    low_s = 0.0
    for count, up_to, limit_s in zip(
        durations, accumulate(durations), DURATION_LIMITS_S, strict=True
    ):
        if count and up_to >= wanted:
            return limit_s - (limit_s - low_s) * (up_to - wanted) / count
        low_s = limit_s
    return None
