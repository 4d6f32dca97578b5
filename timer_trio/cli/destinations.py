"""Asks a running service to pause and resume destinations."""

from __future__ import annotations

import json

import click

from timer_trio.cli.asking import asking
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timers import json_option


@click.group("destinations")
@url_option
@project_option
@version
@click.pass_context
def destinations_command(context: click.Context, url: str | None) -> None:
    """Pause and resume destinations of callbacks, in a running service.

    A destination is a scheme, a host and a port, such as https://api.example.com. The key is
    API_KEY, or what the service keeps in DATA_DIR.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.obj = url


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


def _ask(url: str | None, verb: str, destination: str, *, as_json: bool) -> None:
    body = json.dumps({"destination": destination})
    with asking(url) as api:
        print_data(api.ask("POST", f"/destinations/{verb}", body=body), as_json=as_json)
