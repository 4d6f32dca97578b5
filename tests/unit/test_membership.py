from __future__ import annotations

import pytest
import trio

from tests.unit.parts import OTHER, Parts, open_cache
from timer_trio.delivery.refill import Wants
from timer_trio.domain.timer import SHARDS, ReplicaId


@pytest.fixture
def replica(parts: Parts) -> ReplicaId:
    return parts.heartbeat.replica


async def told_shards(parts: Parts) -> set[int]:
    """Which shards their owners are told to read."""
    await parts.hints.tell()
    return {shard for told in parts.database.told for shard in told.shards}


async def test_who_is_alone_owns_all_shards(parts: Parts) -> None:
    assert parts.agenda.shards.own == set(range(SHARDS))
    assert await told_shards(parts) == set()


async def test_shards_that_were_lost_are_handed_over_and_the_rest_is_read_anew(
    parts: Parts, replica: ReplicaId
) -> None:
    parts.membership.divide(replica, {replica, OTHER})
    own = parts.agenda.shards.own
    assert 0 < len(own) < SHARDS
    assert parts.agenda.refill.take() == Wants(window=True)
    assert await told_shards(parts) == set(range(SHARDS)) - own


async def test_shards_that_were_gained_are_read_and_nothing_is_handed_over(
    parts: Parts, replica: ReplicaId
) -> None:
    parts.membership.divide(replica, {replica, OTHER})
    await parts.hints.tell()
    parts.database.told.clear()
    parts.agenda.refill.take()
    parts.membership.divide(replica, {replica})
    assert parts.agenda.shards.own == set(range(SHARDS))
    assert parts.agenda.refill.take() == Wants(window=True)
    assert await told_shards(parts) == set()


async def test_same_members_change_nothing(parts: Parts, replica: ReplicaId) -> None:
    parts.membership.divide(replica, {replica})
    assert parts.agenda.refill.take() == Wants()
    assert await told_shards(parts) == set()


async def test_who_leaves_hands_over_all_shards(parts: Parts, replica: ReplicaId) -> None:
    parts.membership.divide(replica, {OTHER})
    assert parts.agenda.shards.own == set()
    assert await told_shards(parts) == set(range(SHARDS))


async def test_timer_that_is_offered_after_its_shard_was_lost_is_told(
    parts: Parts, replica: ReplicaId
) -> None:
    open_cache(parts.agenda)
    parts.membership.divide(replica, {OTHER})
    timer = parts.due(60)
    parts.hints.offer([timer])
    await parts.hints.tell()
    (told,) = parts.database.told
    assert (told.timers, len(parts.agenda.cache)) == ((timer,), 0)


async def test_return_of_the_lease_wakes_the_claimer_and_has_the_window_read(
    parts: Parts,
) -> None:
    parts.membership.resume()
    began_s = trio.current_time()
    await parts.agenda.wait_changed(began_s + 60, wants_any_slot=False)
    assert trio.current_time() == began_s
    assert parts.agenda.refill.take() == Wants(window=True)


async def test_timers_that_a_sweep_has_freed_are_looked_for(parts: Parts) -> None:
    parts.membership.note_freed()
    assert parts.agenda.refill.take() == Wants(near=True)
