from __future__ import annotations

from collections import Counter
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import ALICE, BOB, new_timer
from timer_trio.domain.shards import Shards, owners
from timer_trio.domain.timer import SHARDS, ReplicaId

replica_ids = st.uuids().map(ReplicaId)
members = st.sets(replica_ids, min_size=1, max_size=8)


@given(members, replica_ids)
def test_one_that_comes_takes_shards_and_no_other_moves(
    known: set[ReplicaId], comer: ReplicaId
) -> None:
    before, after = owners(known), owners({*known, comer})
    assert all(new in {old, comer} for old, new in zip(before, after, strict=True))


@given(members)
def test_who_knows_the_same_members_in_any_order_agrees(known: set[ReplicaId]) -> None:
    assert owners(sorted(known)) == owners(sorted(known, reverse=True))


def test_shards_are_divided_evenly() -> None:
    random = Random(5)
    for count in (2, 3, 4, 5):
        replicas = [ReplicaId(UUID(int=random.getrandbits(128))) for _ in range(count)]
        shares = Counter(owners(replicas)).values()
        assert min(shares) > SHARDS / count / 2
        assert max(shares) < SHARDS / count * 2


def test_one_of_fifty_that_leaves_moves_its_own_shards_alone() -> None:
    random = Random(5)
    replicas = [ReplicaId(UUID(int=random.getrandbits(128))) for _ in range(50)]
    before = owners(replicas)
    for leaver in replicas:
        after = owners([replica for replica in replicas if replica != leaver])
        moved = {shard for shard in range(SHARDS) if before[shard] != after[shard]}
        assert moved == {shard for shard in range(SHARDS) if before[shard] == leaver}


def test_replica_owns_nothing_until_it_knows_who_is_there() -> None:
    shards = Shards()
    assert shards.own == set()
    assert shards.has_others


def test_replica_that_is_alone_owns_everything() -> None:
    shards = Shards()
    shards.divide(ALICE, {ALICE})
    assert shards.own == set(range(SHARDS))
    assert not shards.has_others


def test_two_divide_all_shards_between_them() -> None:
    alice, bob = Shards(), Shards()
    assert alice.divide(ALICE, {ALICE, BOB})
    assert bob.divide(BOB, {ALICE, BOB})
    assert alice.own | bob.own == set(range(SHARDS))
    assert not alice.own & bob.own
    assert alice.has_others


def test_same_members_again_are_no_change() -> None:
    shards = Shards()
    assert shards.divide(ALICE, {ALICE})
    assert not shards.divide(ALICE, {ALICE})
    assert shards.divide(ALICE, {ALICE, BOB})


def test_who_leaves_owns_nothing() -> None:
    shards = Shards()
    shards.divide(ALICE, {BOB})
    assert shards.own == set()
    assert shards.has_others
    shards.divide(ALICE, ())
    assert shards.own == set()
    assert not shards.has_others


def test_timer_belongs_to_the_owner_of_its_shard() -> None:
    shards = Shards()
    shards.divide(ALICE, {ALICE, BOB})
    for shard in range(SHARDS):
        assert shards.owns(new_timer(shard=shard).id) == (shard in shards.own)


def test_near_timer_gets_a_shard_of_its_creators_and_a_far_one_any() -> None:
    shards = Shards()
    shards.divide(ALICE, {ALICE, BOB})
    bits = Random(1).getrandbits
    assert {shards.choose(bits, own=True) for _ in range(3_000)} == shards.own
    assert {shards.choose(bits, own=False) for _ in range(5_000)} == set(range(SHARDS))


def test_who_owns_nothing_gives_any_shard() -> None:
    shards = Shards()
    shards.divide(ALICE, {BOB})
    assert 0 <= shards.choose(Random(1).getrandbits, own=True) < SHARDS


def test_what_is_moved_to_another_database_nobody_owns() -> None:
    shards = Shards(range(100))
    shards.divide(ALICE, {ALICE})
    assert (shards.owns_all, shards.are_all_kept) == (True, True)
    assert shards.keep(range(50), of=range(100))
    assert not shards.keep(range(50), of=range(100))
    assert shards.own == {*range(50)}
    assert (shards.owns_all, shards.are_all_kept) == (False, False)
    assert [shards.keeps(new_timer(shard=shard).id) for shard in (49, 50)] == [True, False]
    chosen = {shards.choose(Random(1).getrandbits, own=False) for _ in range(50)}
    assert chosen <= {*range(50)}
    shards.divide(ALICE, {ALICE, BOB})
    assert shards.own < {*range(50)}
    shards.keep(range(50), of=range(50))
    shards.divide(ALICE, {ALICE})
    assert (shards.owns_all, shards.are_all_kept) == (True, True)
