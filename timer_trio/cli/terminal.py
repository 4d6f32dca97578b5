"""What the terminal can show."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

import click

from timer_trio.telemetry.output import is_dumb, wants_colors


def shows_progress() -> bool:
    """Whether somebody looks at standard error, on a terminal that can write over a line."""
    return sys.stderr.isatty() and not is_dumb(os.environ)


def shows_tables() -> bool:
    """Whether somebody looks at standard output; otherwise a program reads it."""
    return sys.stdout.isatty()


def shows_colors() -> bool:
    """Whether somebody looks at standard output, and wants colors."""
    return sys.stdout.isatty() and wants_colors(os.environ)


def printable(text: str) -> str:
    """Return text in which what could steer a terminal is an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def progress_stream() -> TextIO:
    """Return where a progress bar goes; on a terminal that cannot show one it writes its label."""
    return sys.stderr if shows_progress() else cast("TextIO", _NoTerminal(sys.stderr))


class _NoTerminal:
    def __init__(self, stream: TextIO) -> None:
        self.write = stream.write
        self.flush = stream.flush

    def isatty(self) -> bool:
        return False


@contextmanager
def written_over() -> Iterator[Callable[[str], None]]:
    """Show how far it is, where somebody looks: one line, written over."""
    if not shows_progress():
        yield lambda _: None
        return

    def write(line: str) -> None:
        click.echo(f"\r{line}", nl=False, err=True)

    yield write
    click.echo(err=True)
