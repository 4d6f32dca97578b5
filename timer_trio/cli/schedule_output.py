"""Schedules on a terminal, and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from timer_trio.cli.output import cell, short
from timer_trio.cli.table import aligned, in_columns, tab_separated
from timer_trio.cli.terminal import shows_colors, shows_tables

_COLUMNS: Final = ("id", "name", "status", "rule", "timezone", "next at (UTC)", "last error")
_STATUS: Final = _COLUMNS.index("status")
_COLORS: Final[Mapping[str, str]] = {"active": "green", "paused": "yellow"}


def print_schedules(schedules: Iterable[Mapping[str, Any]]) -> None:
    """Print a table; for a program, a line of cells as each schedule comes."""
    lines = _table(list(schedules)) if shows_tables() else map(_line, schedules)
    for line in lines:
        click.echo(line)


def _line(schedule: Mapping[str, Any]) -> str:
    return tab_separated(_cells(schedule, schedule.get("next_at")))


def _table(schedules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [[*_COLUMNS], *(_cells(each, short(each.get("next_at"))) for each in schedules)]
    for row in aligned(rows):
        color = _COLORS.get(row[_STATUS].rstrip()) if shows_colors() else None
        row[_STATUS] = click.style(row[_STATUS], fg=color) if color else row[_STATUS]
        yield in_columns(row)


def _cells(schedule: Mapping[str, Any], next_at: object) -> list[str]:
    given = [
        f"{kind} {cell(schedule[kind])}"
        for kind in ("cron", "every", "rrule")
        if schedule.get(kind) is not None
    ]
    shown = [schedule.get(name) for name in ("id", "name", "status")]
    return [
        *map(cell, shown),
        *(cell(" ".join(given)), cell(schedule.get("timezone")), cell(next_at)),
        cell(schedule.get("last_error")),
    ]
