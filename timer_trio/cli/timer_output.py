"""Timers on a terminal, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from timer_trio.cli.table import aligned, in_columns, tab_separated
from timer_trio.cli.terminal import printable, shows_colors, shows_tables

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


def print_json(data: object) -> None:
    # In ASCII, so that nothing in it steers a terminal.
    click.echo(json.dumps(data, indent=2))


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


def print_fields(known: Mapping[str, Any]) -> None:
    """Print a line for each thing that is known of something."""
    rows = [(name, cell(value)) for name, value in known.items()]
    lines = map(in_columns, aligned(rows)) if shows_tables() else map(tab_separated, rows)
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


def short(instant: object) -> object:
    """Return an instant to the second, if it is one."""
    try:
        return f"{datetime.fromisoformat(str(instant)).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return instant


def cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text)
