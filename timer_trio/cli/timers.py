"""Asks a running service for its timers, and to make and cancel them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import click

from timer_trio.cli.asking import asking, listed
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data, print_json
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timer_fields import body_of, field_options
from timer_trio.cli.timer_filters import filter_options, parameters_of
from timer_trio.cli.timer_output import print_attempts, print_list
from timer_trio.cli.values import span
from timer_trio.domain.query import Order, Sort

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
limit_option = click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, at most."
)


@click.group("timers")
@url_option
@project_option
@version
@click.pass_context
def timers_command(context: click.Context, url: str | None) -> None:
    """List, read, create, cancel and redrive timers of a running service.

    The key is API_KEY, or what the service keeps in DATA_DIR. Tables are for terminals: a program
    that reads the output gets a line for each timer, or for each field, with tabs and no heading.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.with_resource(any_digits())
    context.obj = url


@timers_command.command("list")
@filter_options
@click.option(
    "--sort", type=click.Choice([each.value for each in Sort]), help="By default created_at."
)
@click.option("--order", type=click.Choice([each.value for each in Order]), help="By default desc.")
@limit_option
@json_option
@version
@click.pass_obj
def list_command(url: str | None, /, *, limit: int, as_json: bool, **asked: Any) -> None:
    """List timers of which all that is asked for holds, the newest first.

    WHEN is an RFC 3339 timestamp, or how long ago: 45s, 90m, 12h, 7d. --destination, --last-error,
    --http-status, --key and the end of what neither failed nor was canceled need --created-after,
    --execute-after or, with --status failed or canceled, --ended-after beside them.
    """
    parameters = parameters_of(asked)
    with asking(url) as api:
        found = listed(api, "timers", parameters, limit)
        if as_json:
            print_json({"timers": [*found]})
        else:
            print_list(found)


@timers_command.command()
@click.argument("timer_id", metavar="ID", type=click.UUID)
@json_option
@version
@click.pass_obj
def get(url: str | None, timer_id: UUID, *, as_json: bool) -> None:
    """Show all that is known of the timer ID."""
    with asking(url) as api:
        print_data(api.ask("GET", f"/timers/{timer_id}"), as_json=as_json)


@timers_command.command()
@field_options
@json_option
@version
@click.pass_obj
def create(url: str | None, /, *, as_json: bool, **given: Any) -> None:
    """Create a timer that calls back at --url.

    What is left out is as the service has it by default. A payload is JSON, and sent as it is.
    """
    body = body_of(given)
    with asking(url) as api:
        print_data(api.ask("POST", "/timers", body=body), as_json=as_json)


@timers_command.command()
@click.argument("timer_id", metavar="ID", type=click.UUID)
@json_option
@version
@click.pass_obj
def cancel(url: str | None, timer_id: UUID, *, as_json: bool) -> None:
    """Cancel the timer ID: once this exits with 0, it never fires."""
    with asking(url) as api:
        print_data(api.ask("DELETE", f"/timers/{timer_id}"), as_json=as_json)


@timers_command.command()
@click.argument("timer_id", metavar="ID", type=click.UUID)
@click.option("--in", "delay", type=span, metavar="TIME", help="How long from now; by default 0.")
@json_option
@version
@click.pass_obj
def redrive(url: str | None, timer_id: UUID, *, delay: float | None, as_json: bool) -> None:
    """Make the ended timer ID fire once more."""
    body = json.dumps({} if delay is None else {"delay": delay})
    with asking(url) as api:
        print_data(api.ask("POST", f"/timers/{timer_id}/redrive", body=body), as_json=as_json)


@timers_command.command()
@click.argument("timer_id", metavar="ID", type=click.UUID)
@json_option
@version
@click.pass_obj
def attempts(url: str | None, timer_id: UUID, *, as_json: bool) -> None:
    """List what the attempts of the timer ID have met, the newest first."""
    with asking(url) as api:
        data = api.ask("GET", f"/timers/{timer_id}/attempts")
    if as_json:
        print_json(data)
    else:
        print_attempts(data["attempts"])


@contextmanager
def any_digits() -> Iterator[None]:
    """Let numbers have any number of digits: payloads are shown as they are."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
