"""Keys that consumers choose: what an idempotency key stands for, and what a name does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import ENDED, JsonText, NewTimer, Status, Timer, TimerId

IDEMPOTENCY_PERIOD: Final = timedelta(hours=24)
"""How long a key stands for its first request: longer than any client goes on repeating one."""
MAX_KEY_LENGTH: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """What the first request with an idempotency key was answered."""

    fingerprint: bytes
    """Of that request: two with the same one ask for the same."""
    timer_ids: tuple[TimerId, ...]
    status: int
    data: JsonText


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedCreate:
    """New timers under an idempotency key, and what is to be answered if the key is free."""

    key: str
    timers: Sequence[NewTimer]
    answer: FirstAnswer
    project: ProjectId = DEFAULT_PROJECT
    """Whose the key is, and the timers."""


def key_shard(project: ProjectId, key: str) -> int:
    """Return the shard of what a name or an idempotency key leads to, unless its flow says another.

    A flow that is called like it is in the same one.
    """
    return flow_shard(project, FlowKey(key))


class OnConflict(StrEnum):
    """What becomes of a new timer whose name a live one has."""

    REJECT = "reject"
    KEEP = "keep"
    REPLACE = "replace"


class NameHolder(NamedTuple):
    """The timer that a name stands for: a live one, or the last that ended; None: it is gone."""

    timer_id: TimerId
    timer: Timer | None


class HeldName(NamedTuple):
    """The timer that a name stands for, by its status; None: it is gone."""

    timer_id: TimerId
    status: Status | None

    @property
    def is_live(self) -> bool:
        """Whether that timer has the name for itself."""
        return self.status is not None and self.status not in ENDED
