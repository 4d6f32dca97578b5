"""The commands. Exit code 2: something to change is said on stderr; 1: the service crashed."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import psycopg
import trio

from timer_trio import __version__, log
from timer_trio.config import Settings, StartRefusedError, load_settings
from timer_trio.embedded import (
    DataDirHeldError,
    embedded_postgres,
    reachable_data_dir,
    running_url,
)
from timer_trio.listen import Reply, listen
from timer_trio.storage import migrate
from timer_trio.storage.connections import bounded

_ENV_FILE: Final = Path(".env")
T = TypeVar("T")

version = click.version_option(__version__, prog_name="timer-trio", message="%(prog)s %(version)s")


class _Refusing(click.Group):
    """Says what refused to start in words, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        reasons: list[str] = []
        answer = None
        try:
            answer = super().invoke(ctx)
        except* StartRefusedError as group:
            reasons += _words(group)
        for reason in reasons:
            click.echo(reason, err=True)
        if reasons:
            ctx.exit(2)
        return answer


def _words(error: BaseException) -> Iterator[str]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _words(inner)
    else:
        yield str(error)


@click.group(cls=_Refusing, context_settings={"help_option_names": ["-h", "--help"]})
@version
def main() -> None:
    """Run a durable timer service: POST when and where, and it makes that HTTP callback.

    Settings come from the environment and from the file .env in the current folder.
    """


@main.command()
@click.option(
    "--hypercorn-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Hypercorn's own settings (TLS and so on), as TOML or Python.",
)
@version
def serve(hypercorn_config: Path | None) -> None:
    """Run the service until SIGTERM or SIGINT; it migrates the database first.

    Without DATABASE_URL it runs a PostgreSQL of its own under DATA_DIR.
    """
    # The other commands need not wait for the libraries of the API.
    from timer_trio import supervisor  # noqa: PLC0415 - see above

    run = partial(supervisor.serve, _settings(), hypercorn_config=hypercorn_config)
    trio.run(run)


@main.command("listen")
@click.option("--port", type=click.IntRange(0, 65535), default=9000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--status", type=click.IntRange(200, 599), default=200, show_default=True, help="What to answer"
)
@click.option(
    "--delay",
    type=click.FloatRange(0, 3600),
    default=0,
    show_default=True,
    help="Seconds to wait before the answer",
)
@version
def listen_command(port: int, host: str, status: int, delay: float) -> None:
    """Receive callbacks, to try the service with: prints each one, and how late it came."""
    try:
        trio.run(listen, host, port, Reply(status, delay))
    except* KeyboardInterrupt:
        pass


@main.group()
@version
def db() -> None:
    """Create, migrate, revert or inspect the database.

    It is that of DATABASE_URL, or the service's own, which is started if it does not run.
    """


@db.command()
@version
def create() -> None:
    """Create the database that DATABASE_URL names."""
    made = _with_database(migrate.create_database)
    click.echo("created" if made else "it is there already")


@db.command("migrate")
@version
def migrate_command() -> None:
    """Bring the database to the schema of this version."""
    taken = _with_connection(migrate.migrate)
    _print_steps("applied", taken, "nothing to apply: the database is up to date")


@db.command()
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True)
@click.confirmation_option(prompt="What the steps added is lost, timers included. Go on?")
@version
def revert(steps: int) -> None:
    """Take the last steps of the schema back. What they added is lost."""
    taken_back = _with_connection(partial(migrate.revert, steps=steps))
    _print_steps("reverted", taken_back, "nothing to revert: no step was applied")


@db.command()
@version
def status() -> None:
    """Tell which steps of the schema the database has."""
    for state in _with_connection(migrate.status):
        when = f"applied {state.applied_at:%Y-%m-%d %H:%M:%S%z}" if state.applied_at else "missing"
        click.echo(f"{state.migration}  {when}")


def _print_steps(verb: str, steps: Sequence[object], otherwise: str) -> None:
    for step in steps:
        click.echo(f"{verb} {step}")
    if not steps:
        click.echo(otherwise)


def _settings() -> Settings:
    settings = load_settings(os.environ, _ENV_FILE)
    log.configure(settings.log_level, settings.log_format, sys.stderr)
    return settings if settings.database_url else reachable_data_dir(settings)


def _with_connection(action: Callable[[migrate.Connection], T]) -> T:
    def connect_and_act(url: str) -> T:
        with psycopg.connect(bounded(url), autocommit=True) as connection:
            return action(connection)

    return _with_database(connect_and_act)


def _with_database(action: Callable[[str], T]) -> T:
    async def act() -> T:
        async with _database(_settings()) as url:
            with _in_words():
                return action(url)

    return trio.run(act)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """Reach the database of the settings or our own, which is started if it does not run."""
    if settings.database_url:
        yield settings.database_url.get_secret_value()
        return
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(embedded_postgres(settings.data_dir))
        except DataDirHeldError:
            if (running := running_url(settings.data_dir)) is None:
                raise
            url = running
        yield url


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        reason = error.diag.message_primary or str(error)
        raise StartRefusedError(f"no answer from the database: {reason}") from error
