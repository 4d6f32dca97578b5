"""Which replica a shard belongs to: rendezvous hashing (Thaler and Ravishankar, 1998).

Each replica gives every shard a weight that follows from its id alone, and a shard belongs to the
replica that gives it the greatest. So all who know the same members agree without a word, and one
that comes or goes moves its own shards and no others: about one Nth of them among N replicas.

Ownership makes work cheap, no more: two who believe to own a shard both claim, and one of them
gets each timer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from hashlib import shake_128
from struct import Struct
from typing import Final

from timer_trio.domain.timer import SHARDS, ReplicaId, TimerId, shard_of

HANDOVER_S: Final = 3.0
"""What a lost shard has due within it is still fired by the one who has lost it: the new owner has
noticed at its next heartbeat, a second later, or been told, and read what is due."""

_WEIGHTS: Final = Struct(f">{SHARDS}Q")


def owners(members: Collection[ReplicaId]) -> list[ReplicaId]:
    """Name the owner of each shard; there must be a member."""
    ranked = [(_weights(member), member) for member in members]
    return [
        max((weights[shard], member) for weights, member in ranked)[1] for shard in range(SHARDS)
    ]


@lru_cache(maxsize=1_024)  # of each replica once, not at every change of another
def _weights(replica: ReplicaId) -> tuple[int, ...]:
    return _WEIGHTS.unpack(shake_128(replica.bytes).digest(_WEIGHTS.size))


class Shards:
    """What one replica knows of who owns what. At first it knows of nobody, and owns nothing.

    `within`: those that there are, of the cell that it is a replica of.
    """

    def __init__(self, within: range = range(SHARDS)) -> None:
        self._all = self.within = within
        self.own: frozenset[int] = frozenset()
        self.has_others = True
        """Whether somebody else owns shards too, or all of them, for all that is known."""
        self._divided: list[ReplicaId] = []
        self._replica: ReplicaId | None = None
        self._members: frozenset[ReplicaId] | None = None
        self._choices: tuple[int, ...] = ()

    def keep(self, within: range, of: range) -> bool:
        """Have nobody own any but those `within`, of those that there are; whether that is new.

        The others are about to be moved to another database: whoever knows of it leaves them alone.
        """
        if (within, of) == (self.within, self._all):
            return False
        self.within, self._all = within, of
        self._choose()
        return True

    def divide(self, replica: ReplicaId, members: Collection[ReplicaId]) -> bool:
        """Divide among the replicas that own shards, of which `replica` is this one.

        Returns whether they have changed.
        """
        known = frozenset(members)
        if known == self._members:
            return False
        self._members = known
        self.has_others = bool(known - {replica})
        self._replica = replica
        self._divided = owners(known) if known else []
        self._choose()
        return True

    @property
    def owns_all(self) -> bool:
        """Whether this replica owns all that there are."""
        return len(self.own) == len(self._all)

    @property
    def are_all_kept(self) -> bool:
        """Whether none of them is about to be moved."""
        return self.within == self._all

    def keeps(self, timer_id: TimerId) -> bool:
        """Whether a timer stays in this database."""
        return shard_of(timer_id) in self.within

    def owns(self, timer_id: TimerId) -> bool:
        """Whether a timer is in a shard of this replica's own."""
        return shard_of(timer_id) in self.own

    def choose(self, random_bits: Callable[[int], int], *, own: bool) -> int:
        """Choose the shard of a new timer: any, or one of this replica's own, if it has some."""
        if own and self._choices:
            return self._choices[random_bits(32) % len(self._choices)]
        return self.within[random_bits(32) % len(self.within)]

    def _choose(self) -> None:
        divided, replica = self._divided, self._replica
        self._choices = tuple(n for n in self.within if divided and divided[n] == replica)
        self.own = frozenset(self._choices)
