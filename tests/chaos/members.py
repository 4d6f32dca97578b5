"""Whose each shard was, as the table of replicas told it, which they read with each heartbeat."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NoReturn

import psycopg
import trio

from tests.acceptance.receiver import now
from timer_trio.domain.shards import owners
from timer_trio.domain.timer import ReplicaId
from timer_trio.threads import run_in_thread

LOOK_S: Final = 0.1
NOTICED_S: Final = 1.5
"""So long somebody may go by what the table said before."""

_READING: Final = trio.CapacityLimiter(1)


@dataclass(slots=True)
class Members:
    """`divisions`: since when, in Unix seconds, each replica owned which shards."""

    divisions: list[tuple[float, dict[str, frozenset[int]]]] = field(default_factory=list)

    async def watch(self, database_url: str) -> NoReturn:
        while True:
            members = await run_in_thread(partial(_read, database_url), limiter=_READING)
            divided = _divide(members)
            if not self.divisions or divided != self.divisions[-1][1]:
                self.divisions.append((now().timestamp(), divided))
            await trio.sleep(LOOK_S)

    def owned(self, replica_id: str, begin_s: float, end_s: float) -> frozenset[int]:
        """Name the shards that a replica owned at some time of a span."""
        ends_s = [since_s for since_s, _ in self.divisions[1:]] + [float("inf")]
        return frozenset().union(
            *(
                divided.get(replica_id, frozenset())
                for (since_s, divided), until_s in zip(self.divisions, ends_s, strict=True)
                if since_s <= end_s and until_s >= begin_s - NOTICED_S
            )
        )


def _read(database_url: str) -> list[ReplicaId]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id FROM replicas WHERE NOT leaving ORDER BY id")
        return [ReplicaId(row[0]) for row in rows]


def _divide(members: list[ReplicaId]) -> dict[str, frozenset[int]]:
    shards: dict[str, set[int]] = defaultdict(set)
    for shard, owner in enumerate(owners(members) if members else []):
        shards[str(owner)].add(shard)
    return {owner: frozenset(owned) for owner, owned in shards.items()}
