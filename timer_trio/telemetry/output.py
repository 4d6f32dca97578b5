"""What a process writes for others to read, who may not read it: it waits for nobody.

A write to a pipe that is full, or to a terminal that is held, stands still until somebody reads. So
no task of the event loop may do it: each stream has a thread of its own that writes what is queued.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from select import PIPE_BUF, select
from typing import Final, TextIO, cast

MAX_LINES: Final = 20_000
"""That wait to be written: the lines of a burst of 10,000 timers, twice."""
MAX_CHARACTERS: Final = 8 * 1024 * 1024
"""Of them: the memory that they take."""
LINGER_S: Final = 0.01
"""How long a line waits for others: to wake the thread for each costs more than the line itself."""
LAST_S: Final = 1.0
"""How long the end of the process waits for what is queued."""


class Output(io.TextIOBase):
    """A text stream over a file, for any thread, whose writes never wait and never fail.

    Order is kept. What does not fit into the queue, or cannot be written, is dropped and counted;
    once there is room again `tell_dropped` is called, in the writing thread, with how many.
    """

    def __init__(self, file: int, encoding: str = "utf-8") -> None:
        self._file = file
        self._encoding = encoding
        self.tell_dropped = self._write_dropped
        self.dropped = 0
        self._untold = 0
        self._texts: list[str] = []
        # These two count what is being written as well.
        self._lines = 0
        self._characters = 0
        # A finalizer may write in the middle of a write.
        self._lock = threading.RLock()
        self._filled = threading.Event()
        self._hurried = threading.Event()
        self._emptied = threading.Event()
        self._emptied.set()
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # it is a property there as well
        return self._encoding

    def fileno(self) -> int:
        return self._file

    def isatty(self) -> bool:
        return os.isatty(self._file)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Do nothing: the thread writes as soon as it can."""

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError("text is written here, no bytes")  # by it callers tell streams apart
        with self._lock:
            self._queue(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]  # text alone
        """Write many lines at once; each is kept or dropped by itself."""
        with self._lock:
            for line in lines:
                self._queue(line)

    def drain(self, timeout_s: float) -> bool:
        """Wait until all is written, but not longer; tells whether it is."""
        self._hurried.set()
        return self._emptied.wait(timeout_s)

    def _queue(self, text: str) -> None:
        length = len(text)
        # A single line may be longer than all that may wait.
        if self._lines and (self._lines >= MAX_LINES or self._characters + length > MAX_CHARACTERS):
            self._drop(1)
            return
        self._lines += 1
        self._characters += length
        self._texts.append(text)
        if len(self._texts) == 1:
            self._wake()

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines

    def _wake(self) -> None:
        self._emptied.clear()
        self._filled.set()
        if self._thread is None:
            # The process does not wait for its end, which a full pipe puts off for ever.
            self._thread = threading.Thread(target=self._run, name="output", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._hurried.wait(LINGER_S)
            with self._lock:
                texts, self._texts = self._texts, []
                self._filled.clear()
            for piece in _pieces(texts):
                self._write_piece(piece)
            with self._lock:
                if not self._texts:
                    self._emptied.set()

    def _write_piece(self, piece: list[str]) -> None:
        try:
            _write_all(self._file, "".join(piece).encode(self._encoding, "backslashreplace"))
            is_written = True
        except OSError:
            is_written = False
        with self._lock:
            self._lines -= len(piece)
            self._characters -= sum(map(len, piece))
            if not is_written:
                self._drop(len(piece))
        # Where nothing can be written, words about it would be lost in their turn, for ever.
        if is_written:
            self._tell_if_room()

    def _tell_if_room(self) -> None:
        with self._lock:
            has_room = self._lines <= MAX_LINES // 2 and self._characters <= MAX_CHARACTERS // 2
            if not self._untold or not has_room:
                return
            count, self._untold = self._untold, 0
        self.tell_dropped(count)

    def _write_dropped(self, count: int) -> None:
        self.write(f"({count} lines that nobody read were dropped)\n")


def _pieces(texts: Iterable[str]) -> Iterator[list[str]]:
    """Group texts so that each group can be written at once without being cut.

    Processes share a pipe, and a system keeps no longer writes of theirs apart.
    """
    piece: list[str] = []
    size = 0
    for text in texts:
        length = len(text) if text.isascii() else 4 * len(text)
        if piece and size + length > PIPE_BUF:
            yield piece
            piece, size = [], 0
        piece.append(text)
        size += length
    yield piece


def _write_all(file: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(file, data) :]
        except BlockingIOError:  # somebody else who has this file open made it so
            select([], [file], [])


def is_dumb(environ: Mapping[str, str]) -> bool:
    """Whether the terminal knows no control sequences."""
    return environ.get("TERM") == "dumb"


def wants_colors(environ: Mapping[str, str]) -> bool:
    """Whether a terminal may be written to in colors (https://no-color.org)."""
    return not environ.get("NO_COLOR") and not is_dumb(environ)


_OUTPUTS: Final[list[Output]] = []


def queued(stream: TextIO | None) -> TextIO:
    """Put an Output in front of a stream of this process; one in memory stays as it is.

    None, as where standard error is closed, becomes a stream that forgets.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - until the end
    if isinstance(stream, Output):
        return stream
    try:
        output = Output(stream.fileno(), stream.encoding)
    except (OSError, ValueError):  # it has no file
        return stream
    if not _OUTPUTS:
        atexit.register(_drain_all)
    _OUTPUTS.append(output)
    return cast("TextIO", output)


def queue_stderr() -> None:
    """Have nothing that this process writes to standard error wait from here on."""
    sys.stderr = queued(sys.stderr)


def queue_stdout() -> None:
    sys.stdout = queued(sys.stdout)


def dropped_lines() -> int:
    """Count what this process has dropped so far."""
    return sum(output.dropped for output in _OUTPUTS)


def _drain_all() -> None:
    ends_at = time.monotonic() + LAST_S
    are_drained = [output.drain(max(0.0, ends_at - time.monotonic())) for output in _OUTPUTS]
    if all(are_drained):
        # What the interpreter still says finds no thread any more.
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
