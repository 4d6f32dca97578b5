"""Programs under test: started, read line by line, and ended for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import trio

PROJECT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 30
"""For what must happen and is normally there within a second or two."""

T = TypeVar("T")


class Program:
    """A running Python program, and the lines that it has written so far."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._news = trio.Event()
        self.out: list[str] = []
        self.err: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """What it exited with; None while it runs."""
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait_ended(self) -> int:
        with trio.fail_after(PATIENCE_S):
            return await self._process.wait()

    async def kill(self) -> None:
        """End it as a power failure does."""
        self._process.kill()
        await self._process.wait()

    async def eventually(self, find: Callable[[], T | None]) -> T:
        """Wait until a look at the lines finds something.

        Raises:
            AssertionError: it ended, or found nothing for long.
        """
        with trio.move_on_after(PATIENCE_S):
            while (found := find()) is None:
                assert self.code is None, self.err[-20:]
                await self._news.wait()
            return found
        raise AssertionError((find, self.err[-20:]))

    async def read(self, stream: trio.abc.ReceiveStream, lines: list[str]) -> None:
        rest = b""
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            lines += [line.decode() for line in whole]
            self._tell()
        await self._process.wait()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def running(
    *arguments: str, environ: Mapping[str, str] | None = None, folder: Path = PROJECT
) -> AsyncIterator[Program]:
    """Run Python with these arguments until the block ends; nothing of it is left behind."""
    process = await trio.lowlevel.open_process(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)} | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    program = Program(process)
    assert process.stdout is not None
    assert process.stderr is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.read, process.stdout, program.out)
        nursery.start_soon(program.read, process.stderr, program.err)
        try:
            yield program
        finally:
            with trio.CancelScope(shield=True), suppress(ProcessLookupError):
                await program.kill()
        nursery.cancel_scope.cancel()
