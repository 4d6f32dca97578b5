"""The scenarios by name, and the one way to play them: bounded, and nothing is left behind."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import trio

from tests.chaos import cells, churn, clocks, failover, freeze, kill, outage, split, stop
from tests.chaos.report import Figure, Section
from tests.chaos.stage import Ground

FULL_S: Final = 600.0
SHORT_S: Final = 90.0
"""How long a scenario may take at most; one that may take no more is played in its short form."""

SCENARIOS: Final[Mapping[str, Callable[[Ground], Awaitable[Sequence[Figure]]]]] = {
    "kill": kill.run,
    "stop": stop.run,
    "freeze": freeze.run,
    "outage": outage.run,
    "clocks": clocks.run,
    "churn": churn.run,
    "cells": cells.run,
    "split": split.run,
    **failover.SCENARIOS,
}


async def play(name: str, seed: int, at_most_s: float) -> Section:
    """Play a scenario; one that breaks is told of, and so is one that comes to no end."""
    section = Section(name)
    began = trio.current_time()
    with _open_folder() as folder:
        ground = Ground(folder, Random(f"{name} {seed}"), at_most_s > SHORT_S)
        try:
            with trio.fail_after(at_most_s):
                section.figures = await SCENARIOS[name](ground)
        except Exception as error:  # noqa: BLE001 - the others are to be played as well
            section.broke = f"it broke: {_spelt(error)}"
    section.length_s = trio.current_time() - began
    return section


@contextmanager
def _open_folder() -> Iterator[Path]:
    # PostgreSQL, which runs as somebody else for root, has to come through.
    with tempfile.TemporaryDirectory(prefix="tt-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _spelt(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__}: {error} in {', '.join(places[-6:])}"[:500]
