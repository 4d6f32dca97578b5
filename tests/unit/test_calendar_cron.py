from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

import pytest

from tests.cron_expressions import expressions
from tests.cron_judge import Judge, Run, walk
from tests.sampling import WHOLE
from timer_trio.calendar import instants, next_after
from timer_trio.calendar.zones import zone
from timer_trio.domain.schedule_rule import Bounds, CronRule

FIRST_YEARS: Final = {
    "Europe/Berlin": 2026,
    "America/New_York": 2026,
    "Australia/Lord_Howe": 2026,  # put forward and back by half an hour
    "Africa/Casablanca": 2026,  # put back for Ramadan
    "Asia/Tehran": 2020,  # at midnight, until 2022
    "Asia/Kathmandu": 2026,
    "Pacific/Apia": 2010,  # without the 30th of December 2011
    "UTC": 2026,
}
YEARS: Final = 3
MOST: Final = 20_000
"""Instants in all the years: of denser ones every 40th day is compared, and all near a change."""
DAY: Final = timedelta(days=1)
JUST: Final = timedelta(microseconds=1)
CASES: Final = [
    pytest.param(text, name, id=f"{text} {name}")
    for index, text in enumerate(expressions())
    for turn, name in enumerate(FIRST_YEARS)
    if WHOLE or turn == index % len(FIRST_YEARS)
]


@cache
def walked(name: str) -> list[Run]:
    start = datetime(FIRST_YEARS[name], 1, 1, tzinfo=UTC)
    step = timedelta(minutes=1 if WHOLE else 60)
    return walk(zone(name), start, start.replace(year=start.year + YEARS), step)


def windows(judge: Judge, runs: list[Run]) -> list[tuple[datetime, datetime]]:
    start, end = runs[0].start, runs[-1].end
    a_week = len(judge.instants(runs, start, start + 7 * DAY))
    if WHOLE and a_week * 52 * YEARS <= MOST:
        return [(start, end)]
    near = [(run.start - DAY, run.start + DAY) for run in runs[1:]]
    each = 40 if WHOLE else 365
    far = [(start + day * DAY, start + (day + 1) * DAY) for day in range(0, 365 * YEARS, each)]
    return near + far


@pytest.mark.parametrize(("text", "name"), CASES)
def test_cron_falls_on_what_a_walk_over_all_minutes_finds(text: str, name: str) -> None:
    judge, runs = Judge(text), walked(name)
    rule = CronRule(text=text, timezone=name)
    for start, end in windows(judge, runs):
        until = Bounds(anchor=runs[0].start, starts_at_anchor=True, end_at=end - JUST)
        assert list(instants(rule, until, start - JUST)) == judge.instants(runs, start, end)


@pytest.mark.parametrize("text", expressions()[::10])
def test_next_after_any_instant_is_the_first_that_follows(text: str) -> None:
    runs = walked("Europe/Berlin")
    back = runs[2].start
    assert runs[2].shown < runs[1].shown
    begin, end = back - DAY / 4, back + DAY / 4
    expected = Judge(text).instants(runs, begin, end)
    rule = CronRule(text=text, timezone="Europe/Berlin")
    bounds = Bounds(anchor=runs[0].start, starts_at_anchor=True)
    for minute in range(-180, 180, 7):
        for off in (timedelta(), JUST, -JUST):
            after = back + timedelta(minutes=minute) + off
            found = next_after(rule, bounds, after)
            within = found if found is not None and found < end else None
            assert within == next((at for at in expected if at > after), None)
