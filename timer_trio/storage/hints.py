"""Hints as they travel: the payload of a NOTIFY, which holds less than 8,000 bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from timer_trio.domain.flow import FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import SHARDS, Destination, DueTimer, Lane, TimerId, shard_of
from timer_trio.storage.protocols import Hint

CHANNEL: Final = "timer_trio"
MAX_BYTES: Final = 7_999
EVERYWHERE: Final = Hint(shards=frozenset(range(SHARDS)))
"""What somebody has to say whom we do not understand, a later version maybe: look yourself."""

_SHARDS_BYTES: Final = 5 * SHARDS
"""What the numbers of all shards may take."""


def payload_of(timers: Sequence[DueTimer], look_at: Iterable[int] = ()) -> str:
    """Write a hint: the shards to look at, and the timers, or theirs where there is no room."""
    written: list[tuple[object, ...]] = []
    shards = set(look_at)
    room = MAX_BYTES - _SHARDS_BYTES
    for timer in timers:
        timer_id, (destination, project), flow_key = timer.id, timer.lane, timer.flow_key
        entry: tuple[object, ...] = (timer_id.hex, timer.due_at.timestamp(), destination)
        if project or flow_key is not None:
            entry = (*entry, project, flow_key)
        room -= len(json.dumps(entry)) + 2
        if room > 0:
            written.append(entry)
        else:
            shards.add(shard_of(timer_id))
    return json.dumps({"timers": written, "shards": sorted(shards)})


def hint_of(payload: str) -> Hint:
    """Read a hint, whoever wrote it."""
    with suppress(ValueError, KeyError, TypeError, OverflowError):
        read = json.loads(payload)
        return Hint(
            timers=[_due(*entry) for entry in read["timers"]],
            shards=frozenset(map(int, read["shards"])) & EVERYWHERE.shards,
        )
    return EVERYWHERE


def _due(
    timer_id: str,
    due_s: float,
    destination: str,
    project: int = DEFAULT_PROJECT,
    flow_key: str | None = None,
) -> DueTimer:
    due_at = datetime.fromtimestamp(due_s, UTC)
    lane = Lane(Destination(str(destination)), ProjectId(int(project)))
    flow = None if flow_key is None else FlowKey(str(flow_key))
    return DueTimer(due_at, TimerId(UUID(hex=timer_id)), lane, flow)
