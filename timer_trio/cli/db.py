"""The schema of the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click

from timer_trio.cli.database import with_connection, with_database
from timer_trio.cli.group import version
from timer_trio.storage import migrate


@click.group()
@version
def db() -> None:
    """Create, migrate, revert or inspect the database.

    It is that of DATABASE_URL, or the service's own, which is started if it does not run.
    """


@db.command()
@version
def create() -> None:
    """Create the database that DATABASE_URL names."""
    made = with_database(migrate.create_database)
    click.echo("created" if made else "it is there already")


@db.command("migrate")
@version
def migrate_command() -> None:
    """Bring the database to the schema of this version."""
    taken = with_connection(migrate.migrate)
    _print_steps("applied", taken, "nothing to apply: the database is up to date")


@db.command()
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True)
@click.confirmation_option(prompt="What the steps added is lost, timers included. Go on?")
@version
def revert(steps: int) -> None:
    """Take the last steps of the schema back. What they added is lost."""
    taken_back = with_connection(partial(migrate.revert, steps=steps))
    _print_steps("reverted", taken_back, "nothing to revert: no step was applied")


@db.command()
@version
def status() -> None:
    """Tell which steps of the schema the database has."""
    for state in with_connection(migrate.status):
        when = f"applied {state.applied_at:%Y-%m-%d %H:%M:%S%z}" if state.applied_at else "missing"
        click.echo(f"{state.migration}  {when}")


def _print_steps(verb: str, steps: Sequence[object], otherwise: str) -> None:
    for step in steps:
        click.echo(f"{verb} {step}")
    if not steps:
        click.echo(otherwise)
