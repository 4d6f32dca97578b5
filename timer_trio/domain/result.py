"""The result of a timer: a timer of its own, that tells how the first one has ended.

It is written by the statement that settles the first one, under an id that follows from that one's
id and claim: so there is one for each ending, however often it is written, and another one for the
next ending.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Final
from uuid import UUID

from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.masking import Sensitive
from timer_trio.domain.occurrence import IS_OCCURRENCE
from timer_trio.domain.rendering import attempt_json, timer_json
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import (
    CallbackSpec,
    Claim,
    Delivery,
    JsonText,
    Method,
    NewTimer,
    ResultTarget,
    Timer,
    TimerId,
    TimerSpec,
    shard_of,
)

TIMEOUT_S: Final = 30.0
"""How long the receiver of a result may take: as that of a timer which names no timeout."""


def result_id(timer_id: TimerId, claim: Claim) -> TimerId:
    """Make the UUIDv8 (RFC 9562, section 5.8) of the result of what ended under a claim.

    It is in the timer's own shard, and does not look like an occurrence. Its other bits are the
    16-byte BLAKE2b of the id's 16 bytes and the claim in 8, big-endian: replicas of all versions
    must make the same.
    """
    drawn = blake2b(timer_id.bytes + claim.to_bytes(8, "big"), digest_size=16).digest()
    bits = int.from_bytes(drawn, "big") & ~IS_OCCURRENCE
    bits = bits & ~(0xF << 76) | 0x8 << 76
    bits = bits & ~(0b11 << 62) | 0b10 << 62
    return TimerId(UUID(int=bits & ~0xFF | shard_of(timer_id)))


def result_of(
    target: ResultTarget,
    timer: Timer,
    claim: Claim,
    last_attempt: AttemptRecord | None,
    now: datetime,
    *,
    sensitive: Sensitive,
) -> NewTimer:
    """Return the result of a timer that has ended under this claim, due `now`.

    It is sent however late: what has happened stays true. Who gets it is no administrator of ours:
    `sensitive` headers are masked.
    """
    return NewTimer(
        id=result_id(timer.id, claim),
        created_at=now,
        spec=TimerSpec(
            execute_at=now,
            callback=CallbackSpec(
                url=target.url,
                method=Method.POST,
                headers=target.headers,
                payload=_payload(timer, last_attempt, sensitive),
                timeout_s=TIMEOUT_S,
                delivery=Delivery.AT_LEAST_ONCE,
            ),
            metadata=None,
            misfire_grace_s=None,
            retry=RetryPolicy(),
        ),
    )


def _payload(timer: Timer, last_attempt: AttemptRecord | None, sensitive: Sensitive) -> JsonText:
    attempt = "null"
    if last_attempt is not None:
        attempt = attempt_json(last_attempt, sensitive)
    kind, known = f"timer.{timer.status}", timer_json(timer, sensitive)
    return JsonText(f'{{"type": "{kind}", "timer": {known}, "last_attempt": {attempt}}}')
