"""Asks a running service for its projects, and to make, change and delete them."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

import click

from timer_trio.cli.asking import all_of, asking
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data, print_json, print_rows
from timer_trio.cli.service import url_option
from timer_trio.cli.timers import json_option

_COLUMNS: Final = (
    "name",
    "created_at",
    "closed_at",
    "allowed_hosts",
    "default_retry",
    "rate_limit",
    "max_in_flight",
    "breaker",
    "max_live_timers",
    "paused_since",
)


@click.group("projects")
@url_option
@version
@click.pass_context
def projects_command(context: click.Context, url: str | None) -> None:
    """List, create, set up and delete projects of a running service.

    The key is API_KEY, or what the service keeps in DATA_DIR: that of the whole service.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.obj = url


@projects_command.command("list")
@json_option
@version
@click.pass_obj
def list_command(url: str | None, *, as_json: bool) -> None:
    """List all projects."""
    with asking(url) as api:
        found = all_of(api, "projects")
    if as_json:
        print_json({"projects": found})
    else:
        print_rows(found, _COLUMNS)


@projects_command.command()
@click.argument("name")
@json_option
@version
@click.pass_obj
def create(url: str | None, name: str, *, as_json: bool) -> None:
    """Create a project of this NAME: a-z, 0-9 and hyphens."""
    with asking(url) as api:
        print_data(api.ask("POST", "/projects", body=json.dumps({"name": name})), as_json=as_json)


@projects_command.command()
@click.argument("name")
@json_option
@version
@click.pass_obj
def show(url: str | None, name: str, *, as_json: bool) -> None:
    """Show the settings of a project."""
    with asking(url) as api:
        print_data(api.ask("GET", _path(name)), as_json=as_json)


@projects_command.command("set")
@click.argument("name")
@click.option(
    "--allowed-host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Callbacks go to these hosts alone; once for each, such as '*.example.com'.",
)
@click.option("--any-host", is_flag=True, help="Callbacks go wherever the operator allows.")
@click.option("--default-retry", metavar="JSON", help="Such as '{\"max_attempts\": 8}'.")
@click.option(
    "--rate-limit",
    metavar="JSON",
    help='Of each key, such as \'{"requests_per_second": 50, "burst": 100}\'.',
)
@click.option("--max-in-flight", metavar="N", help="Callbacks at once, such as 200.")
@click.option(
    "--breaker",
    metavar="JSON",
    help='Of each destination, such as \'{"failures": 10, "open_seconds": 30}\'.',
)
@click.option(
    "--max-live-timers",
    metavar="N",
    help="How many may be pending, executing or retrying; null: no limit.",
)
@json_option
@version
@click.pass_obj
def set_command(
    url: str | None,
    /,
    name: str,
    *,
    hosts: tuple[str, ...],
    any_host: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Change settings of a project; what is left out stays as it is.

    --default-retry null: what names no policy is attempted once. --rate-limit null: keys may send
    as many requests as the service can serve. --max-in-flight null: as many callbacks at once as
    there are slots. --breaker null: what is due is sent, whatever became of the last.
    --max-live-timers null: as many timers as there are.
    """
    change: dict[str, Any] = {}
    if hosts and any_host:
        raise click.UsageError("name either --allowed-host or --any-host")
    if hosts or any_host:
        change["allowed_hosts"] = [*hosts] or None
    for setting, text in given.items():
        if text is not None:
            change[setting] = _json_of(text, f"--{setting.replace('_', '-')}")
    if not change:
        raise click.UsageError("name at least one setting to change")
    with asking(url) as api:
        print_data(api.ask("PUT", _path(name), body=json.dumps(change)), as_json=as_json)


@projects_command.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Cancel what waits in it, and end its schedules.")
@json_option
@version
@click.pass_obj
def delete(url: str | None, name: str, *, force: bool, as_json: bool) -> None:
    """Delete a project and its keys, for good; it takes some six seconds."""
    params = {"force": "true"} if force else None
    with asking(url) as api:
        print_data(api.ask("DELETE", _path(name), params), as_json=as_json)


def _path(name: str) -> str:
    return f"/projects/{quote(name, safe='')}"


def _json_of(text: str, option: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise click.BadParameter(f"{option} must be JSON: {text!r} is not") from None
