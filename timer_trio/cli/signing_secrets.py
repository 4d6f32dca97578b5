"""Asks a running service for its signing secrets, and to rotate and delete them."""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID

import click

from timer_trio.cli.asking import all_of, asking
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data, print_json, print_rows
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timers import any_digits, json_option
from timer_trio.cli.values import span

_COLUMNS: Final = ("id", "secret", "created_at", "expires_at")


@click.group("signing-secrets")
@url_option
@project_option
@version
@click.pass_context
def signing_secrets_command(context: click.Context, url: str | None) -> None:
    """List, rotate and delete what signs the callbacks of a running service.

    The key is API_KEY, or what the service keeps in DATA_DIR; without the scope admin it sees no
    secret. A change holds on all replicas within 5 seconds. A program that reads the output gets a
    line for each secret, or for each field, with tabs and no heading.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.with_resource(any_digits())
    context.obj = url


@signing_secrets_command.command("list")
@json_option
@version
@click.pass_obj
def list_command(url: str | None, *, as_json: bool) -> None:
    """List the valid secrets, the current one last."""
    with asking(url) as api:
        found = all_of(api, "signing secrets")
    if as_json:
        print_json({"signing_secrets": found})
    else:
        print_rows(found, _COLUMNS)


@signing_secrets_command.command()
@click.option(
    "--overlap",
    type=span,
    metavar="TIME",
    help="How long the secret that was current signs as well, up to 30d; by default 1d.",
)
@json_option
@version
@click.pass_obj
def rotate(url: str | None, *, overlap: float | None, as_json: bool) -> None:
    """Make another secret the current one, and print it."""
    body = "{}" if overlap is None else json.dumps({"overlap_seconds": overlap})
    with asking(url) as api:
        print_data(api.ask("POST", "/signing-secrets/rotate", body=body), as_json=as_json)


@signing_secrets_command.command()
@click.argument("secret_id", metavar="ID", type=click.UUID)
@json_option
@version
@click.pass_obj
def delete(url: str | None, secret_id: UUID, *, as_json: bool) -> None:
    """Let a secret sign nothing any more; of the current one, take the rotation back."""
    with asking(url) as api:
        print_data(api.ask("DELETE", f"/signing-secrets/{secret_id}"), as_json=as_json)
