"""The replicas as people see them.

Nothing is decided by it: whether a replica is dead, the others judge by its counter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from timer_trio.domain.membership import ReplicaRecord
from timer_trio.domain.shards import owners
from timer_trio.domain.timer import ReplicaId

SILENT_AFTER: Final = timedelta(seconds=4)
"""Four heartbeats: at about that time the others sweep a replica, if there are any."""


class ReplicaStatus(StrEnum):
    ALIVE = "alive"
    LEAVING = "leaving"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    record: ReplicaRecord
    status: ReplicaStatus
    shards: int


def roster(records: Sequence[ReplicaRecord], now: datetime) -> Sequence[RosterEntry]:
    """Describe how each replica is and how many shards it owns, in the order of the records.

    A silent one owns its shards until it is swept, one that leaves owns none.
    """
    shares: Counter[ReplicaId] = Counter()
    for cell in {record.cell for record in records}:
        members = [each.id for each in records if each.cell == cell and not each.is_leaving]
        if members:
            divided = owners(members)
            shares.update(divided[shard] for shard in cell.shards)
    return [
        RosterEntry(record=record, status=_status(record, now), shards=shares[record.id])
        for record in records
    ]


def _status(record: ReplicaRecord, now: datetime) -> ReplicaStatus:
    if now - (record.beaten_at or record.started_at) > SILENT_AFTER:
        return ReplicaStatus.SILENT
    return ReplicaStatus.LEAVING if record.is_leaving else ReplicaStatus.ALIVE
