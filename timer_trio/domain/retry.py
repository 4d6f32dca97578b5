"""When a failed callback is tried again: the consumer's policy, and what the receiver advises.

All is a pure function of the timer and the answer, jitter included: whoever settles an attempt
again writes the same instant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

from timer_trio.domain.http_date import http_date

GONE: Final = 410
"""The one status that says by itself: never again (RFC 9110, section 15.5.11)."""
RETRY_AFTER_WITH_DELAYS_S: Final = 3_600.0
"""How far a receiver may put off the next attempt, if no greater delay is listed."""
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a failed callback is tried again, and after which delays.

    With `delays` the three values after it say nothing.
    """

    max_attempts: int = 5
    """The first one counted."""
    delays: tuple[float, ...] | None = None
    """Seconds before the 2nd, 3rd ... attempt; the last one repeats."""
    initial_delay_s: float = 10.0
    factor: float = 2.0
    max_delay_s: float = 3_600.0
    """Greatest delay before jitter, and as far as a receiver may put off the next attempt."""
    jitter: float = 0.2
    """Each delay is multiplied by a factor from 1 - jitter to 1 + jitter."""
    give_up_after_s: float | None = None
    """No attempt begins later than this after the first one was due; None: however late."""


class Advice(NamedTuple):
    """What a failed answer says of a further attempt; where there was no answer: nothing."""

    is_refused: bool = False
    not_before: datetime | None = None


def advice_of(http_status: int, headers: Iterable[tuple[bytes, bytes]], now: datetime) -> Advice:
    """Read what an answer that arrived at `now` says of a further attempt.

    What cannot be read says nothing. Of several instants the latest one counts.
    """
    is_refused = http_status == GONE
    not_before: datetime | None = None
    for name, value in headers:
        match name.lower():
            case b"x-timer-retry":
                is_refused = is_refused or b"no" in map(bytes.strip, value.lower().split(b","))
            case b"retry-after":
                at = _retry_after(value.strip().decode("latin-1"), now)
                not_before = max(at, not_before) if at and not_before else at or not_before
            case _:
                pass
    return Advice(is_refused, not_before)


def next_attempt_at(  # noqa: PLR0917 - what a decision needs, in the order in which it comes about
    policy: RetryPolicy,
    timer_id: UUID,
    failures: int,
    ended_at: datetime,
    first_due_at: datetime | None,
    advice: Advice,
) -> datetime | None:
    """Decide when the attempt is due that follows one which failed at `ended_at`; None: never.

    `failures` counts those of this budget, this one included: at least 1. `first_due_at`, when the
    first attempt of the budget was due, matters only where the policy gives up after a time; None
    leaves that time uncounted.
    """
    if advice.is_refused or failures >= policy.max_attempts:
        return None
    at = _later(ended_at, _delay_s(policy, failures) * _jitter_factor(policy, timer_id, failures))
    if advice.not_before is not None:
        at = max(at, min(advice.not_before, _later(ended_at, _most_put_off_s(policy))))
    last = last_begin_at(policy, first_due_at)
    return at if last is None or at <= last else None


def last_begin_at(policy: RetryPolicy, first_due_at: datetime | None) -> datetime | None:
    """Return the instant after which no attempt begins; None: there is none."""
    if policy.give_up_after_s is None or first_due_at is None:
        return None
    return _later(first_due_at, policy.give_up_after_s)


def _delay_s(policy: RetryPolicy, failures: int) -> float:
    if policy.delays:
        return policy.delays[min(failures, len(policy.delays)) - 1]
    try:
        grown = policy.initial_delay_s * policy.factor ** (failures - 1)
    except OverflowError:
        return policy.max_delay_s
    return min(grown, policy.max_delay_s)


def _jitter_factor(policy: RetryPolicy, timer_id: UUID, failures: int) -> float:
    """Draw a factor evenly from 1 - jitter up to 1 + jitter.

    The draw is the first 53 bits of the 8-byte BLAKE2b of the id's 16 bytes and the failures in 4,
    big-endian: replicas of all versions must draw the same.
    """
    drawn = blake2b(timer_id.bytes + failures.to_bytes(4, "big"), digest_size=8).digest()
    share = (int.from_bytes(drawn, "big") >> 11) / (1 << 53)
    return 1 - policy.jitter + 2 * policy.jitter * share


def _most_put_off_s(policy: RetryPolicy) -> float:
    if policy.delays:
        return max(*policy.delays, RETRY_AFTER_WITH_DELAYS_S)
    return policy.max_delay_s


def _retry_after(text: str, now: datetime) -> datetime | None:
    """Read seconds, of which a fraction counts as well, or a date."""
    whole, _, fraction = text.partition(".")
    if text.isascii() and whole.isdigit() and (not fraction or fraction.isdigit()):
        return _later(now, float(text))
    return http_date(text, now)


def _later(instant: datetime, seconds: float) -> datetime:
    """Add seconds, up to the last instant that there is."""
    try:
        return instant + timedelta(seconds=seconds)
    except OverflowError:
        return _END_OF_TIME
