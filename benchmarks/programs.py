"""The programs that a benchmark starts: each answers in lines, and is ended for certain."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.machine import monotonic, sleep

PROJECT: Final = Path(__file__).parents[1]
START_S: Final = 60.0
STOP_S: Final = 15.0
"""For an orderly end; then it is killed."""
LOOK_S: Final = 0.05
"""Between looks at a log."""


class BenchmarkError(Exception):
    """A run went wrong; the text says how, in words."""


class Program:
    """A running program that is spoken with in lines."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._rest = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def check_running(self) -> None:
        """Raise BenchmarkError if it has ended."""
        if self._process.poll() is not None:
            raise BenchmarkError(f"it ended; {self._last_words()}")

    def tell(self, line: str) -> None:
        self.check_running()
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(line.encode() + b"\n")
        stdin.flush()

    def read_line(self, within_s: float) -> str:
        """Return the next line that it prints.

        Raises:
            BenchmarkError: it ended, or none came in time.
        """
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        give_up_s = monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            chunks = [self._rest]
            while b"\n" not in chunks[-1]:
                if not selector.select(max(0.0, give_up_s - monotonic())):
                    raise BenchmarkError(f"no answer within {within_s:g}s; {self._last_words()}")
                chunks.append(os.read(fd, 1 << 20))
                if not chunks[-1]:
                    raise BenchmarkError(f"it ended; {self._last_words()}")
        line, _, self._rest = b"".join(chunks).partition(b"\n")
        return line.decode()

    def wait_line(self, holding: str, within_s: float) -> str:
        """Return the next line that holds these words."""
        give_up_s = monotonic() + within_s
        while holding not in (line := self.read_line(give_up_s - monotonic())):
            pass
        return line

    def wait_logged(self, holding: str, within_s: float) -> str:
        """Return the first line that it logs with these words, of those before as well.

        Raises:
            BenchmarkError: it ended, or none came in time.
        """
        give_up_s = monotonic() + within_s
        while monotonic() < give_up_s:
            if line := next((each for each in self.log_lines() if holding in each), None):
                return line
            self.check_running()
            sleep(LOOK_S)
        raise BenchmarkError(f"not logged within {within_s:g}s; {self._last_words()}")

    def log_lines(self) -> list[str]:
        """Return what it has logged so far."""
        return self._log.read_text("utf-8").splitlines()

    def stop(self) -> None:
        """End it: by the end of its input, by SIGTERM, at last by force."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _last_words(self) -> str:
        return "its last words: " + " | ".join(self.log_lines()[-5:])


@contextmanager
def running(
    *arguments: str, folder: Path, environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Program]:
    """Run Python with these arguments until the block ends; its log goes into the folder.

    It finds no settings but these: neither in the environment nor in a file `.env`.
    """
    log = folder / f"{arguments[1].rpartition('.')[2]}.log"
    environ = {"PYTHONPATH": str(PROJECT), **environ}
    with running_command((sys.executable, *arguments), log, environ) as program:
        yield program


@contextmanager
def running_command(
    command: Sequence[str], log: Path, environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Program]:
    """Run any command in the folder of its log until the block ends, likewise."""
    with log.open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            cwd=log.parent,
            env={"PATH": os.environ["PATH"], **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    program = Program(process, log)
    try:
        yield program
    finally:
        program.stop()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="timer-trio-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # so that an account without root's rights can reach the database
        yield folder
