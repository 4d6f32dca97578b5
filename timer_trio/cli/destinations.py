"""Asks a running service for its destinations, and to pause and resume them."""

from __future__ import annotations

import json
from typing import Final

import click

from timer_trio.cli.asking import Json, asking, listed
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data, print_json, print_rows
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timers import json_option, limit_option

_COLUMNS: Final = (
    "destination",
    *("waiting", "in_flight"),
    *("delivered", "rejected", "unreachable", "timed_out", "other"),
    *("p50", "p95", "paused_since", "breaker"),
)


@click.group("destinations")
@url_option
@project_option
@version
@click.pass_context
def destinations_command(context: click.Context, url: str | None) -> None:
    """List, pause and resume destinations of callbacks, in a running service.

    A destination is a scheme, a host and a port, such as https://api.example.com. The key is
    API_KEY, or what the service keeps in DATA_DIR.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.obj = url


@destinations_command.command("list")
@click.option("--destination", metavar="URL", help="This one alone.")
@limit_option
@json_option
@version
@click.pass_obj
def list_command(url: str | None, *, destination: str | None, limit: int, as_json: bool) -> None:
    """List where callbacks went in the last hour, and where they are under way or held back.

    Numbers are up to some six seconds old; durations are estimated, in milliseconds.
    """
    wanted = {} if destination is None else {"destination": destination}
    with asking(url) as api:
        found = [*listed(api, "destinations", wanted, limit)]
    if as_json:
        print_json({"destinations": found})
    else:
        print_rows([*map(_flat, found)], _COLUMNS)


@destinations_command.command()
@click.argument("destination")
@json_option
@version
@click.pass_obj
def pause(url: str | None, destination: str, *, as_json: bool) -> None:
    """Hold back all callbacks of the project that go there; again, it stays paused."""
    _ask(url, "pause", destination, as_json=as_json)


@destinations_command.command()
@click.argument("destination")
@json_option
@version
@click.pass_obj
def resume(url: str | None, destination: str, *, as_json: bool) -> None:
    """Let the callbacks of the project go there again."""
    _ask(url, "resume", destination, as_json=as_json)


def _flat(known: Json) -> Json:
    """Return what is known of a destination without names in names."""
    breaker = known.get("breaker") or {}
    return {
        **known,
        **(known.get("last_hour") or {}),
        **(known.get("duration_ms") or {}),
        "breaker": breaker.get("state"),
        "paused_since": known.get("paused_since"),
    }


def _ask(url: str | None, verb: str, destination: str, *, as_json: bool) -> None:
    body = json.dumps({"destination": destination})
    with asking(url) as api:
        print_data(api.ask("POST", f"/destinations/{verb}", body=body), as_json=as_json)
