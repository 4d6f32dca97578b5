"""What is known of things, on a terminal and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from timer_trio.cli.table import aligned, in_columns, tab_separated
from timer_trio.cli.terminal import printable, shows_tables


def print_data(data: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what is known of one thing."""
    if as_json:
        print_json(data)
    else:
        print_fields(data)


def print_json(data: object) -> None:
    # In ASCII, so that nothing in it steers a terminal.
    click.echo(json.dumps(data, indent=2))


def print_fields(known: Mapping[str, Any]) -> None:
    """Print a line for each thing that is known of something."""
    rows = [(name, cell(value)) for name, value in known.items()]
    lines = map(in_columns, aligned(rows)) if shows_tables() else map(tab_separated, rows)
    for line in lines:
        click.echo(line)


def print_rows(things: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a table; for a program, a line of cells for each thing."""
    rows = [[cell(each.get(name)) for name in columns] for each in things]
    if shows_tables():
        headings = [name.replace("_", " ") for name in columns]
        lines = map(in_columns, aligned([headings, *rows]))
    else:
        lines = map(tab_separated, rows)
    for line in lines:
        click.echo(line)


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
