"""The commands, run within the test: a process of its own takes a second to start."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import structlog
from click.testing import CliRunner

from timer_trio.cli import main


def run_command(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run it in a folder and an environment of its own; answers exit code, stdout and stderr."""
    own = {"HOME": str(folder), "DATA_DIR": str(folder / "data")} | environ
    without = dict.fromkeys(os.environ)
    with chdir(folder), _logging_kept():
        done = CliRunner().invoke(main, arguments, env=without | own, catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo what a command sets up for its own end."""
    root, structured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.configure(**structured)
