from __future__ import annotations

from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import ALICE, BOB, NOW, seconds
from timer_trio.domain.membership import Identity, ReplicaRecord, ReplicaStats
from timer_trio.domain.roster import ReplicaStatus, roster
from timer_trio.domain.shards import owners
from timer_trio.domain.timer import SHARDS, ReplicaId

CAROL = ReplicaId(UUID(int=0xCA201))
DAY_S = 86_400.0


def record(
    replica: ReplicaId = ALICE,
    *,
    beaten_ago_s: float | None = 0.5,
    started_ago_s: float = DAY_S,
    is_leaving: bool = False,
) -> ReplicaRecord:
    return ReplicaRecord(
        id=replica,
        identity=Identity(),
        stats=ReplicaStats(),
        started_at=ago(started_ago_s),
        beaten_at=None if beaten_ago_s is None else ago(beaten_ago_s),
        is_leaving=is_leaving,
    )


def ago(count_s: float) -> datetime:
    return NOW - seconds(count_s)


def status_of(one: ReplicaRecord) -> ReplicaStatus:
    [entry] = roster([one], NOW)
    return entry.status


@pytest.mark.parametrize(
    ("beaten_ago_s", "status"),
    [
        (-0.2, ReplicaStatus.ALIVE),  # it beat while the rows were read
        (0.0, ReplicaStatus.ALIVE),
        (4.0, ReplicaStatus.ALIVE),
        (4.000_001, ReplicaStatus.SILENT),
        (DAY_S, ReplicaStatus.SILENT),
    ],
)
def test_replica_is_silent_when_its_last_beat_is_older_than_four_seconds(
    beaten_ago_s: float, status: ReplicaStatus
) -> None:
    assert status_of(record(beaten_ago_s=beaten_ago_s)) is status


def test_replica_that_never_beat_is_silent_when_it_joined_longer_ago() -> None:
    assert status_of(record(beaten_ago_s=None, started_ago_s=4.0)) is ReplicaStatus.ALIVE
    assert status_of(record(beaten_ago_s=None, started_ago_s=4.1)) is ReplicaStatus.SILENT


def test_replica_that_leaves_is_shown_as_leaving_until_it_is_silent() -> None:
    assert status_of(record(is_leaving=True)) is ReplicaStatus.LEAVING
    assert status_of(record(is_leaving=True, beaten_ago_s=5.0)) is ReplicaStatus.SILENT


def test_one_that_leaves_owns_nothing_and_the_others_own_what_the_rule_gives_them() -> None:
    records = [record(CAROL), record(ALICE, is_leaving=True), record(BOB)]
    divided = owners([BOB, CAROL])
    assert [entry.shards for entry in roster(records, NOW)] == [
        divided.count(CAROL),
        0,
        divided.count(BOB),
    ]


def test_silent_one_owns_its_shards_until_it_is_swept() -> None:
    records = [record(ALICE), record(BOB, beaten_ago_s=60.0)]
    shares = {entry.record.id: entry.shards for entry in roster(records, NOW)}
    assert shares[BOB] == owners([ALICE, BOB]).count(BOB) > 0


def test_nobody_owns_a_shard_when_all_leave() -> None:
    records = [record(ALICE, is_leaving=True), record(BOB, is_leaving=True)]
    assert [entry.shards for entry in roster(records, NOW)] == [0, 0]
    assert roster([], NOW) == []


@given(st.lists(st.tuples(st.uuids().map(ReplicaId), st.booleans()), unique_by=lambda r: r[0]))
def test_every_shard_is_counted_once_and_the_order_is_kept(
    replicas: list[tuple[ReplicaId, bool]],
) -> None:
    records = [record(replica, is_leaving=leaves) for replica, leaves in replicas]
    entries = roster(records, NOW)
    assert [entry.record for entry in entries] == records
    has_owner = any(not leaves for _, leaves in replicas)
    assert sum(entry.shards for entry in entries) == (SHARDS if has_owner else 0)
