"""Asks a running service who has done what in a project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from timer_trio.cli.asking import asking, listed
from timer_trio.cli.group import version
from timer_trio.cli.output import cell, print_json, short
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.table import aligned, in_columns, tab_separated
from timer_trio.cli.terminal import shows_tables
from timer_trio.cli.timers import json_option, limit_option
from timer_trio.cli.values import instant
from timer_trio.domain.audit import OF_SERVICE

_COLUMNS: Final[Mapping[str, str]] = {
    "at": "at (UTC)",
    "action": "action",
    "target": "target",
    "count": "count",
    "key_id": "key",
    "address": "address",
    "details": "details",
}
"""What is shown of an entry, and how it is headed on a terminal."""


@click.command("audit")
@url_option
@project_option
@click.option("--action", metavar="ACTION", help="Only what was done so, such as timer.canceled.")
@click.option("--key-id", metavar="ID", help=f"Only what was done with this key, or {OF_SERVICE}.")
@click.option("--target", metavar="ID", help="Only what was done to this alone.")
@click.option("--after", type=instant, metavar="WHEN", help="Begun later than WHEN.")
@click.option("--before", type=instant, metavar="WHEN", help="Begun earlier than WHEN.")
@limit_option
@json_option
@version
def audit_command(url: str | None, *, limit: int, as_json: bool, **asked: Any) -> None:
    """List who has created, changed, canceled or paused what in a project, the newest first.

    The key that asks is API_KEY, or what the service keeps in DATA_DIR, or one of the project with
    the scope admin. WHEN is an RFC 3339 timestamp, or how long ago: 45s, 90m, 12h, 7d.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    wanted = {name: value for name, value in asked.items() if value is not None}
    with asking(url) as api:
        found = listed(api, "audit", wanted, limit)
        if as_json:
            print_json({"audit": [*found]})
        else:
            _print(found)


def _print(entries: Iterable[Mapping[str, Any]]) -> None:
    """Print a table; for a program, a line of cells as each entry comes."""
    if not shows_tables():
        for entry in entries:
            click.echo(tab_separated([cell(entry.get(name)) for name in _COLUMNS]))
        return
    shown = [{**entry, "at": short(entry.get("at"))} for entry in entries]
    rows = [[cell(entry.get(name)) for name in _COLUMNS] for entry in shown]
    for line in aligned([[*_COLUMNS.values()], *rows], {[*_COLUMNS].index("count")}):
        click.echo(in_columns(line))
