"""Waiting for processes, and ending them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

POLL_S: Final = 0.02
# Fast, then immediate, then by force: the last two cost a recovery at the next start, no data.
_STOP_STEPS: Final = ((signal.SIGINT, 10), (signal.SIGQUIT, 6), (signal.SIGKILL, 2))
_TAIL_BYTES: Final = 2000
_TAIL_LINES: Final = 4


async def exit_code(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process; where the system can tell of it, without looking again."""
    # A process of trio's own would be started by a thread that ends, and end with it.
    with suppress(AttributeError, OSError):  # no Linux, or an old one; or it has ended
        await _ended(os.pidfd_open(process.pid))
    while (code := process.poll()) is None:  # noqa: ASYNC110 - nothing else tells of the end
        await trio.sleep(POLL_S)
    return code


async def _ended(pid_file: int) -> None:
    try:
        await trio.lowlevel.wait_readable(pid_file)
    finally:
        os.close(pid_file)


async def end(pid: int, has_ended: Callable[[], bool]) -> None:
    """Stop a server, as gently as it lets us."""
    for step, patience_s in _STOP_STEPS:
        if has_ended():
            return
        try:
            os.kill(pid, step)
        except ProcessLookupError:
            return
        with trio.move_on_after(patience_s):
            while not has_ended():  # noqa: ASYNC110 - nothing else tells of the end
                await trio.sleep(POLL_S)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and those that it has started, by force."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def log_tail(log: Path) -> str:
    """Read the end of a log, where a program says what went wrong."""
    lines = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:]) or f"it said nothing in {log}"
