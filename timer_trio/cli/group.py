"""What all commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import structlog

from timer_trio import __version__
from timer_trio.cli.errors import CommandError
from timer_trio.config import PREFIX, Settings, StartRefusedError, load_settings
from timer_trio.embedded import reachable_data_dir
from timer_trio.env_file import EnvFile, read_env_file
from timer_trio.telemetry import log
from timer_trio.telemetry.output import queue_stderr

_ENV_FILE: Final = Path(".env")

version = click.version_option(__version__, prog_name="timer-trio", message="%(prog)s %(version)s")


class RefusingGroup(click.Group):
    """Prints why a command failed or the service did not start, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        reasons: list[BaseException] = []
        answer = None
        try:
            answer = super().invoke(ctx)
        except* (StartRefusedError, CommandError) as group:
            reasons += _reasons(group)
        for reason in reasons:
            click.echo(str(reason), err=True)
        if reasons:
            ctx.exit(max(map(_exit_code, reasons)))
        return answer


def _reasons(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _reasons(inner)
    else:
        yield error


def _exit_code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, CommandError) else CommandError.exit_code


def read_settings(env_file: Path | None = _ENV_FILE) -> Settings:
    """Read the settings, and log as they say; whoever does not read it holds nobody up.

    Raises:
        StartRefusedError: they are wrong.
    """
    queue_stderr()
    file = EnvFile() if env_file is None else read_env_file(env_file)
    settings = load_settings(os.environ, file.values)
    log.configure(settings.log_level, settings.log_format, sys.stderr)
    if file.is_foreign:
        reason = f"it has no variable that begins with {PREFIX}"
        structlog.get_logger().info("env_file_ignored", file=str(env_file), reason=reason)
    return settings if settings.databases else reachable_data_dir(settings)
