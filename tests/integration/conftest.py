from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from timer_trio.api.context import ApiContext
from timer_trio.api.route import Route
from timer_trio.api.routes import docs
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


@pytest.fixture(scope="session", autouse=True)
def _described_when_asked() -> Iterator[None]:
    """Describe an API once it is asked for that: it takes longer than all else of most tests."""
    routes = docs.routes

    def undescribed(context: ApiContext, others: Sequence[Route]) -> Sequence[Route]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(docs._Docs, "describe", lambda _: None)
            return routes(context, others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docs, "routes", undescribed)
        yield


@pytest.fixture(params=_WAYS)
def readinesses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Readiness]:
    """Have transports wait in either way; names what they wait with."""
    made: list[Readiness] = []

    def make(patience_s: float) -> Readiness:
        made.append(request.param(patience_s))
        return made[-1]

    monkeypatch.setattr(client, "system_readiness", make)
    return made
