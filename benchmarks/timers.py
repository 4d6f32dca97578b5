"""The timers of a run, written straight into the database."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import trio

from benchmarks.machine import time
from timer_trio.callback_url import read_url
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import (
    SHARDS,
    CallbackSpec,
    Delivery,
    JsonText,
    Method,
    NewTimer,
    TimerSpec,
    new_timer_id,
)
from timer_trio.storage.postgres import PostgresStorage

PAYLOAD: Final = '{"order": 4711}'
_BATCH: Final = 1000


def timers(
    due_s: Iterable[float],
    callback_urls: Sequence[str],
    retry: RetryPolicy | None = None,
    flows: Sequence[FlowKey] = (),
    project: ProjectId = DEFAULT_PROJECT,
) -> list[NewTimer]:
    """Make a timer for each instant (Unix seconds), the destinations and flows by turns."""
    now = datetime.fromtimestamp(time(), UTC)
    made = []
    for n, due in enumerate(due_s):
        url = callback_urls[n % len(callback_urls)]
        flow_key = flows[n % len(flows)] if flows else None
        shard = random.randrange(SHARDS) if flow_key is None else flow_shard(project, flow_key)  # noqa: S311 - a shard
        new = NewTimer(
            id=new_timer_id(now, shard, secrets.randbits),
            created_at=now,
            spec=_spec(datetime.fromtimestamp(due, UTC), url, retry),
            project=project,
            flow_key=flow_key,
        )
        made.append(new)
    return made


def write(database_url: str, wanted: Sequence[NewTimer]) -> None:
    async def create() -> None:
        async with PostgresStorage(database_url, pool_size=1) as storage:
            for start in range(0, len(wanted), _BATCH):
                await storage.create(wanted[start : start + _BATCH], wanted[0].created_at)

    trio.run(create)


def _spec(execute_at: datetime, callback_url: str, retry: RetryPolicy | None) -> TimerSpec:
    return TimerSpec(
        execute_at=execute_at,
        callback=CallbackSpec(
            url=read_url(callback_url),
            method=Method.POST,
            headers={},
            payload=JsonText(PAYLOAD),
            timeout_s=30,
            delivery=Delivery.AT_LEAST_ONCE,
        ),
        metadata=None,
        misfire_grace_s=300,
        retry=retry,
    )
