"""The short form of a few; `make chaos` plays all, in full."""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.chaos.report import Verdict, rows_of, spell
from tests.chaos.scenarios import SHORT_S, play

pytestmark = pytest.mark.timed

SEED: Final = int(os.environ.get("SEED") or "1")


@pytest.mark.parametrize("name", ["kill", "stop", "zombie-sync"])
async def test_promises_hold_in_chaos(name: str) -> None:
    section = await play(name, SEED, SHORT_S)
    print("\n".join(map(spell, rows_of(section))))
    missed = [
        (figure, *figure.details) for figure in section.figures if figure.verdict is Verdict.MISSED
    ]
    assert (section.broke, missed) == ("", []), f"once more: SEED={SEED} pytest tests/chaos"
