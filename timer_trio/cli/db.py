"""The schema of the database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import click

from timer_trio.cli.database import choose_cell, with_connection, with_database
from timer_trio.cli.errors import PruneRefusedError, ReencryptFailedError
from timer_trio.cli.group import read_settings, version
from timer_trio.cli.terminal import progress_stream, written_over
from timer_trio.cluster.releases import OLDEST
from timer_trio.domain.releases import is_older
from timer_trio.storage.cipher import Cipher, cipher_of
from timer_trio.storage.migrations import create as creation
from timer_trio.storage.migrations import migrate, partitioning
from timer_trio.storage.migrations.taken import Connection
from timer_trio.storage.postgres import reencrypt as reencryption
from timer_trio.storage.postgres import retention
from timer_trio.storage.postgres.reencrypt import Progress

_UNITS: Final = {"d": timedelta(days=1), "h": timedelta(hours=1)}


@click.group()
@click.option("--cell", metavar="RANGE", help="Of those of CELLS, the one with these shards.")
@version
def db(cell: str | None) -> None:
    """Create, migrate, revert or inspect the database.

    It is that of DATABASE_URL, or the service's own, which is started if it does not run. Of
    several cells it is one, such as --cell 0-127.
    """
    choose_cell(cell)


@db.command()
@version
def create() -> None:
    """Create the database that DATABASE_URL names."""
    made = with_database(creation.create_database)
    click.echo("created" if made else "it is there already")


@db.command("migrate")
@click.option(
    "--into-existing",
    is_flag=True,
    help="Also into a database that holds tables of others; the service may start there then.",
)
@version
def migrate_command(*, into_existing: bool) -> None:
    """Bring the database to the schema of this version."""
    tell = partial(click.echo, err=True)
    taken = with_connection(partial(migrate.migrate, into_existing=into_existing, tell=tell))
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
    """Tell which steps of the schema the database has.

    `before` only adds to it; `after 0.3.0` is taken once no older replica runs, and none can start
    from then on; `concurrent` builds or drops an index beside the work, and nothing but speed
    depends on it.
    """
    for state in with_connection(migrate.status):
        when = f"applied {state.applied_at:%Y-%m-%d %H:%M:%S%z}" if state.applied_at else "missing"
        unknown = "" if state.is_known else "  (by a newer version)"
        click.echo(f"{state.name}  {state.kind}  {when}{unknown}")


def _age(_context: click.Context, _option: click.Parameter, value: str) -> timedelta:
    # Five digits are enough: no database is older.
    match = re.fullmatch(r"([1-9][0-9]{0,4})([dh])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is neither days nor hours, such as 30d or 12h")
    return int(match[1]) * _UNITS[match[2]]


@db.command("prune")
@click.option(
    "--older-than",
    "age",
    callback=_age,
    required=True,
    help="How long ago they ended, at least: days or hours, such as 30d or 12h.",
)
@click.option("--dry-run", is_flag=True, help="Only tell how many there are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@version
def prune_command(age: timedelta, *, dry_run: bool, yes: bool) -> None:
    """Delete timers that ended (completed, failed, canceled) long ago.

    A running service is not held up.
    """
    count, cutoff = with_connection(partial(_count_ended, age=age))
    found = f"{count} timers ended before {cutoff:%Y-%m-%d %H:%M:%S%z}"
    if dry_run or not count:
        click.echo(found)
        return
    if not yes and not _confirmed(f"{found}. Delete them?"):
        raise click.Abort
    deleted = with_connection(partial(_prune, cutoff=cutoff, expected=count))
    click.echo(f"deleted {deleted} timers")


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question)
    except click.Abort:  # the end of the input, as when no terminal is there
        raise PruneRefusedError("nobody answered: add --yes to delete without asking") from None


def _count_ended(connection: Connection, age: timedelta) -> tuple[int, datetime]:
    if any(state.is_lacking for state in migrate.status(connection)):
        raise PruneRefusedError("the database lacks a step of the schema: timer-trio db migrate")
    cutoff = retention.cutoff_of(connection, age)
    return retention.count_ended(connection, cutoff), cutoff


def _prune(connection: Connection, cutoff: datetime, expected: int) -> int:
    deleted = 0
    with click.progressbar(length=expected, label="deleting", file=progress_stream()) as progress:
        for count in retention.prune_all(connection, cutoff):
            deleted += count
            progress.update(count)
    return deleted


@db.command("reencrypt")
@click.option("--decrypt", is_flag=True, help="Write them as they are, without encryption.")
@version
def reencrypt_command(*, decrypt: bool) -> None:
    """Rewrite what is encrypted, or is to be, with the first of ENCRYPTION_KEYS.

    A running service is not held up. Rows that have this key already stay as they are, so the
    command can be stopped and called again.
    """
    settings = read_settings()
    if settings.encryption_keys is None:
        raise ReencryptFailedError("ENCRYPTION_KEYS is not set: name all keys, the new one first")
    cipher = cipher_of(settings.encryption_keys)
    wanted = cipher.plain() if decrypt else cipher
    counts = with_connection(partial(_reencrypt, cipher=wanted), settings)
    for table, count in counts.items():
        click.echo(f"{table}: {count.rewritten} rewritten")
    left = sum(count.left for count in counts.values())
    unreadable = sum(count.unreadable for count in counts.values())
    if left:
        raise ReencryptFailedError(f"{left} rows are locked by somebody: call it again later")
    if unreadable:
        raise ReencryptFailedError(
            f"{unreadable} rows are encrypted with a key that is not in ENCRYPTION_KEYS, or damaged"
        )


def _reencrypt(connection: Connection, cipher: Cipher) -> Mapping[str, Progress]:
    if any(state.is_lacking for state in migrate.status(connection)):
        raise ReencryptFailedError("the database lacks a step of the schema: timer-trio db migrate")
    versions = reencryption.versions_of_replicas(connection)
    if older := [each for each in versions if is_older(each, OLDEST)]:
        raise ReencryptFailedError(
            f"replicas of older releases ({', '.join(older)}) cannot read it: stop them first"
        )
    counts: dict[str, Progress] = {}
    with written_over() as write:
        for page in reencryption.reencrypt(connection, cipher):
            counts[page.table] = counts.get(page.table, Progress(page.table)).plus(page)
            write(f"{page.table}: {counts[page.table].looked} looked at")
    return counts


@db.command("partition")
@click.option(
    "--by",
    "count",
    type=click.Choice([str(count) for count in partitioning.COUNTS]),
    help="Into how many partitions; 1: back into one table.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--undo", is_flag=True, help="Drop a copy that an earlier run has begun.")
@version
def partition_command(count: str | None, *, dry_run: bool, undo: bool) -> None:
    """Put the table of timers into partitions, by ranges of their shards.

    A running service is not held up but for moments, and pays some more for each timer while the
    table is copied. The command can be stopped and called again. It needs the role that owns the
    tables, and twice the disk.
    """
    if (count is None) != undo or (undo and dry_run):
        raise click.UsageError("say either --by N, with --dry-run or without, or --undo")
    if count is None:
        dropped = with_connection(partitioning.undo)
        click.echo("the copy is dropped" if dropped else "nothing to undo: no copy is begun")
    elif dry_run:
        click.echo("\n".join(with_connection(partial(partitioning.plan, count=int(count)))))
    else:
        with_connection(partial(_partition, count=int(count)))


def _partition(connection: Connection, count: int) -> None:
    copied = partitioning.partition(connection, count, partial(click.echo, err=True))
    try:
        with written_over() as write:
            for each in copied:
                write(f"{each.done} of {each.blocks} blocks copied")
    except KeyboardInterrupt:
        click.echo("stopped: call it again to go on, or with --undo to drop the copy", err=True)
        raise


def _print_steps(verb: str, steps: Sequence[object], otherwise: str) -> None:
    for step in steps:
        click.echo(f"{verb} {step}")
    if not steps:
        click.echo(otherwise)
