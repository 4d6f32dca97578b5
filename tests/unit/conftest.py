from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.unit.parts import Parts, Sizes, open_parts


def run_on_virtual_time(test: Callable[[], Awaitable[Any]], **kwargs: Any) -> Any:
    return trio.run(test, **kwargs | {"clock": MockClock(autojump_threshold=0)})


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if "virtual_time" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=run_on_virtual_time), append=False)


@pytest.fixture
def virtual_time() -> None:
    """Runs a test as autojump_clock does, which counts only where the test itself asks for it."""


@pytest.fixture
async def parts(
    request: pytest.FixtureRequest,
    virtual_time: None,  # noqa: ARG001 - it marks the test
) -> AsyncIterator[Parts]:
    """The parts of a replica, which has the usual sizes unless they are a parameter."""
    async with open_parts(getattr(request, "param", Sizes())) as opened:
        yield opened
