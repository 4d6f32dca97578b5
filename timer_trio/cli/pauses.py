"""Asks a running service to pause and resume all that a project sends."""

from __future__ import annotations

import click

from timer_trio.cli.asking import asking
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timers import json_option


@click.command("pause")
@url_option
@project_option
@json_option
@version
def pause_command(url: str | None, *, as_json: bool) -> None:
    """Hold back all callbacks of a project of a running service; again, it stays paused.

    What is due meanwhile waits, and can be changed and canceled. The key is API_KEY, or what the
    service keeps in DATA_DIR.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    with asking(url) as api:
        print_data(api.ask("POST", "/pause"), as_json=as_json)


@click.command("resume")
@url_option
@project_option
@json_option
@version
def resume_command(url: str | None, *, as_json: bool) -> None:
    """Let the callbacks of a paused project go again, but for what is paused by itself.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    with asking(url) as api:
        print_data(api.ask("POST", "/resume"), as_json=as_json)
