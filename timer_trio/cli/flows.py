"""Asks a running service for its flows, and to limit, pause and resume them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import click

from timer_trio.cli.asking import asking, listed
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data, print_json, print_rows
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timers import json_option, limit_option
from timer_trio.cli.values import span

_COLUMNS: Final = ("flow_key", "max_in_flight", "rate", "paused_since", "updated_at")
_NONE: Final = "none"
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)


@click.group("flows")
@url_option
@project_option
@version
@click.pass_context
def flows_command(context: click.Context, url: str | None) -> None:
    """List, limit, pause and resume flows of a running service.

    A flow is all the timers that have its KEY as their flow key. The key that asks is API_KEY, or
    what the service keeps in DATA_DIR.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.obj = url


@flows_command.command("list")
@click.option("--paused/--running", "is_paused", default=None, help="Only those that are.")
@limit_option
@json_option
@version
@click.pass_obj
def list_command(url: str | None, *, is_paused: bool | None, limit: int, as_json: bool) -> None:
    """List flows that have settings, in the order of their keys."""
    wanted = {} if is_paused is None else {"paused": json.dumps(is_paused)}
    with asking(url) as api:
        found = [*listed(api, "flows", wanted, limit)]
    if as_json:
        print_json({"flows": found})
    else:
        print_rows(found, _COLUMNS)


@flows_command.command()
@click.argument("key")
@json_option
@version
@click.pass_obj
def get(url: str | None, key: str, *, as_json: bool) -> None:
    """Show the settings of a flow, and how many of its timers are executing and wait."""
    with asking(url) as api:
        print_data(api.ask("GET", _path(key)), as_json=as_json)


@flows_command.command("set")
@click.argument("key")
@click.option("--max-in-flight", metavar="N", help="Callbacks at once; none: no limit.")
@click.option(
    "--rate",
    metavar="N/TIME",
    help="So many callbacks in any TIME, such as 100/1m; none: no limit.",
)
@json_option
@version
@click.pass_obj
def set_command(
    url: str | None, key: str, *, max_in_flight: str | None, rate: str | None, as_json: bool
) -> None:
    """Limit a flow; what is left out stays as it is.

    --max-in-flight 1 sends one after the other, in the order in which they are due.
    """
    change: dict[str, Any] = {}
    if max_in_flight is not None:
        change["max_in_flight"] = None if max_in_flight == _NONE else _count(max_in_flight)
    if rate is not None:
        change["rate"] = None if rate == _NONE else _rate(rate)
    if not change:
        raise click.UsageError("name at least one limit: --max-in-flight or --rate")
    _put(url, key, change, as_json=as_json)


@flows_command.command()
@click.argument("key")
@json_option
@version
@click.pass_obj
def pause(url: str | None, key: str, *, as_json: bool) -> None:
    """Hold back the callbacks of a flow; again, it stays paused."""
    _put(url, key, {"paused": True}, as_json=as_json)


@flows_command.command()
@click.argument("key")
@json_option
@version
@click.pass_obj
def resume(url: str | None, key: str, *, as_json: bool) -> None:
    """Send the callbacks of a flow again."""
    _put(url, key, {"paused": False}, as_json=as_json)


@flows_command.command()
@click.argument("key")
@json_option
@version
@click.pass_obj
def delete(url: str | None, key: str, *, as_json: bool) -> None:
    """Delete the settings of a flow: its timers stay, and nothing holds them back."""
    with asking(url) as api:
        print_data(api.ask("DELETE", _path(key)), as_json=as_json)


def _put(url: str | None, key: str, change: Mapping[str, Any], *, as_json: bool) -> None:
    with asking(url) as api:
        print_data(api.ask("PUT", _path(key), body=json.dumps(change)), as_json=as_json)


def _path(key: str) -> str:
    return f"/flows/{quote(key, safe='')}"


def _rate(text: str) -> Mapping[str, int]:
    count, there, time = text.partition("/")
    seconds = span(time) if there else 0.0
    if not seconds or not seconds.is_integer():
        raise click.BadParameter(f"--rate must be N/TIME in whole seconds: {text!r} is not")
    return {"count": _count(count), "per_seconds": int(seconds)}


def _count(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise click.BadParameter(f"{text!r} is no number of callbacks, nor {_NONE}")
    return int(text)
