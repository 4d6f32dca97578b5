"""Asks a running service for the keys of a project, and to make and revoke them."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

import click

from timer_trio.cli.asking import all_of, asking
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data, print_json, print_rows
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timers import json_option
from timer_trio.domain.project import Scope

_COLUMNS: Final = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at")


@click.group("keys")
@url_option
@project_option
@version
@click.pass_context
def keys_command(context: click.Context, url: str | None) -> None:
    """List, create and revoke API keys of a project, in a running service.

    The key that asks is API_KEY, or what the service keeps in DATA_DIR, or one of the project with
    the scope admin.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.obj = url


@keys_command.command("list")
@json_option
@version
@click.pass_obj
def list_command(url: str | None, *, as_json: bool) -> None:
    """List the keys of the project, the newest first."""
    with asking(url) as api:
        found = all_of(api, "keys")
    if as_json:
        print_json({"keys": found})
    else:
        print_rows([{**key, "scopes": ",".join(key.get("scopes", ()))} for key in found], _COLUMNS)


@keys_command.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([each.value for each in Scope]),
    help="What it is for; once for each.",
)
@click.option("--expires-at", metavar="INSTANT", help="An RFC 3339 timestamp; by default never.")
@json_option
@version
@click.pass_obj
def create(
    url: str | None, name: str, *, scopes: tuple[str, ...], expires_at: str | None, as_json: bool
) -> None:
    """Create a key, called NAME for people. It is shown now and never again."""
    body = json.dumps({"name": name, "scopes": scopes, "expires_at": expires_at})
    with asking(url) as api:
        print_data(api.ask("POST", "/keys", body=body), as_json=as_json)


@keys_command.command()
@click.argument("key_id", metavar="ID")
@json_option
@version
@click.pass_obj
def revoke(url: str | None, key_id: str, *, as_json: bool) -> None:
    """Revoke a key, for good: 5 s after this exits with 0 no replica takes it any more."""
    with asking(url) as api:
        print_data(api.ask("DELETE", f"/keys/{quote(key_id, safe='')}"), as_json=as_json)
