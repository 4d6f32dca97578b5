"""How many requests of a key are served: what its project allows, and what is told of it.

Each replica lets pass its part of a limit, by how many live; so none has to ask another, and no
request waits. What is told follows draft-ietf-httpapi-ratelimit-headers-10: the policy is that of
the whole service, and what is left is what this replica will serve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, floor
from typing import Final, NamedTuple

import trio

from timer_trio.api.principal import Principal
from timer_trio.domain.api_key import KeyId
from timer_trio.domain.project import ProjectId
from timer_trio.domain.rate_limit import RateLimit
from timer_trio.domain.token_buckets import ChangingBuckets, Taken

MOST_LIMITED: Final = 10_000
"""Keys whose requests are counted at once: some 4 MB."""
POLICY_FIELD: Final = "RateLimit-Policy"
STATE_FIELD: Final = "RateLimit"
_POLICY: Final = '"default"'


class Judged(NamedTuple):
    """What became of a request: `fields` go into its answer; `wait_s`: it is refused."""

    fields: Mapping[str, str]
    wait_s: float


class KeyLimits:
    """Counts the requests of each key whose project limits them; `living`: replicas."""

    def __init__(self, living: Callable[[], int]) -> None:
        self._living = living
        self._buckets = ChangingBuckets[tuple[ProjectId, KeyId | None]](most=MOST_LIMITED)

    def judge(self, by: Principal, limit: RateLimit) -> Judged:
        """Count a request, if there is room for it."""
        share = limit.share(max(self._living(), 1))
        taken = self._buckets.take((by.project, by.key_id), share, trio.current_time())
        return Judged(_fields(limit, taken), taken.wait_s)


def _fields(limit: RateLimit, taken: Taken) -> Mapping[str, str]:
    # Rounded so that nobody comes too early.
    left, full_in_s = floor(taken.left), ceil(taken.full_in_s)
    return {
        POLICY_FIELD: f"{_POLICY};q={limit.burst};w={limit.refill_s}",
        STATE_FIELD: f"{_POLICY};r={left};t={full_in_s}",
    }
