from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import structlog

from tests.simulation.checkers import broken_promises
from tests.simulation.plots import Plot, random_history

Verdict = Callable[[int, Plot], list[str]]


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    before = structlog.get_config()
    _be_quiet()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def verdict(request: pytest.FixtureRequest) -> Iterator[Verdict]:
    """What is wrong with the history of a seed and plot; all processors work at those asked for."""
    asked: list[Any] = [
        (item.callspec.params["seed"], item.callspec.params["plot"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and request.fixturename in item.fixturenames
        and hasattr(item, "callspec")
    ]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, initializer=_be_quiet) as pool:
        verdicts = {which: pool.submit(_judge, *which) for which in asked}
        yield lambda seed, plot: verdicts[seed, plot].result()


def _judge(seed: int, plot: Plot) -> list[str]:
    return broken_promises(random_history(seed, plot))


def _be_quiet() -> None:
    """Write nothing below critical: thousands of virtual timers would drown the failures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
