"""Timers on a terminal, and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from timer_trio.cli.output import cell, short
from timer_trio.cli.table import aligned, in_columns, tab_separated
from timer_trio.cli.terminal import shows_colors, shows_tables

_COLUMNS: Final[Mapping[str, str]] = {
    "id": "id",
    "status": "status",
    "execute_at": "execute at (UTC)",
    "attempt": "attempt",
    "destination": "destination",
    "last_error": "last error",
}
"""What is shown of a timer in a list, and how it is headed on a terminal."""
_ATTEMPT_COLUMNS: Final[Mapping[str, str]] = {
    "attempt": "attempt",
    "started_at": "started at (UTC)",
    "duration_ms": "ms",
    "outcome": "outcome",
    "http_status": "status",
    "error": "error",
}
"""Likewise of an attempt."""
_PLACES: Final = [*_COLUMNS]
_COLORS: Final[Mapping[str, str]] = {
    "completed": "green",
    "failed": "red",
    "canceled": "yellow",
    "executing": "cyan",
    "retrying": "magenta",
}


def print_list(timers: Iterable[Mapping[str, Any]]) -> None:
    """Print a table; for a program, a line of cells as each timer comes."""
    lines = _table(list(timers)) if shows_tables() else map(_line, timers)
    for line in lines:
        click.echo(line)


def print_attempts(attempts: Sequence[Mapping[str, Any]]) -> None:
    """Print a table; for a program, a line of cells for each attempt."""
    rows = [[cell(attempt.get(name)) for name in _ATTEMPT_COLUMNS] for attempt in attempts]
    if shows_tables():
        lines = map(in_columns, aligned([[*_ATTEMPT_COLUMNS.values()], *rows], {0, 2, 4}))
    else:
        lines = map(tab_separated, rows)
    for line in lines:
        click.echo(line)


def _line(timer: Mapping[str, Any]) -> str:
    return tab_separated([cell(timer.get(name)) for name in _COLUMNS])


def _table(timers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [[*_COLUMNS.values()], *map(_cells, timers)]
    status = _PLACES.index("status")
    for row in aligned(rows, {_PLACES.index("attempt")}):
        color = _COLORS.get(row[status].rstrip()) if shows_colors() else None
        row[status] = click.style(row[status], fg=color) if color else row[status]
        yield in_columns(row)


def _cells(timer: Mapping[str, Any]) -> list[str]:
    return [
        cell({**timer, "execute_at": short(timer.get("execute_at"))}.get(name)) for name in _COLUMNS
    ]
