from __future__ import annotations

import select
from typing import Final

import pytest

from timer_trio.transport import client
from timer_trio.transport.readiness import EpollReadiness, Readiness, TaskReadiness

_WAYS: Final = [
    pytest.param(
        EpollReadiness,
        id="epoll",
        marks=pytest.mark.skipif(
            not hasattr(select, "epoll"), reason="the system has no epoll to wait with"
        ),
    ),
    pytest.param(lambda _: TaskReadiness(), id="tasks"),
]


@pytest.fixture(params=_WAYS)
def readinesses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Readiness]:
    """Have transports wait in either way; names what they wait with."""
    made: list[Readiness] = []

    def make(patience_s: float) -> Readiness:
        made.append(request.param(patience_s))
        return made[-1]

    monkeypatch.setattr(client, "system_readiness", make)
    return made
